#pragma once

#include <stdint.h>

/// Has the calling thread, instead of sleeping in epoll_wait(2), look again and again for up to that many nanoseconds, while nearly
/// all of its last waits were that short. A core that does not sleep need not be woken, which on a virtual machine takes longer than all
/// that a node does for a message. 0, as every thread begins: it sleeps at once.
void busy_poll_set(uint64_t nanoseconds);

/// Whether this program can: not under the thread sanitizer.
int busy_poll_is_there(void);

/// How the times ended that the calling thread looked, since it began.
struct busy_poll_ends {
    /// Something came.
    uint64_t found;
    /// Nothing came: it slept.
    uint64_t slept;
};

struct busy_poll_ends busy_poll_ends(void);

/// The last eight waits, one bit each, the newest the lowest: 1 if it was short.
typedef uint8_t busy_poll_history;

/// What it is after one more wait.
static inline busy_poll_history busy_poll_remember(busy_poll_history history, int was_short) {
    return (busy_poll_history)(history << 1 | (was_short ? 1 : 0));
}

/// Whether looking will probably find something: of the last eight waits one at most was long.
static inline int busy_poll_pays(busy_poll_history history) { return __builtin_popcount(history) >= 7; }
