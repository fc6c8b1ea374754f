/* hiss: trains a waveform-level model on recordings, and writes speech and music. */
#include "app/command.h"
#include "app/option.h"
#include "app/stop.h"
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(int argc, const char **argv);
    const char *summary;
};

static const struct command commands[] = {
    {"generate", command_generate, "write sound files with a trained model"},
    {"live", command_live, "play a model as it makes sound, with your hands on it"},
    {"again", command_again, "make a take again and say whether it is the same"},
    {"train", command_train, "train a model on a folder of recordings"},
    {"eval", command_eval, "bits a sample of recordings under a model"},
    {"compare", command_compare, "generated sounds beside recordings, in numbers"},
    {"plot", command_plot, "pictures of sounds and of training runs"},
    {"info", command_info, "what a model or a preset is made of"},
    {"presets", command_presets, "the bundled presets and models"},
    {"doctor", command_doctor, "what hiss finds on this machine, and whether it would play live"},
    {"bench", command_bench, "what this machine can do, and how near hiss comes"},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void help_print(FILE *to)
{
    fprintf(to, "usage: hiss COMMAND [arguments] [options]\n\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\nhiss COMMAND --help lists a command's options; hiss --version.\n");
}

/* Output that a full disk swallowed is no success. (Sound on standard output goes its own way.) */
static int output_finish(int status)
{
    int why = fflush(stdout) != 0 ? errno : ferror(stdout) ? EIO : 0;
    if (why == 0 || status != EXIT_OK)
        return status;
    error_set("cannot write to standard output: %s", strerror(why));
    return world_error();
}

static int command_run(int argc, const char **argv)
{
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        help_print(stdout);
        return EXIT_OK;
    }
    if (strcmp(word, "--version") == 0) {
        printf("%s\n", HISS_VERSION);
        return EXIT_OK;
    }
    stop_install();
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return usage_error("", "there is no command %s", word);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        help_print(stderr);
        return EXIT_USAGE;
    }
    return output_finish(command_run(argc, (const char **)argv));
}
