/* Dirtying stress with verification, for live-migration tests.
 * usage: stress MIB RATE_MIB_PER_S [BYTES_PER_WRITE]
 * A buffer of MIB MiB.  Page p starts as a xorshift64 sequence seeded by p.
 * A write picks a random page, checks it against the version that was last
 * written there, then bumps its version and rewrites the first BYTES bytes
 * (8..4096, default 4096) as a sequence seeded by (p, version).
 * Every ~2 s: "STRESS t=S writes=N mib=M bad=K"; SIGUSR1: checks every page
 * and prints "STRESS-FULL pages=N bad=K".  RATE 0: as fast as it can.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define W 512
static uint64_t *buf;
static uint32_t *ver;
static size_t pages, words = W;
static volatile sig_atomic_t want_full;

static uint64_t mix(uint64_t p, uint64_t v)
{
    uint64_t x = (p + 1) * 0x9E3779B97F4A7C15ull ^ (v * 0xC2B2AE3D27D4EB4Full);
    x ^= x >> 29; x *= 0xBF58476D1CE4E5B9ull; x ^= x >> 32;
    return x | 1;
}
static inline uint64_t step(uint64_t x)
{
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    return x;
}
static void put(size_t p, uint32_t v, size_t from, size_t n)
{
    uint64_t x = mix(p, v), *q = buf + p * W;
    for (size_t i = from; i < n; i++) { x = step(x); q[i] = x; }
}
static int check(size_t p)
{
    uint64_t *q = buf + p * W, x = mix(p, ver[p]), y = mix(p, 0);
    for (size_t i = 0; i < W; i++) {
        x = step(x); y = step(y);
        if (q[i] != (i < words ? x : y)) return 1;
    }
    return 0;
}
static void on_usr1(int s) { (void)s; want_full = 1; }
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
int main(int argc, char **argv)
{
    size_t mib = argc > 1 ? strtoul(argv[1], 0, 10) : 64;
    double rate = argc > 2 ? atof(argv[2]) : 10;
    size_t bytes = argc > 3 ? strtoul(argv[3], 0, 10) : 4096;
    if (bytes < 8) bytes = 8;
    if (bytes > 4096) bytes = 4096;
    words = bytes / 8;
    pages = mib * 256;
    buf = mmap(0, pages * 4096, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ver = calloc(pages, sizeof *ver);
    if (buf == MAP_FAILED || !ver) { puts("STRESS no memory"); return 1; }
    signal(SIGUSR1, on_usr1);
    for (size_t p = 0; p < pages; p++) put(p, 0, 0, W);
    printf("STRESS-READY mib=%zu rate=%.1f bytes=%zu\n", mib, rate, bytes);
    fflush(stdout);
    uint64_t rnd = 88172645463325252ull, writes = 0, bad = 0;
    double t0 = now(), tlast = t0, credit = 0, tc = t0;
    for (;;) {
        double t = now();
        if (rate > 0) {
            credit += (t - tc) * rate * 256;
            if (credit > rate * 25.6) credit = rate * 25.6;  /* 0.1 s worth */
            tc = t;
        } else {
            credit = 256;
        }
        while (credit >= 1) {
            rnd = step(rnd);
            size_t p = (rnd >> 11) % pages;
            bad += check(p);
            ver[p]++;
            put(p, ver[p], 0, words);
            writes++;
            credit -= 1;
        }
        if (want_full) {
            uint64_t b = 0;
            want_full = 0;
            for (size_t p = 0; p < pages; p++) b += check(p);
            bad += b;
            printf("STRESS-FULL pages=%zu bad=%llu\n", pages,
                   (unsigned long long)b);
            fflush(stdout);
        }
        if (t - tlast >= 2) {
            printf("STRESS t=%.0f writes=%llu mib=%.1f bad=%llu\n", t - t0,
                   (unsigned long long)writes, writes / 256.0,
                   (unsigned long long)bad);
            fflush(stdout);
            tlast = t;
        }
        if (rate > 0) usleep(2000);
    }
}
