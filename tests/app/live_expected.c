/* What a device should be given: live_expected MODEL TAKE.wav RATE writes the take's samples as
   floats to standard output, at RATE, resampled as hiss live does it. A take's 16 bits name its
   codes, so the floats are exact. */
#include "app/performance.h"
#include "audio/reader.h"
#include "audio/resample.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct sound sound = {0};
    if (argc != 4)
        return 2;
    struct hiss_model *m = hiss_model_open(argv[1], "cpu", 1);
    struct resampler *r = m ? resampler_open(hiss_model_rate(m), atoi(argv[3])) : NULL;
    float *y = r ? malloc(sizeof(*y) * (size_t)resampler_room(r, PERFORMANCE_BLOCK)) : NULL;
    if (!y || !sound_load(&sound, argv[2], 0, 0)) {
        fprintf(stderr, "%s\n", error_text());
        return 1;
    }
    for (int64_t i = 0; i < sound.n; i++)
        sound.x[i] = hiss_model_decode(m, hiss_model_encode(m, sound.x[i]));
    int64_t n;
    for (int64_t at = 0; at < sound.n; at += PERFORMANCE_BLOCK) {
        n = sound.n - at < PERFORMANCE_BLOCK ? sound.n - at : PERFORMANCE_BLOCK;
        n = resampler_run(r, y, sound.x + at, n);
        fwrite(y, sizeof(*y), (size_t)n, stdout);
    }
    n = resampler_run(r, y, NULL, 0);
    fwrite(y, sizeof(*y), (size_t)n, stdout);
    sound_free(&sound);
    free(y);
    resampler_close(r);
    hiss_model_close(m);
    return 0;
}
