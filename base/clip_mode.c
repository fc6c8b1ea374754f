#include "base/clip_mode.h"

#include <assert.h>
#include <string.h>

static const char *const names[CLIP_MODES] = {[CLIP_WHOLE] = "whole", [CLIP_CROP] = "crop"};

const char *clip_mode_name(enum clip_mode m)
{
    assert(m < CLIP_MODES);
    return names[m];
}

bool clip_mode_from_name(enum clip_mode *m, const char *name)
{
    for (int i = 0; i < CLIP_MODES; i++)
        if (strcmp(names[i], name) == 0) {
            *m = (enum clip_mode)i;
            return true;
        }
    return false;
}
