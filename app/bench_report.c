#define _GNU_SOURCE
#include "app/bench_report.h"

#include "app/processor.h"
#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, COLUMNS_MAX = 16, ROW_WIDTH = 26, NOTE_COLUMNS = 96 };

bool report_open(struct report *r, const char *backend, int n_threads, bool quick)
{
    char processor[128];
    processor_name(processor, sizeof(processor));
    r->root = json_pack("{s:i, s:s, s:s, s:s, s:i, s:b, s:{}, s:{}}", "format", FORMAT, "version",
                        HISS_VERSION, "processor", processor, "backend", backend, "threads",
                        n_threads, "quick", quick, "notes", "figures");
    return r->root || error_set("out of memory for a report");
}

void report_close(struct report *r)
{
    json_decref(r->root);
    r->root = NULL;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool figures_check(const json_t *figures)
{
    const char *section, *row, *column;
    json_t *rows, *columns, *value;
    if (!json_is_object(figures))
        return error_set("\"figures\" is no object");
    json_object_foreach((json_t *)figures, section, rows)
    {
        if (!json_is_object(rows))
            return error_set("section \"%s\" is no object", section);
        json_object_foreach(rows, row, columns)
        {
            if (!json_is_object(columns) || json_object_size(columns) > COLUMNS_MAX)
                return error_set("row \"%s\" of \"%s\" is no object of numbers", row, section);
            json_object_foreach(columns, column, value)
            {
                if (!json_is_number(value) || !(json_number_value(value) > 0))
                    return error_set("\"%s\" of \"%s\", \"%s\" is no number above 0", column,
                                     section, row);
            }
        }
    }
    return true;
}

static bool report_shape_check(const json_t *root)
{
    const json_t *format = json_object_get(root, "format");
    static const char *const texts[] = {"version", "processor", "backend"};
    if (!json_is_integer(format) || json_integer_value(format) != FORMAT)
        return error_set("expected \"format\": %d", FORMAT);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (!json_is_string(json_object_get(root, texts[i])))
            return error_set("\"%s\" is no text", texts[i]);
    if (!json_is_integer(json_object_get(root, "threads")) ||
        !json_is_boolean(json_object_get(root, "quick")) ||
        !json_is_object(json_object_get(root, "notes")))
        return error_set("expected \"threads\", \"quick\" and \"notes\"");
    return figures_check(json_object_get(root, "figures"));
}

bool report_load(struct report *r, const char *path)
{
    size_t size;
    json_error_t why;
    char *bytes = file_read(path, &size);
    if (!bytes)
        return false;
    r->root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &why);
    free(bytes);
    bool ok = r->root ? report_shape_check(r->root) : error_set("line %d: %s", why.line, why.text);
    if (ok)
        json_object_del(r->root, "ratios");
    else
        error_prefix("%s is not what hiss bench --json prints", path);
    return ok;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The object under a key, made if need be; NULL if memory runs out. */
static json_t *object_of(json_t *parent, const char *key)
{
    json_t *object = json_object_get(parent, key);
    if (!object && json_object_set_new(parent, key, json_object()) == 0)
        object = json_object_get(parent, key);
    return object;
}

void report_note(struct report *r, const char *section, const char *text)
{
    json_object_set_new(json_object_get(r->root, "notes"), section, json_string(text));
}

static void figure_set(json_t *root, const char *kind, const char *section, const char *row,
                       const char *column, double value)
{
    json_t *columns = object_of(object_of(object_of(root, kind), section), row);
    if (json_object_set_new(columns, column, json_real(value)) != 0)
        json_object_set_new(root, "incomplete", json_true());
}

void report_add(struct report *r, const char *section, const char *row, const char *column,
                double value)
{
    figure_set(r->root, "figures", section, row, column, value);
}

bool report_check(const struct report *r)
{
    if (json_object_get(r->root, "incomplete"))
        return error_set("a figure is no finite number, or memory ran out");
    return figures_check(json_object_get(r->root, "figures"));
}

bool report_compare(struct report *r, const struct report *old)
{
    const char *section, *row, *column;
    json_t *rows, *columns, *value;
    int n = 0;
    const json_t *before = json_object_get(old->root, "figures");
    json_object_foreach(json_object_get(r->root, "figures"), section, rows)
    {
        json_object_foreach(rows, row, columns)
        {
            const json_t *others = json_object_get(json_object_get(before, section), row);
            json_object_foreach(columns, column, value)
            {
                const json_t *other = json_object_get(others, column);
                if (!other)
                    continue;
                figure_set(r->root, "ratios", section, row, column,
                           json_number_value(value) / json_number_value(other));
                n++;
            }
        }
    }
    return n > 0 || error_set("the two have no figure in common");
}

/* --- printing --------------------------------------------------------------------------------- */

/* Names of a section's columns, in the order of their first appearance. */
static int columns_of(json_t *rows, const char *names[COLUMNS_MAX])
{
    const char *row, *column;
    json_t *columns, *value;
    int n = 0;
    json_object_foreach(rows, row, columns)
    {
        json_object_foreach(columns, column, value)
        {
            int i = 0;
            while (i < n && strcmp(names[i], column) != 0)
                i++;
            if (i == n && n < COLUMNS_MAX)
                names[n++] = column;
        }
    }
    return n;
}

/* Four digits, without an exponent. */
static void number_print(double value, int width)
{
    int decimals = value >= 999.5 ? 0 : value >= 99.95 ? 1 : value >= 9.995 ? 2 : 3;
    printf("  %*.*f", width, decimals, value);
}

/* In brackets, broken between words. */
static void note_print(const char *note)
{
    int column = printf("  (");
    while (*note) {
        int length = (int)strcspn(note, " ");
        if (column + length > NOTE_COLUMNS)
            column = printf("\n   ") - 1;
        column += printf("%.*s", length, note);
        note += length;
        for (; *note == ' '; note++)
            column += printf(" ");
    }
    printf(")\n");
}

static void section_print(const char *title, const char *note, json_t *rows)
{
    const char *names[COLUMNS_MAX], *row;
    json_t *columns;
    int n = columns_of(rows, names), width[COLUMNS_MAX];
    printf("\n%-*s", ROW_WIDTH, title);
    for (int i = 0; i < n; i++) {
        width[i] = strlen(names[i]) > 7 ? (int)strlen(names[i]) : 7;
        printf("  %*s", width[i], names[i]);
    }
    printf("\n");
    json_object_foreach(rows, row, columns)
    {
        printf("  %-*s", ROW_WIDTH - 2, row);
        for (int i = 0; i < n; i++) {
            const json_t *value = json_object_get(columns, names[i]);
            if (value)
                number_print(json_number_value(value), width[i]);
            else
                printf("  %*s", width[i], "-");
        }
        printf("\n");
    }
    if (note)
        note_print(note);
}

void report_print_text(const struct report *r)
{
    const char *section;
    json_t *rows, *ratios = json_object_get(r->root, "ratios");
    const json_t *notes = json_object_get(r->root, "notes");
    printf("%s, %s, %s, %d threads%s\n", json_string_value(json_object_get(r->root, "version")),
           json_string_value(json_object_get(r->root, "processor")),
           json_string_value(json_object_get(r->root, "backend")),
           (int)json_integer_value(json_object_get(r->root, "threads")),
           json_is_true(json_object_get(r->root, "quick")) ? "; quick: the figures are rough" : "");
    json_object_foreach(json_object_get(r->root, "figures"), section, rows)
        section_print(section, json_string_value(json_object_get(notes, section)), rows);
    if (ratios)
        printf("\nratios, new over old:\n");
    json_object_foreach(ratios, section, rows) section_print(section, NULL, rows);
}

void report_print_json(const struct report *r)
{
    json_dumpf(r->root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    printf("\n");
}
