#include "app/command.h"
#include "app/find.h"
#include "app/option.h"
#include "app/settings.h"
#include "base/error.h"
#include "base/log.h"
#include "model/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

static void preset_print(void *arg, const char *name, const char *path)
{
    struct settings *s = arg;
    settings_init(s);
    if (settings_load(s, path) && settings_resolve(s))
        printf("  %-16s %s\n", name, s->summary);
    else
        log_warn("%s", error_text());
}

static void model_print(void *arg, const char *name, const char *path)
{
    int *n = arg;
    struct safetensors st;
    if (!safetensors_open(&st, path)) {
        log_warn("%s", error_text());
        return;
    }
    const char *card = safetensors_metadata(&st, "hiss.card");
    printf("%s  %-16s %s\n", (*n)++ == 0 ? "\nmodels, for hiss generate MODEL:\n" : "", name,
           card ? card : "");
    safetensors_close(&st);
}

int command_presets(int argc, const char **argv)
{
    const struct usage usage = {"presets", "", "Lists the bundled presets and models.", 0, 0};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed = options_parse(argc, argv, &usage, NULL, 0, arguments);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    struct settings *s = malloc(sizeof(*s));
    int n_models = 0;
    bool ok = s || error_set("out of memory for settings");
    if (ok)
        printf("presets, for hiss train DATA --preset NAME:\n");
    ok =
        ok && find_all(".ini", preset_print, s) && find_all(".safetensors", model_print, &n_models);
    free(s);
    return ok ? EXIT_OK : world_error();
}
