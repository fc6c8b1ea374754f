#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/option.h"
#include "app/settings.h"
#include "base/error.h"
#include "model/build.h"
#include "model/model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t layer_weights(const struct plan *plan, const struct layer *l)
{
    int64_t n = 0;
    for (int r = 0; r < PARAM_ROLES; r++)
        if (l->param[r] >= 0)
            n += plan->params[l->param[r]].size;
    return n;
}

/* "down.0", "center", "up.1", or nothing for the embedding and the head: the place a layer has in
   the names of its parameters. */
static void stage_name(char out[PLAN_NAME_MAX], const struct plan *plan, const struct layer *l)
{
    out[0] = 0;
    for (int r = 0; r < PARAM_ROLES && !out[0]; r++) {
        if (l->param[r] < 0)
            continue;
        const char *name = plan->params[l->param[r]].name;
        size_t length = strcspn(name, ".");
        if (strncmp(name, "down.", 5) == 0 || strncmp(name, "up.", 3) == 0)
            length += 1 + strcspn(name + length + 1, ".");
        else if (strncmp(name, "center", 6) != 0)
            length = 0;
        snprintf(out, PLAN_NAME_MAX, "%.*s", (int)length, name);
    }
}

static void sizes_format(char *out, size_t size, const struct layer *l)
{
    static const char *const state_names[] = {"real", "complex"};
    switch (l->kind) {
    case LAYER_MIXER:
        snprintf(out, size, "%s %s, H %d, E %d, N %d, K %d", mixer_name(l->mixer),
                 state_names[l->complex_state], l->width, l->inner, l->n_state, l->n_taps);
        break;
    case LAYER_FF:
        snprintf(out, size, "H %d, F %d", l->width, l->inner);
        break;
    case LAYER_DOWN:
    case LAYER_UP:
        snprintf(out, size, "%d -> %d, pool %d", l->width_in, l->width, l->pool);
        break;
    case LAYER_HEAD:
        snprintf(out, size, "%d -> %d", l->width_in, l->width);
        break;
    default:
        snprintf(out, size, "H %d", l->width);
        break;
    }
}

/* One line for neighbours that are alike. */
static void plan_print(const struct plan *plan, int sample_rate)
{
    printf("%-9s %-7s %5s  %-42s %10s %10s %10s\n", "stage", "layer", "count", "sizes", "ticks/s",
           "weights", "state");
    for (int i = 0; i < plan->n_layers;) {
        const struct layer *l = &plan->layers[i];
        char stage[PLAN_NAME_MAX], sizes[80], other_stage[PLAN_NAME_MAX], other_sizes[80];
        int64_t weights = 0, state = 0;
        int n = 0;
        stage_name(stage, plan, l);
        sizes_format(sizes, sizeof(sizes), l);
        for (; i < plan->n_layers && plan->layers[i].kind == l->kind; i++, n++) {
            stage_name(other_stage, plan, &plan->layers[i]);
            sizes_format(other_sizes, sizeof(other_sizes), &plan->layers[i]);
            if (strcmp(stage, other_stage) != 0 || strcmp(sizes, other_sizes) != 0)
                break;
            weights += layer_weights(plan, &plan->layers[i]);
            state += plan->layers[i].state_size;
        }
        printf("%-9s %-7s %5d  %-42s %10.5g %10lld %10lld\n", stage, layer_kind_name(l->kind), n,
               sizes, (double)sample_rate / (double)plan->rate[l->tier], (long long)weights,
               (long long)state);
    }
}

static void cost_print(const struct plan *plan)
{
    struct plan_cost cost;
    plan_cost(plan, &cost);
    printf("\n%lld weights (%.2f M, %.1f MB as fp32), state of a stream %.2f MB\n",
           (long long)plan->n_weights, (double)plan->n_weights / 1e6,
           4e-6 * (double)plan->n_weights, 4e-6 * (double)plan->state_size);
    printf(
        "a sample: %.4g M multiply-adds (products %.4g, scan %.4g, convolution %.4g), %.4g MB of "
        "weights, %.4g MB of state\n",
        (cost.products + cost.scan + cost.conv) / 1e6, cost.products / 1e6, cost.scan / 1e6,
        cost.conv / 1e6, cost.weights / 1e6, cost.state / 1e6);
}

static void config_print(const struct config *c)
{
    printf("%d Hz, %s, level %s, %s clips of %lld samples (%.3g s); %s, up_shift %d, %s "
           "embedding\n",
           c->sample_rate, c->quantizer, c->normalize, clip_mode_name(c->clip_mode),
           (long long)c->clip_samples, (double)c->clip_samples / c->sample_rate,
           layout_name(c->layout), c->up_shift, embedding_name(c->embedding));
    if (c->n_labels > 0)
        printf("labels:");
    for (int i = 0; i < c->n_labels; i++)
        printf("%s %s", i ? "," : "", c->label[i]);
    printf("%s\n", c->n_labels > 0 ? "\n" : "");
}

static bool model_print(const char *path)
{
    struct model_file m;
    if (!model_file_load(&m, path))
        return false;
    printf("model %s\nidentity %s\n", path, m.id);
    for (int i = 0; i < m.n_metadata; i++)
        printf("%s: %s\n", m.metadata[2 * i], m.metadata[2 * i + 1]);
    config_print(&m.config);
    plan_print(&m.plan, m.config.sample_rate);
    cost_print(&m.plan);
    model_file_free(&m);
    return true;
}

static bool preset_print(const char *path)
{
    struct settings *s = malloc(sizeof(*s));
    struct config *config = malloc(sizeof(*config));
    struct plan plan = {0};
    bool ok = s && config;
    if (!ok)
        error_set("out of memory for settings");
    if (ok)
        settings_init(s);
    ok = ok && settings_load(s, path) && settings_resolve(s) && settings_config(s, config) &&
         plan_build(&plan, config);
    if (ok) {
        printf("preset %s: %s\n", path, s->summary);
        config_print(config);
        plan_print(&plan, config->sample_rate);
        cost_print(&plan);
        if (s->labels)
            printf("with labels (the data's folders) each stage gets a table of them besides\n");
        plan_free(&plan);
    }
    free(config);
    free(s);
    return ok;
}

static bool ends_in(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

int command_info(int argc, const char **argv)
{
    const struct usage usage = {
        "info", "MODEL|PRESET",
        "Shows what a model or a preset is made of: layers, sizes, weights, "
        "work and memory a sample. A name may be both; both are shown.",
        1, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    char path[FILE_PATH_MAX];
    enum parsed parsed = options_parse(argc, argv, &usage, NULL, 0, arguments);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    const char *name = arguments[0];
    if (!name_is_bundled(name)) {
        bool preset = ends_in(name, ".ini");
        bool ok = preset ? find_preset(path, name) && preset_print(path)
                         : find_model(path, name) && model_print(path);
        return ok ? EXIT_OK : world_error();
    }
    bool has_model = find_bundled(path, name, ".safetensors");
    if (has_model && !model_print(path))
        return world_error();
    if (has_model && find_bundled(path, name, ".ini"))
        printf("\n");
    if ((!has_model || find_bundled(path, name, ".ini")) &&
        !(find_preset(path, name) && preset_print(path)))
        return world_error();
    return EXIT_OK;
}
