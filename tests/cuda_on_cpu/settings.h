/* What the environment asks for: README.md has the names. Read when the program
 * starts. */
#ifndef SHIM_SETTINGS_H
#define SHIM_SETTINGS_H

struct shim_settings {
    int seed;       /* the order: 0 as written, 1 reversed, others random */
    int threads;    /* of the processor, that blocks run on */
    int resident;   /* blocks of a plain launch that run at the same time on one of them */
    int sms;        /* multiprocessors that the device claims to have */
    int memory_mib; /* of the device */
    int capability; /* that it claims to have, in tenths: its shared memory goes by it */
    int idle_ms;    /* streams left alone for so long begin by themselves; below 0: never */
    int stuck_s;    /* a kernel whose threads all wait for so long is reported */
    bool protect;   /* the host's accesses to device memory fault */
};

extern struct shim_settings shim_settings_now __attribute__((visibility("hidden")));

static inline const struct shim_settings *shim_settings(void)
{
    return &shim_settings_now;
}

/* Bytes of shared memory that a block can ask for. */
static inline int shim_shared_most(void)
{
    switch (shim_settings()->capability) {
    case 80:
    case 87:
        return 163 << 10;
    case 90:
    case 100:
        return 227 << 10;
    }
    return shim_settings()->capability < 80 ? 64 << 10 : 99 << 10;
}

/* A generator of the scheduler's: small, and the same everywhere. */
static inline unsigned long long shim_mix(unsigned long long x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

#endif
