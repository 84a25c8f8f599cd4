#define _GNU_SOURCE
#include "busy_poll.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local uint64_t limit;
static _Thread_local struct busy_poll_ends ends;

void busy_poll_set(uint64_t nanoseconds) { limit = nanoseconds; }

struct busy_poll_ends busy_poll_ends(void) { return ends; }

// The thread sanitizer has an epoll_wait of its own, by which it sees who waited for whom.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LEAVES_EPOLL_WAIT
#endif
#endif

#ifdef LEAVES_EPOLL_WAIT

int busy_poll_is_there(void) { return 0; }

#else

int busy_poll_is_there(void) { return 1; }

static _Thread_local busy_poll_history history;

static uint64_t now(void) {
    struct timespec time = {0};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int ask(int epoll, struct epoll_event *events, int count, int timeout) {
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, timeout, NULL, 8);
}

/// What comes until `end`; 0: nothing.
static int look(int epoll, struct epoll_event *events, int count, uint64_t end) {
    do {
        int ready = ask(epoll, events, count, 0);
        if (ready != 0) return ready;
        // Whoever else can run, does: what is waited for may need this very core.
        sched_yield();
    } while (now() < end);
    return 0;
}

/// In place of the C library's, for the whole program: NIO's event loops call it, and have no place of their own for this. Without
/// busy_poll_set, or with a timeout (NIO has none, its timers are a descriptor), it is epoll_wait(2) and nothing else.
int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
    if (limit == 0 || timeout >= 0) return ask(epoll, events, count, timeout);
    uint64_t begin = now();
    int ready = 0;
    if (busy_poll_pays(history)) {
        ready = look(epoll, events, count, begin + limit);
        if (ready != 0) ends.found++;
        else ends.slept++;
    }
    if (ready == 0) ready = ask(epoll, events, count, timeout);
    history = busy_poll_remember(history, now() - begin <= limit);
    return ready;
}

#endif
