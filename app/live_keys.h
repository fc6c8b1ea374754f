/*
 * The keys of a live session: what a key press means, given what is going on. Some keys ask for
 * more (a slot's digit, a path): the keys remember that. No terminal, no session: app/live_front.c
 * brings both.
 *
 * Control thread; plain memory, all zero at first.
 */
#ifndef HISS_APP_LIVE_KEYS_H
#define HISS_APP_LIVE_KEYS_H

#include "app/live.h"
#include "app/screen.h"

enum { KEYS_LINE_MAX = 240, KEY_ESCAPE = 27, KEY_RUBOUT = 127, KEY_RETURN = '\n' };

enum keys_mode { KEYS_PLAY, KEYS_SNAPSHOT, KEYS_MORPH, KEYS_MORPH_TO, KEYS_PATH };

struct keys {
    enum keys_mode mode;
    int morph, morph_to;      /* slots; 0: no morph yet */
    float mix;                /* 0: all morph, 1: all morph_to */
    char line[KEYS_LINE_MAX]; /* being typed */
    int n_line;
};

enum wish_kind {
    WISH_NOTHING,
    WISH_ACTION, /* action */
    WISH_PROMPT, /* the sound file `path` */
    WISH_SAVE,   /* the state */
    WISH_LISTEN, /* microphone on or off */
    WISH_RECORD, /* on or off */
    WISH_LEAVE,
};

struct wish {
    enum wish_kind kind;
    struct action action;
    char path[KEYS_LINE_MAX];
};

/* Every key, for the screen. */
extern const struct key_help keys_help[];
extern const int keys_n_help;

/* A key (a character, or one of the above; others mean nothing) at this moment. */
struct wish keys_press(struct keys *k, int key, const struct live_facts *now, int n_labels);

/* What the facts will be once the session has done `a`: for a key that comes before that. */
void keys_expect(struct live_facts *now, const struct action *a);

/* The question that waits for an answer, with what was typed so far; NULL: none. The text lives in
   `text`. */
const char *keys_question(const struct keys *k, char *text, size_t size);

#endif
