#pragma once

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/stat.h>
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

/// Which file is at a path, and when it was changed last.
struct file_look {
    uint64_t device;
    uint64_t inode;
    int64_t size;
    int64_t changed_nanoseconds;
};

/// Looks at the file at the end of all symbolic links (stat(2)). False if there is none, or if it cannot be looked at.
static inline bool file_look_at(const char *path, struct file_look *look) {
    struct stat info;
    if (stat(path, &info) != 0) return false;
    look->device = (uint64_t)info.st_dev;
    look->inode = (uint64_t)info.st_ino;
    look->size = (int64_t)info.st_size;
    look->changed_nanoseconds = (int64_t)info.st_mtim.tv_sec * 1000000000 + (int64_t)info.st_mtim.tv_nsec;
    return true;
}
