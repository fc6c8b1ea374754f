#define _GNU_SOURCE
#include "app/terminal.h"

#include "app/live_keys.h"

#ifdef HISS_NCURSES

#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static SCREEN *screen;
static bool utf8;

/* What a style is painted with: a pair of its own, so that its colour is a matter of this table. */
static const struct {
    short colour; /* -1: the terminal's */
    attr_t attributes;
} looks[STYLES] = {
    [STYLE_PLAIN] = {-1, A_NORMAL},
    [STYLE_DIM] = {-1, A_DIM},
    [STYLE_TITLE] = {-1, A_BOLD},
    [STYLE_GOOD] = {COLOR_GREEN, A_NORMAL},
    [STYLE_WARN] = {COLOR_YELLOW, A_BOLD},
    [STYLE_BAD] = {COLOR_RED, A_BOLD},
    [STYLE_KEY] = {COLOR_CYAN, A_BOLD},
    [STYLE_WAVE] = {COLOR_GREEN, A_NORMAL},
    [STYLE_HEAT] = {-1, A_NORMAL},
    [STYLE_HEAT + 1] = {COLOR_BLUE, A_NORMAL},
    [STYLE_HEAT + 2] = {COLOR_MAGENTA, A_NORMAL},
    [STYLE_HEAT + 3] = {COLOR_RED, A_NORMAL},
    [STYLE_HEAT + 4] = {COLOR_YELLOW, A_BOLD},
};

bool terminal_open(void)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return false;
    setlocale(LC_CTYPE, "");
    utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    screen = newterm(NULL, stdout, stdin);
    if (!screen)
        return false;
    set_term(screen);
    cbreak();
    noecho();
    nonl();
    curs_set(0);
    keypad(stdscr, TRUE);
    set_escdelay(50);
    if (has_colors()) {
        start_color();
        use_default_colors();
        for (short i = 0; i < STYLES; i++)
            init_pair((short)(i + 1), looks[i].colour, -1);
    }
    return true;
}

void terminal_close(void)
{
    if (!screen)
        return;
    endwin();
    delscreen(screen);
    screen = NULL;
}

bool terminal_utf8(void)
{
    return utf8;
}

void terminal_size(int *rows, int *columns)
{
    getmaxyx(stdscr, *rows, *columns);
}

void terminal_paint(const struct grid *g)
{
    for (int r = 0; r < g->rows; r++) {
        for (int c = 0; c < g->columns; c++) {
            const struct cell *cell = &g->cells[r * g->columns + c];
            wchar_t text[2] = {(wchar_t)cell->character, 0};
            cchar_t painted;
            setcchar(&painted, text, looks[cell->style].attributes, (short)(cell->style + 1), NULL);
            mvadd_wch(r, c, &painted);
        }
    }
    refresh();
}

int terminal_key(int wait_ms)
{
    timeout(wait_ms);
    int key = getch();
    switch (key) {
    case ERR:
    case KEY_RESIZE:
        return -1;
    case KEY_BACKSPACE:
    case '\b':
        return KEY_RUBOUT;
    case KEY_ENTER:
    case '\r':
        return KEY_RETURN;
    case KEY_LEFT:
        return '<';
    case KEY_RIGHT:
        return '>';
    default:
        return key < 256 ? key : -1;
    }
}

#else

bool terminal_open(void)
{
    return false;
}

void terminal_close(void)
{
}

bool terminal_utf8(void)
{
    return false;
}

void terminal_size(int *rows, int *columns)
{
    *rows = *columns = 0;
}

void terminal_paint(const struct grid *g)
{
}

int terminal_key(int wait_ms)
{
    return -1;
}

#endif
