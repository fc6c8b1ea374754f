/*
 * The figures of a bench: sections of rows of columns, kept as the JSON that `hiss bench --json`
 * prints and --compare reads. Text is a rendering of it.
 *
 *   {"format": 1, "version": TEXT, "processor": TEXT, "backend": TEXT, "threads": N, "quick": BOOL,
 *    "notes": {SECTION: TEXT}, "figures": {SECTION: {ROW: {COLUMN: NUMBER}}}}
 *
 * A column's name ends in its unit. Main thread.
 */
#ifndef HISS_APP_BENCH_REPORT_H
#define HISS_APP_BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>

struct report {
    json_t *root;
};

/* Empty but for what describes the run. report_close frees. False with error_text. */
bool report_open(struct report *r, const char *backend, int n_threads, bool quick);
/* From a file that --json wrote. False with error_text, which names the file. */
bool report_load(struct report *r, const char *path);
void report_close(struct report *r);

/* What the figures of a section are: a line for people. */
void report_note(struct report *r, const char *section, const char *text);

/* Adds to a row, which is made if it is not there. Memory that runs out is noticed at the end. */
void report_add(struct report *r, const char *section, const char *row, const char *column,
                double value);

/* Whether every figure asked to be added is there. False with error_text. */
bool report_check(const struct report *r);

/* Figures of r over those of `old`, where both have them, as "ratios" of r. False with error_text
   if they share none. */
bool report_compare(struct report *r, const struct report *old);

/* As tables, the ratios too; as JSON. To standard output. */
void report_print_text(const struct report *r);
void report_print_json(const struct report *r);

#endif
