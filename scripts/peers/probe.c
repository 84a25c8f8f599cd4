/* What Redis itself takes, with one command in flight and nothing else to do: the measure for a node's latencies.
 *
 *   probe PORT COUNT     on 127.0.0.1; prints one JSON object, medians and 99th percentiles in microseconds
 *
 * ping: a round trip that does nothing. append: one that adds 100 bytes to a stream. hop: from a PUBLISH of 100 bytes being
 * written to a subscriber, on another connection, having read it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static int open_redis(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail("redis");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void say(int fd, const char *bytes, int length) {
    if (send(fd, bytes, length, MSG_NOSIGNAL) != length) fail("send");
}

/* Until so many line ends came: enough for the short answers here. */
static void hear(int fd, int lines) {
    char bytes[4096];
    while (lines > 0) {
        ssize_t count = recv(fd, bytes, sizeof bytes, 0);
        if (count <= 0) fail("redis went away");
        if (bytes[0] == '-') {
            fprintf(stderr, "probe: %.*s\n", (int)count, bytes);
            exit(2);
        }
        for (ssize_t i = 0; i < count; i++) lines -= bytes[i] == '\n';
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int is_more(const void *left, const void *right) {
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static void report(const char *name, double *times, int count, const char *end) {
    qsort(times, count, sizeof *times, is_more);
    printf("\"%s\":{\"p50\":%.1f,\"p99\":%.1f}%s", name, times[count / 2], times[count * 99 / 100], end);
}

int main(int argc, char **argv) {
    int port = argc == 3 ? atoi(argv[1]) : 0, count = argc == 3 ? atoi(argv[2]) : 0;
    if (port < 1 || port > 65535 || count < 1 || count > 10000000) {
        fprintf(stderr, "usage: probe PORT COUNT\n");
        return 2;
    }
    double *times = calloc(count, sizeof *times);
    if (!times) fail("memory");
    int commands = open_redis(port), listener = open_redis(port);
    char text[101], append[256], publish[256];
    memset(text, 'x', 100);
    text[100] = 0;
    int append_length = snprintf(append, sizeof append,
                                 "*8\r\n$4\r\nXADD\r\n$11\r\nbench-probe\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$4\r\n1000\r\n"
                                 "$1\r\n*\r\n$1\r\nt\r\n$100\r\n%s\r\n",
                                 text);
    int publish_length =
        snprintf(publish, sizeof publish, "*3\r\n$7\r\nPUBLISH\r\n$11\r\nbench-probe\r\n$100\r\n%s\r\n", text);
    printf("{");
    for (int i = 0; i < count; i++) {
        double began = now();
        say(commands, "PING\r\n", 6);
        hear(commands, 1);
        times[i] = now() - began;
    }
    report("ping", times, count, ",");
    for (int i = 0; i < count; i++) {
        double began = now();
        say(commands, append, append_length);
        hear(commands, 2);
        times[i] = now() - began;
    }
    report("append", times, count, ",");
    say(listener, "SUBSCRIBE bench-probe\r\n", 23);
    hear(listener, 6);
    for (int i = 0; i < count; i++) {
        double began = now();
        say(commands, publish, publish_length);
        hear(listener, 7);
        times[i] = now() - began;
        hear(commands, 1);
    }
    report("hop", times, count, "}\n");
    say(commands, "DEL bench-probe\r\n", 17);
    hear(commands, 1);
    return 0;
}
