/*
 * One folder of a comparison. Of use to compare.c alone.
 */
#ifndef HISS_APP_COMPARE_FOLDER_H
#define HISS_APP_COMPARE_FOLDER_H

#include "app/compare.h"

/* Rate of the folder's first sound, in Hz; 0 with error_text. */
int compared_rate(const char *path);

/* Reads and measures every file at the profiler's rate. False with error_text. */
bool compared_load(struct compared_folder *f, const char *path, struct profiler *p, int rate);
void compared_free(struct compared_folder *f); /* a zeroed one is fine */

/* Sums the statistics of those files whose `chosen` is `half` (NULL: of all) into mel and mean_db,
   which are set to zero first. */
void compared_sum(const struct compared_folder *f, const struct profiler *p, const uint8_t *chosen,
                  int half, struct moments *mel, double *const mean_db[PROFILE_RESOLUTIONS]);

/* Marks the generated sounds that ran away. */
void compared_runaway(struct compared_folder *generated, const struct compared_folder *reference);

/* Means and their intervals. False with error_text (memory). */
bool compared_means(struct compared_folder *f);

#endif
