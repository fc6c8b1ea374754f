/*
 * Options of a subcommand: one table gives their names, kinds, defaults, units and documentation,
 * for parsing and for --help.
 *
 * Main thread. Wrong usage is said on standard error in one line; the caller exits with EXIT_USAGE.
 */
#ifndef HISS_APP_OPTION_H
#define HISS_APP_OPTION_H

#include <stdbool.h>
#include <stdint.h>

enum exit_code { EXIT_OK = 0, EXIT_WORLD = 1, EXIT_USAGE = 2, EXIT_SIGNAL = 128 };

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *, NULL if not given */
    OPTION_TEXTS,   /* struct texts, as often as given */
    OPTION_COUNT,   /* int64_t; 16k, 2M */
    OPTION_REAL,    /* double */
    OPTION_TIME,    /* double, seconds; 80ms, 30s */
    OPTION_SAMPLES, /* const char *: its rate is known later; checked here */
};

enum { TEXTS_MAX = 64 };

struct texts {
    int n;
    const char *text[TEXTS_MAX];
};

struct option {
    const char *name; /* long, without dashes */
    char letter;      /* or 0 */
    enum option_kind kind;
    void *value;          /* keeps what it holds if the option is not given */
    const char *argument; /* how --help calls it: "SECONDS"; NULL for a flag */
    double min, max;      /* of numbers, both included; both 0: no bounds */
    const char *help;     /* what it is, its unit, its default */
};

struct usage {
    const char *command;   /* "generate" */
    const char *arguments; /* "[MODEL]" */
    const char *summary;   /* one line */
    int min_arguments, max_arguments;
};

enum parsed { PARSED_OK, PARSED_HELP, PARSED_WRONG };

enum { ARGUMENTS_MAX = 24 };

/* Parses argv[1..argc-1] with a table of `n` options (help is added). Texts live as long as the
   program. arguments: the words that are no options, NULL behind the last. PARSED_HELP: the help
   was printed to standard output. */
enum parsed options_parse(int argc, const char **argv, const struct usage *usage,
                          const struct option *options, int n,
                          const char *arguments[ARGUMENTS_MAX + 1]);

/* Says in one line what is wrong with the words and where help is. Returns EXIT_USAGE. */
int usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says error_text in one line. Returns EXIT_WORLD. */
int world_error(void);

#endif
