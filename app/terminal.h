/*
 * The terminal of a live session: paints a grid of cells and reads keys (ncurses). Built without
 * ncurses, or where standard input and output are no terminals, terminal_open says no, and lines
 * are printed instead.
 *
 * Control thread. One at a time.
 */
#ifndef HISS_APP_TERMINAL_H
#define HISS_APP_TERMINAL_H

#include "app/screen.h"

/* Takes the terminal over. False (no error_text): there is none that could be used. */
bool terminal_open(void);

/* Gives it back as it was. Not open: nothing. */
void terminal_close(void);

/* Does it show UTF-8? */
bool terminal_utf8(void);

/* Its size now: it may change at any time. */
void terminal_size(int *rows, int *columns);

void terminal_paint(const struct grid *g);

/* The next key (a byte of text, or one of app/live_keys.h), waiting at most wait_ms; -1: none. */
int terminal_key(int wait_ms);

#endif
