#include "app/plot.h"

#include "base/error.h"

/* This program was built where cairo was not. */
static bool no_cairo(const char *path)
{
    return error_set("%s: this hiss was built without pictures: install libcairo2-dev and build "
                     "again with meson setup --reconfigure -Dcairo=enabled",
                     path);
}

bool plot_possible(void)
{
    return false;
}

bool plot_check(const char *path)
{
    return no_cairo(path);
}

bool plot_sounds(const char *path, const struct plot_sounds *job)
{
    (void)job;
    return no_cairo(path);
}

bool plot_runs(const char *path, const char *const *runs, int n)
{
    (void)runs;
    (void)n;
    return no_cairo(path);
}

bool plot_comparison(const char *path, const struct comparison *c)
{
    (void)c;
    return no_cairo(path);
}

bool plot_scores(const char *path, const struct scores *s, const char *const *label_names,
                 int n_labels)
{
    (void)s;
    (void)label_names;
    (void)n_labels;
    return no_cairo(path);
}
