#define _GNU_SOURCE
#include "app/option.h"

#include "app/size.h"
#include "base/error.h"
#include "base/log.h"

#include <assert.h>
#include <popt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTIONS_MAX = 40,
    WORDS_MAX = 1000,
    VALUE_HELP = OPTIONS_MAX + 1,
    NAME_COLUMNS = 26,
    LINE_COLUMNS = 96
};

int usage_error(const char *command, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_status_end();
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 32)
            *c = '?';
    fprintf(stderr, "hiss%s%s: %s (see hiss%s%s --help)\n", *command ? " " : "", command, text,
            *command ? " " : "", command);
    return EXIT_USAGE;
}

int world_error(void)
{
    log_status_end();
    fprintf(log_file(), "hiss: %s\n", error_text());
    return EXIT_WORLD;
}

/* Breaks the text between words so that it stays in its column. */
static void help_column(const char *text)
{
    int column = NAME_COLUMNS;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (column + 1 + length > LINE_COLUMNS && column > NAME_COLUMNS) {
            printf("\n%*s", NAME_COLUMNS, "");
            column = NAME_COLUMNS;
        }
        printf("%s%.*s", column > NAME_COLUMNS ? " " : "", length, text);
        column += length + (column > NAME_COLUMNS);
        text += length + strspn(text + length, " ");
    }
    printf("\n");
}

static void help_print(const struct usage *usage, const struct option *options, int n)
{
    printf("usage: hiss %s%s%s [options]\n\n%s\n\noptions:\n", usage->command,
           *usage->arguments ? " " : "", usage->arguments, usage->summary);
    for (int i = 0; i < n; i++) {
        const struct option *o = &options[i];
        char name[64];
        snprintf(name, sizeof(name), "  %c%c%s--%s%s%s", o->letter ? '-' : ' ',
                 o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
                 o->argument ? " " : "", o->argument ? o->argument : "");
        int columns = printf("%-*s", NAME_COLUMNS - 1, name);
        if (columns >= NAME_COLUMNS)
            printf("\n%*s", NAME_COLUMNS, "");
        else
            printf(" ");
        help_column(o->help);
    }
    printf("%-*s", NAME_COLUMNS, "      --help");
    help_column("this text");
}

static bool in_bounds(const struct option *o, double value)
{
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

/* NULL, or what was expected instead of the text. */
static const char *option_set(const struct option *o, const char *text)
{
    double real = 0;
    int64_t count = 0;
    struct texts *texts;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->value = true;
        return NULL;
    case OPTION_TEXT:
        *(const char **)o->value = text;
        return NULL;
    case OPTION_TEXTS:
        texts = o->value;
        if (texts->n == TEXTS_MAX)
            return "at most 64 of them";
        texts->text[texts->n++] = text;
        return NULL;
    case OPTION_COUNT:
        if (!count_parse(&count, text) || !in_bounds(o, (double)count))
            return "a whole number like 12, 16k or 2M";
        *(int64_t *)o->value = count;
        return NULL;
    case OPTION_REAL:
        if (!real_parse(&real, text) || !in_bounds(o, real))
            return "a number";
        *(double *)o->value = real;
        return NULL;
    case OPTION_TIME:
        if (!time_parse(&real, text) || !in_bounds(o, real))
            return "a time like 80ms, 10 (seconds) or 2min";
        *(double *)o->value = real;
        return NULL;
    case OPTION_SAMPLES:
        if (!samples_parse(&count, text, 1e3) || !in_bounds(o, (double)count))
            return "a length like 16k (samples), 80ms or 30s";
        *(const char **)o->value = text;
        return NULL;
    }
    return NULL;
}

static int wrong_value(const struct usage *usage, const struct option *o, const char *text,
                       const char *expected)
{
    char bounds[80] = "";
    if (o->min != 0 || o->max != 0) {
        if (o->max >= 1e15)
            snprintf(bounds, sizeof(bounds), ", at least %g", o->min);
        else
            snprintf(bounds, sizeof(bounds), ", from %g to %g", o->min, o->max);
    }
    return usage_error(usage->command, "--%s %s: expected %s%s", o->name, text, expected, bounds);
}

/* Words live as long as the program, as argv does; popt's own end with its context. */
static const char *word_keep(char *word)
{
    static char *kept[WORDS_MAX];
    static int n_kept;
    if (!word || n_kept == WORDS_MAX) {
        fprintf(stderr, "hiss: out of memory for the words of the command\n");
        exit(EXIT_WORLD);
    }
    return kept[n_kept++] = word;
}

enum parsed options_parse(int argc, const char **argv, const struct usage *usage,
                          const struct option *options, int n,
                          const char *arguments[ARGUMENTS_MAX + 1])
{
    assert(n <= OPTIONS_MAX && usage->max_arguments <= ARGUMENTS_MAX);
    struct poptOption table[OPTIONS_MAX + 2] = {0};
    for (int i = 0; i < n; i++)
        table[i] = (struct poptOption){.longName = options[i].name,
                                       .shortName = options[i].letter,
                                       .argInfo = options[i].kind == OPTION_FLAG ? POPT_ARG_NONE
                                                                                 : POPT_ARG_STRING,
                                       .val = i + 1};
    table[n] = (struct poptOption){.longName = "help", .shortName = 'h', .val = VALUE_HELP};

    enum parsed parsed = PARSED_WRONG;
    int n_arguments = 0, value;
    poptContext context = poptGetContext(NULL, argc, argv, table, 0);
    while ((value = poptGetNextOpt(context)) > 0) {
        if (value == VALUE_HELP) {
            help_print(usage, options, n);
            parsed = PARSED_HELP;
            goto out;
        }
        const struct option *o = &options[value - 1];
        const char *text = o->kind == OPTION_FLAG ? "" : word_keep(poptGetOptArg(context));
        const char *expected = option_set(o, text);
        if (expected) {
            wrong_value(usage, o, text, expected);
            goto out;
        }
    }
    if (value < -1) {
        const char *word = poptBadOption(context, POPT_BADOPTION_NOALIAS);
        if (value == POPT_ERROR_BADOPT)
            usage_error(usage->command, "there is no option %s", word);
        else if (value == POPT_ERROR_NOARG)
            usage_error(usage->command, "%s needs a value", word);
        else
            usage_error(usage->command, "%s: %s", word, poptStrerror(value));
        goto out;
    }
    for (const char *word; (word = poptGetArg(context));) {
        if (n_arguments == usage->max_arguments) {
            usage_error(usage->command, "one word too many: %s", word);
            goto out;
        }
        arguments[n_arguments++] = word_keep(strdup(word));
    }
    if (n_arguments < usage->min_arguments) {
        usage_error(usage->command, "expected %s", usage->arguments);
        goto out;
    }
    arguments[n_arguments] = NULL;
    parsed = PARSED_OK;
out:
    poptFreeContext(context);
    return parsed;
}
