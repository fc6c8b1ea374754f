/*
 * Speed: seconds of sound made in a second of work, over the last seconds and the slowest moment of
 * them.
 *
 * One thread at a time.
 */
#ifndef HISS_APP_LIVE_SPEED_H
#define HISS_APP_LIVE_SPEED_H

#include "model/hiss.h"

enum { SPEED_PARTS = 100 }; /* of SPEED_PART_S of sound each: five seconds */
#define SPEED_PART_S 0.05

/* Below this much of real time playing would not last; below the second, hardly. */
#define SPEED_LEAST 1.02f
#define SPEED_GOOD 1.25f
#define SPEED_COMFORTABLE 2.0f /* on one thread: more are not needed */

/* Seconds of sound ready ahead of the device, where nothing else is asked for. */
#define LIVE_BUFFER_S 0.08

struct speed_meter {
    double work_s[SPEED_PARTS]; /* a part took so long */
    int n_parts;                /* ever noted */
    double sound, work;         /* seconds, of the part under way */
};

void speed_note(struct speed_meter *m, double sound_s, double work_s);

/* Both 0 before the first part was whole. */
void speed_read(const struct speed_meter *m, float *mean, float *worst);

/* How fast a model makes sound here, measured on the very engine that plays, for about `seconds`:
   a performance with this sampling and label. False with error_text. */
struct live_speed {
    float mean, worst;   /* as speed_read */
    float alone;         /* the mean, had the processor no other work */
    bool guided;         /* with the work of guidance */
    const char *threads; /* as hiss_stream_threads */
};
bool speed_measure(struct live_speed *s, const char *model_path, const char *backend, int n_threads,
                   const char *precision, const struct hiss_sampling *sampling, int label,
                   double seconds);

#endif
