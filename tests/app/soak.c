/* Ten minutes of a live session with a small buffer: soak MODEL DEVICE [SECONDS] [BUFFER MS]. Run
   by soak.sh.

   The control thread sleeps a millisecond again and again. Where such a sleep takes longer than
   15 ms the machine had no time for us, and no buffer of 20 ms would be whole: an underrun with
   such a gap less than 0.2 s before or after it is the machine's. Others are ours; exit status 1.
 */
#define _GNU_SOURCE
#include "app/live.h"
#include "base/clock.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double gap_s = 0.015, near_s = 0.2;

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    double seconds = argc > 3 ? atof(argv[3]) : 600, buffer_ms = argc > 4 ? atof(argv[4]) : 20;
    struct live_options o = {
        .model_path = argv[1],
        .backend = "auto",
        .precision = "fp16",
        .n_threads = 1,
        .sampling = {1, 1, 0.98f, 2},
        .label = -1,
        .player = {.device = argv[2], .rate = 48000, .channels = 2, .buffer_s = buffer_ms / 1000}};
    struct live *l = live_open(&o);
    if (!l || !live_start(l)) {
        fprintf(stderr, "%s\n", error_text());
        live_close(l);
        return 1;
    }
    printf("%s, buffer %.0f ms, %.0f s\n", live_device(l), buffer_ms, seconds);
    int64_t underruns = 0, waiting = 0, ours = 0, n_gaps = 0;
    double begin = clock_s(), last = begin, longest = 0, gap_at = -1, underrun_at = 0;
    float latency_ms = 0, worst = 1e9f, mean = 0;
    struct live_facts f = {0};
    while (last - begin < seconds) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        double now = clock_s();
        longest = now - last > longest ? now - last : longest;
        if (now - last > gap_s) {
            n_gaps++;
            gap_at = now;
            waiting = 0; /* those just before it are its own */
        }
        live_look(l, &f);
        if (f.player.underruns > underruns) {
            if (now - gap_at > near_s) {
                waiting += f.player.underruns - underruns;
                underrun_at = now;
            }
            underruns = f.player.underruns;
        }
        if (waiting > 0 && now - underrun_at > near_s) { /* and no gap came */
            ours += waiting;
            waiting = 0;
        }
        if (now - begin > 5) {
            latency_ms = f.latency_ms > latency_ms ? f.latency_ms : latency_ms;
            worst = f.speed_worst < worst ? f.speed_worst : worst;
            mean = f.speed_mean;
        }
        last = now;
    }
    ours += waiting;
    printf(
        "%lld underruns, %lld of them without a gap; %lld gaps over 15 ms, the longest %.1f ms\n",
        (long long)underruns, (long long)ours, (long long)n_gaps, 1000 * longest);
    printf(
        "%.2f x real time, slowest 50 ms %.2f; key to ear at most %.0f ms (ring %.0f, device "
        "%.0f, resampler %.0f); %lld callbacks of at most %d frames, device said late %lld times\n",
        (double)mean, (double)worst, (double)latency_ms, 1000 * f.player.target_s,
        1000 * f.player.device_s, (double)f.resampler_ms, (long long)f.player.callbacks,
        f.player.callback_max, (long long)f.player.device_underflows);
    live_close(l);
    return ours > 0;
}
