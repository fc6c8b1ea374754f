#define _GNU_SOURCE
#include "app/command.h"
#include "app/option.h"
#include "app/plot.h"
#include "app/run.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

#include <string.h>

struct words {
    const char *arguments[ARGUMENTS_MAX + 1];
    int n;
    const char *output;
    struct plot_sounds sounds;
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    struct plot_sounds *s = &w->sounds;
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &w->output, "FILE", 0, 0,
         "the picture: .png or .svg (needed)"},
        {"from", 0, OPTION_TIME, &s->from_s, "TIME", 0, 1e6,
         "where in a sound to begin (default: its start)"},
        {"seconds", 0, OPTION_TIME, &s->dur_s, "TIME", 1e-3, 1e6,
         "how much of a sound (default: to its end)"},
        {"frame", 0, OPTION_TIME, &s->frame_s, "TIME", 1e-3, 1,
         "of the spectrogram; the nearest power of two of samples (default 32ms)"},
        {"range", 0, OPTION_REAL, &s->range_db, "DB", 10, 200,
         "levels shown below the loudest (default 80)"},
        {"linear", 0, OPTION_FLAG, &s->linear, NULL, 0, 0,
         "an even frequency axis (default: even in mel, as one hears)"},
        {"title", 0, OPTION_TEXT, &s->title, "TEXT", 0, 0,
         "above a single sound (default: the file's name)"},
    };
    const struct usage usage = {
        "plot", "FILE...|RUN...",
        "Draws sounds as waveform and spectrogram, several side by side on the same scales, or the "
        "training curves of run directories.",
        1, ARGUMENTS_MAX};
    enum parsed parsed = options_parse(argc, argv, &usage, options,
                                       sizeof(options) / sizeof(options[0]), w->arguments);
    while (parsed == PARSED_OK && w->arguments[w->n])
        w->n++;
    return parsed;
}

int command_plot(int argc, const char **argv)
{
    struct words w = {0};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    if (!w.output)
        return usage_error("plot", "expected -o FILE.png or FILE.svg");
    if (!plot_check(w.output))
        return plot_possible() ? usage_error("plot", "%s", error_text()) : world_error();
    int n_folders = 0;
    for (int i = 0; i < w.n; i++)
        n_folders += path_is_folder(w.arguments[i]);
    if (n_folders > 0 && n_folders < w.n)
        return usage_error("plot", "expected sound files or run directories, not both");
    if (w.n > (n_folders ? PLOT_RUNS_MAX : PLOT_SOUNDS_MAX))
        return usage_error("plot", "at most %d sounds or %d runs", PLOT_SOUNDS_MAX, PLOT_RUNS_MAX);
    w.sounds.paths = w.arguments;
    w.sounds.n = w.n;
    bool ok = n_folders ? plot_runs(w.output, w.arguments, w.n) : plot_sounds(w.output, &w.sounds);
    if (!ok)
        return world_error();
    log_info("%s", w.output);
    return EXIT_OK;
}
