#include "app/live_front.h"

#include "app/stop.h"
#include "base/error.h"
#include "base/log.h"

#include <time.h>

enum { LOOK_MS = 50 };

static void messages_say(struct live *l)
{
    char text[LIVE_MESSAGE_MAX];
    while (live_message(l, text))
        log_info("%s", text);
}

static void status_say(struct live *l, bool last)
{
    struct live_facts f;
    live_look(l, &f);
    log_status(
        last,
        "%.1f s, %.1f dB, %.2f bits a sample, %.2f x real time (slowest %.2f), ring %.0f ms, "
        "key to ear %.0f ms, %lld underruns",
        (double)f.performance.at / hiss_model_rate(live_model(l)), (double)f.level_db,
        (double)f.bits, (double)f.speed_mean, (double)f.speed_worst, 1000 * f.player.fill_s,
        (double)f.latency_ms, (long long)f.player.underruns);
}

bool live_front_run(struct live *l, const struct live_front_options *options)
{
    bool ok = true;
    while (!live_ended(l, &ok) && !stop_requested()) {
        messages_say(l);
        status_say(l, false);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    status_say(l, true);
    live_stop(l);
    log_status_end();
    messages_say(l);
    return ok || error_set("the session failed");
}
