/* Ten minutes of a live session with a small buffer: soak MODEL DEVICE [SECONDS] [BUFFER MS]. Run
   by soak.sh.

   A control thread on each processor sleeps a millisecond again and again. Where such a sleep takes
   longer than 15 ms the machine had no time for us there (a virtual machine's processors stall one
   by one), and no buffer of 20 ms would be whole: an underrun with such a gap less than 0.2 s
   before or after it is the machine's. Others are ours; exit status 1.
 */
#define _GNU_SOURCE
#include "app/live.h"
#include "base/clock.h"
#include "base/error.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double gap_s = 0.015, near_s = 0.2;

/* What the control threads saw. */
static _Atomic double gap_at = -1, longest;
static atomic_int n_gaps;
static atomic_bool over;

static void sleep_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void *control_main(void *arg)
{
    cpu_set_t cpu;
    CPU_ZERO(&cpu);
    CPU_SET(*(const int *)arg, &cpu);
    if (pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu) != 0)
        abort();
    for (double last = clock_s(); !atomic_load(&over);) {
        sleep_ms();
        double now = clock_s(), most = atomic_load(&longest);
        while (now - last > most && !atomic_compare_exchange_weak(&longest, &most, now - last)) {
        }
        if (now - last > gap_s) {
            atomic_fetch_add(&n_gaps, 1);
            atomic_store(&gap_at, now);
        }
        last = now;
    }
    return NULL;
}

/* Control threads on the processors we may use; returns how many. */
static int controls_start(pthread_t thread[CPU_SETSIZE])
{
    static int numbers[CPU_SETSIZE];
    cpu_set_t cpus;
    int n = 0;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
        abort();
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &cpus)) {
            numbers[n] = i;
            if (pthread_create(&thread[n], NULL, control_main, &numbers[n]) != 0)
                abort();
            n++;
        }
    return n;
}

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
    pthread_t controls[CPU_SETSIZE];
    int n_controls = controls_start(controls);
    int64_t underruns = 0, waiting = 0, ours = 0;
    double begin = clock_s(), now = begin, underrun_at = 0;
    float latency_ms = 0, worst = 1e9f, mean = 0;
    struct live_facts f = {0};
    while (now - begin < seconds) {
        sleep_ms();
        now = clock_s();
        live_look(l, &f);
        if (f.player.underruns > underruns) {
            waiting += f.player.underruns - underruns;
            underruns = f.player.underruns;
            underrun_at = now;
        }
        if (waiting > 0 && now - underrun_at > near_s) {
            ours += underrun_at - atomic_load(&gap_at) > near_s ? waiting : 0;
            waiting = 0;
        }
        if (now - begin > 5) {
            latency_ms = f.latency_ms > latency_ms ? f.latency_ms : latency_ms;
            worst = f.speed_worst < worst ? f.speed_worst : worst;
            mean = f.speed_mean;
        }
    }
    atomic_store(&over, true);
    for (int i = 0; i < n_controls; i++)
        pthread_join(controls[i], NULL);
    ours += waiting > 0 && underrun_at - atomic_load(&gap_at) > near_s ? waiting : 0;
    printf("%lld underruns, %lld of them without a gap; %d gaps over 15 ms, the longest %.1f ms\n",
           (long long)underruns, (long long)ours, atomic_load(&n_gaps),
           1000 * atomic_load(&longest));
    printf(
        "%.2f x real time, slowest 50 ms %.2f; key to ear at most %.0f ms (ring %.0f, device "
        "%.0f, resampler %.0f); %lld callbacks of at most %d frames, device said late %lld times\n",
        (double)mean, (double)worst, (double)latency_ms, 1000 * f.player.target_s,
        1000 * f.player.device_s, (double)f.resampler_ms, (long long)f.player.callbacks,
        f.player.callback_max, (long long)f.player.device_underflows);
    live_close(l);
    return ours > 0;
}
