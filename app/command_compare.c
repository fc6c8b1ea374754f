#define _GNU_SOURCE
#include "app/command.h"
#include "app/compare.h"
#include "app/option.h"
#include "app/plot.h"
#include "app/size.h"
#include "app/stop.h"
#include "app/text.h"
#include "base/error.h"
#include "base/log.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

struct words {
    const char *generated, *reference, *output;
    int64_t rate;
    bool json, per_file;
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"rate", 0, OPTION_COUNT, &w->rate, "HZ", 1000, 384000,
         "to compare at (default: the lower of the two folders' first sounds)"},
        {"per-file", 0, OPTION_FLAG, &w->per_file, NULL, 0, 0,
         "the generated sounds one by one too (default: means; JSON has them always)"},
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0, "print one JSON object (default: text)"},
        {"output", 'o', OPTION_TEXT, &w->output, "FILE", 0, 0,
         "a page with all of it: .png or .svg (default: none)"},
    };
    const struct usage usage = {
        "compare", "GENERATED REFERENCE",
        "How near a folder of generated sounds comes to a folder of recordings: distances of their "
        "spectra, loudness, centroid, silence, clipping, and takes that ran away.",
        2, 2};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK) {
        w->generated = arguments[0];
        w->reference = arguments[1];
    }
    return parsed;
}

/* null where there is no number: silence has no loudness. */
static json_t *number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *file_json(const struct compared_file *f, int rate)
{
    json_t *object =
        json_pack("{s:o, s:f}", "file", text_json(f->name), "seconds", (double)f->profile.n / rate);
    for (int m = 0; m < MEASURES; m++)
        if (m != MEASURE_RUNAWAY)
            json_object_set_new(object, measure_names[m].key,
                                number_json(measure_of(f, (enum measure)m)));
    json_object_set_new(object, "runaway",
                        f->runaway ? json_string(runaway_name(f->runaway)) : json_null());
    return object;
}

static json_t *folder_json(const struct compared_folder *f, int rate, bool is_reference)
{
    json_t *object =
        json_pack("{s:o, s:I, s:I, s:f}", "path", text_json(f->path), "files", (json_int_t)f->n,
                  "left_out", (json_int_t)f->n_skipped, "seconds", (double)f->n_samples / rate);
    json_t *files = json_array();
    for (int m = 0; m < MEASURES; m++)
        if (m != MEASURE_RUNAWAY || !is_reference)
            json_object_set_new(object, measure_names[m].key,
                                json_pack("{s:o, s:[o, o]}", "mean", number_json(f->mean[m]),
                                          "interval", number_json(f->interval[m][0]),
                                          number_json(f->interval[m][1])));
    for (int64_t i = 0; i < f->n; i++)
        json_array_append_new(files, file_json(&f->files[i], rate));
    json_object_set_new(object, "per_file", files);
    return object;
}

static void print_json(const struct comparison *c)
{
    json_t *object =
        json_pack("{s:i, s:f, s:o, s:f, s:o, s:o, s:o}", "rate", c->rate, "frechet_log_mel_db2",
                  c->frechet, "frechet_log_mel_db2_of_halves", number_json(c->frechet_halves),
                  "spectra_db", c->spectra, "spectra_db_of_halves", number_json(c->spectra_halves),
                  "generated", folder_json(&c->generated, c->rate, false), "reference",
                  folder_json(&c->reference, c->rate, true));
    if (c->n_pairs > 0)
        json_object_set_new(object, "pairs",
                            json_pack("{s:I, s:f, s:f}", "files", (json_int_t)c->n_pairs,
                                      "spectral_convergence", c->pairs.convergence,
                                      "log_magnitude_db", c->pairs.log_db));
    json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(object);
}

/* "-21.32 (-22.10 to -20.49)", or "-". */
static const char *value_format(char text[64], const struct compared_folder *f, enum measure m)
{
    const struct measure_name *name = &measure_names[m];
    if (!isfinite(f->mean[m]))
        return "-";
    int length = snprintf(text, 64, "%.*f", name->decimals, name->unit * f->mean[m]);
    if (isfinite(f->interval[m][0]))
        snprintf(text + length, 64 - (size_t)length, " (%.*f to %.*f)", name->decimals,
                 name->unit * f->interval[m][0], name->decimals, name->unit * f->interval[m][1]);
    return text;
}

static void print_distances(const struct comparison *c)
{
    printf("Fréchet distance over log-mel frames   %.5g dB²", c->frechet);
    if (isfinite(c->frechet_halves))
        printf(" (%.4g between random halves of the reference)", c->frechet_halves);
    printf("\nmulti-resolution distance of spectra   %.5g dB", c->spectra);
    if (isfinite(c->spectra_halves))
        printf(" (%.4g between random halves of the reference)", c->spectra_halves);
    printf("\n");
    if (c->n_pairs > 0)
        printf("%lld pairs of the same name           %.4g dB apart, spectral convergence %.4g\n",
               (long long)c->n_pairs, c->pairs.log_db, c->pairs.convergence);
}

static void print_files(const struct compared_folder *f)
{
    printf("\n%9s %9s %9s %8s %9s  %-8s file\n", "dBFS", "LUFS", "Hz", "silent %", "clipped %",
           "runaway");
    for (int64_t i = 0; i < f->n; i++) {
        const struct profile *p = &f->files[i].profile;
        char *name = text_escape(f->files[i].name);
        printf("%9.2f %9.2f %9.1f %8.2f %9.4f  %-8s %s\n", p->level_db, p->loudness, p->centroid,
               100 * p->silence, 100 * p->clipping,
               f->files[i].runaway ? runaway_name(f->files[i].runaway) : "", name ? name : "");
        free(name);
    }
}

static void print_text(const struct comparison *c, bool per_file)
{
    char generated[64], reference[64], long_g[32], long_r[32];
    printf("%lld generated sounds, %s; %lld of the reference, %s; at %d Hz\n",
           (long long)c->generated.n,
           length_format(long_g, sizeof(long_g), (double)c->generated.n_samples / c->rate),
           (long long)c->reference.n,
           length_format(long_r, sizeof(long_r), (double)c->reference.n_samples / c->rate),
           c->rate);
    print_distances(c);
    printf("\n%-26s %-34s %s\n", "mean (95 % interval)", "generated", "reference");
    for (int m = 0; m < MEASURES; m++)
        printf("%-26s %-34s %s\n", measure_names[m].text,
               value_format(generated, &c->generated, (enum measure)m),
               m == MEASURE_RUNAWAY ? "" : value_format(reference, &c->reference, (enum measure)m));
    if (per_file)
        print_files(&c->generated);
}

int command_compare(int argc, const char **argv)
{
    struct words w = {0};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    if (w.output && !plot_check(w.output))
        return plot_possible() ? usage_error("compare", "%s", error_text()) : world_error();
    struct comparison *c = calloc(1, sizeof(*c));
    bool ok = c ? compare_folders(c, w.generated, w.reference, (int)w.rate) &&
                      (!w.output || plot_comparison(w.output, c))
                : error_set("out of memory for a comparison");
    if (ok && w.json)
        print_json(c);
    else if (ok)
        print_text(c, w.per_file);
    if (c)
        comparison_free(c);
    free(c);
    if (stop_requested())
        return EXIT_SIGNAL + stop_requested();
    return ok ? EXIT_OK : world_error();
}
