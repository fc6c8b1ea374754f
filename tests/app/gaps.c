/* How often this machine lets a thread wait: gaps SECONDS sleeps a millisecond again and again, and
   prints how many sleeps took longer than 15 ms, and the longest, in ms. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 1, begin = now_ms(), last = begin, longest = 0;
    long n = 0;
    while (last - begin < 1000 * seconds) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        double now = now_ms();
        n += now - last > 15;
        longest = now - last > longest ? now - last : longest;
        last = now;
    }
    printf("%ld gaps over 15 ms, the longest %.1f ms\n", n, longest);
    return 0;
}
