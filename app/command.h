/*
 * The subcommands. Each takes its own words (argv[0] is its name) and returns the exit status: 0,
 * 1 for an error of the world, 2 for wrong usage, 128 + a signal's number.
 *
 * Main thread.
 */
#ifndef HISS_APP_COMMAND_H
#define HISS_APP_COMMAND_H

int command_again(int argc, const char **argv);
int command_bench(int argc, const char **argv);
int command_compare(int argc, const char **argv);
int command_doctor(int argc, const char **argv);
int command_eval(int argc, const char **argv);
int command_generate(int argc, const char **argv);
int command_info(int argc, const char **argv);
int command_live(int argc, const char **argv);
int command_plot(int argc, const char **argv);
int command_presets(int argc, const char **argv);
int command_train(int argc, const char **argv);

#endif
