#pragma once

#include <malloc.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

/// Says that these 256 bytes are about to be written to, so that they come into the cache while the thread does something else. Any
/// address will do.
static inline void thread_prefetch(const void *address) {
    __builtin_prefetch(address, 1, 3);
    __builtin_prefetch((const char *)address + 64, 1, 3);
    __builtin_prefetch((const char *)address + 128, 1, 3);
    __builtin_prefetch((const char *)address + 192, 1, 3);
}

/// CPU time that the calling thread has used, in nanoseconds (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID).
static inline uint64_t thread_cpu_time(void) {
    struct timespec time = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/// Milliseconds since 1970 (clock_gettime(2), CLOCK_REALTIME).
static inline uint64_t wall_clock_milliseconds(void) {
    struct timespec time = {0};
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/// Gives the system what the allocator keeps and nobody uses.
static inline void memory_give_back(void) { malloc_trim(0); }
