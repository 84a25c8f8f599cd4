/* The floor that chat servers are measured against: WebSocket rooms over one or two processes with one send(2) for each
 * delivery and nothing else: no Redis, no log, no JSON, no limits, no answer to who says something.
 *
 *   floor PORT LINKPORT PEERLINKPORT [FAULT]      all on 127.0.0.1; a peer of 0: this is the only process
 *
 * A client asks for /room/NAME and is in the room; what it says (text, one frame) is sent to every member, its own
 * connection included. Two processes forward to each other, over one TCP connection each way, what is said in rooms in
 * which the other has members: the least that two nodes can do. Measured by `martlet bench --protocol raw`.
 *
 * FAULT, to prove that the accounts notice: drop, repeat or swap does so with every fiftieth delivery. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_NAME = 200, MAX_FRAME = 70000, BUCKETS = 65536, READ = 262144 };

struct room {
    struct room *next;
    int *members, count, capacity;
    int is_remote; /* the peer has members too */
    int length;
    char name[];
};

struct connection {
    enum { FREE, LISTENER, LINK_LISTENER, SHAKING, CLIENT, LINK } kind;
    struct room *room;
    char *rest; /* of which not all has come */
    int rest_length;
};

static struct room *rooms[BUCKETS];
static struct connection *connections;
static int connections_limit, poller, peer_port, peer = -1;
static char input[READ];

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static struct room *room_named(const char *name, int length) {
    uint32_t hash = 2166136261u;
    for (int i = 0; i < length; i++) hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    struct room **place = &rooms[hash % BUCKETS];
    for (struct room *room = *place; room; room = room->next)
        if (room->length == length && !memcmp(room->name, name, length)) return room;
    struct room *room = calloc(1, sizeof *room + length + 1);
    if (!room) fail("memory");
    room->length = length;
    memcpy(room->name, name, length);
    room->next = *place;
    return *place = room;
}

/* All of it; a reader that does not keep up makes everybody wait, which a floor may do and a server may not. */
static void send_all(int fd, const char *bytes, int length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            bytes += sent;
            length -= sent;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            if (poll(&wait, 1, 1000) <= 0) return;
        } else if (errno != EINTR) {
            return;
        }
    }
}

static void watch(int fd, int kind) {
    if (fd >= connections_limit) {
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    connections[fd] = (struct connection){.kind = kind};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll");
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void listen_on(int port, int kind) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    watch(fd, kind);
}

/* To the peer: four bytes of length, a letter (J: we have members of that room now; M: a message), a byte of length and
 * the room's name, and the frame as members get it. */
static void tell_peer(char letter, struct room *room, const char *frame, int length) {
    static char bytes[MAX_FRAME + MAX_NAME + 32];
    if (!peer_port) return;
    if (peer < 0) {
        struct sockaddr_in address = loopback(peer_port);
        peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(peer, (struct sockaddr *)&address, sizeof address)) fail("peer");
        int one = 1;
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    uint32_t all = 2 + room->length + length;
    memcpy(bytes, &all, 4);
    bytes[4] = letter;
    bytes[5] = room->length;
    memcpy(bytes + 6, room->name, room->length);
    if (length) memcpy(bytes + 6 + room->length, frame, length);
    send_all(peer, bytes, 4 + all);
}

/* What every fiftieth delivery suffers; 0: nothing. */
static char fault;

static void deliver_badly(int fd, const char *frame, int length) {
    static int deliveries, held_fd = -1, held_length;
    static char held[MAX_FRAME];
    int is_due = ++deliveries % 50 == 0;
    if (is_due && fault == 'd') return;
    if (is_due && fault == 's' && held_fd < 0) {
        held_fd = fd;
        memcpy(held, frame, held_length = length);
        return;
    }
    send_all(fd, frame, length);
    if (is_due && fault == 'r') send_all(fd, frame, length);
    if (fd == held_fd) {
        send_all(fd, held, held_length);
        held_fd = -1;
    }
}

static void deliver(struct room *room, const char *frame, int length) {
    for (int i = 0; i < room->count; i++) {
        if (fault) {
            deliver_badly(room->members[i], frame, length);
        } else {
            send_all(room->members[i], frame, length);
        }
    }
}

static void enter(int fd, struct room *room) {
    if (room->count == room->capacity) {
        room->capacity = room->capacity ? 2 * room->capacity : 16;
        room->members = realloc(room->members, room->capacity * sizeof *room->members);
        if (!room->members) fail("memory");
    }
    room->members[room->count++] = fd;
    connections[fd].room = room;
    connections[fd].kind = CLIENT;
    if (room->count == 1) tell_peer('J', room, NULL, 0);
}

static void drop(int fd) {
    struct room *room = connections[fd].room;
    for (int i = 0; room && i < room->count; i++)
        if (room->members[i] == fd) room->members[i] = room->members[--room->count];
    free(connections[fd].rest);
    connections[fd] = (struct connection){.kind = FREE};
    close(fd);
}

/* The next three return how many bytes they used up, or -1: the connection is of no use. */
static int take_handshake(int fd, char *bytes, int length) {
    char *end = memmem(bytes, length, "\r\n\r\n", 4), *name = bytes + 10;
    if (!end) return length > 8192 ? -1 : 0;
    if (strncmp(bytes, "GET /room/", 10)) return -1;
    int count = strcspn(name, " ?\r");
    if (count < 1 || count > MAX_NAME) return -1;
    /* The generator always offers the key of RFC 6455 §1.3, so the answer is always the one from there. */
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    send_all(fd, answer, sizeof answer - 1);
    enter(fd, room_named(name, count));
    return end + 4 - bytes;
}

static int take_frame(int fd, char *bytes, int length) {
    unsigned char *head = (unsigned char *)bytes;
    if (length < 6) return 0;
    int size = head[1] & 0x7F, start = 6;
    if (size == 127) return -1;
    if (size == 126) {
        if (length < 8) return 0;
        size = head[2] << 8 | head[3];
        start = 8;
    }
    if (length < start + size) return 0;
    if ((head[0] & 0xF) == 8) return -1;
    if ((head[0] & 0xF) != 1) return start + size;
    char frame[MAX_FRAME];
    int at = 2;
    frame[0] = (char)0x81;
    if (size < 126) {
        frame[1] = size;
    } else {
        frame[1] = 126;
        frame[2] = size >> 8;
        frame[3] = size;
        at = 4;
    }
    for (int i = 0; i < size; i++) frame[at + i] = bytes[start + i] ^ bytes[start - 4 + i % 4];
    deliver(connections[fd].room, frame, at + size);
    if (connections[fd].room->is_remote) tell_peer('M', connections[fd].room, frame, at + size);
    return start + size;
}

static int take_link(char *bytes, int length) {
    uint32_t all;
    if (length < 4) return 0;
    memcpy(&all, bytes, 4);
    if (length < (int)(4 + all)) return 0;
    int count = (unsigned char)bytes[5];
    struct room *room = room_named(bytes + 6, count);
    if (bytes[4] == 'J') room->is_remote = 1;
    if (bytes[4] == 'M') deliver(room, bytes + 6 + count, all - 2 - count);
    return 4 + all;
}

static void readable(int fd) {
    struct connection *connection = &connections[fd];
    int had = connection->rest_length;
    if (had) memcpy(input, connection->rest, had);
    ssize_t count = recv(fd, input + had, READ - had, 0);
    if (count <= 0) {
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
        drop(fd);
        return;
    }
    int length = had + count, used = 0, step = 1;
    while (step > 0 && used < length) {
        char *at = input + used;
        step = connection->kind == SHAKING  ? take_handshake(fd, at, length - used)
               : connection->kind == CLIENT ? take_frame(fd, at, length - used)
                                            : take_link(at, length - used);
        if (step > 0) used += step;
    }
    if (step < 0 || length - used == READ) {
        drop(fd);
        return;
    }
    free(connection->rest);
    connection->rest = NULL;
    connection->rest_length = length - used;
    if (used < length) {
        connection->rest = malloc(length - used);
        if (!connection->rest) fail("memory");
        memcpy(connection->rest, input + used, length - used);
    }
}

static int number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < 0 || value > 65535) {
        fprintf(stderr, "floor: %s is no port\n", text);
        exit(2);
    }
    return value;
}

int main(int count, char **arguments) {
    if (count < 4 || count > 5) {
        fprintf(stderr, "usage: floor PORT LINKPORT PEERLINKPORT [drop|repeat|swap]\n");
        return 2;
    }
    fault = count == 5 ? arguments[4][0] : 0;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    connections_limit = files.rlim_cur > 1 << 20 ? 1 << 20 : (int)files.rlim_cur;
    connections = calloc(connections_limit, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || poller < 0) fail("floor");
    listen_on(number(arguments[1]), LISTENER);
    listen_on(number(arguments[2]), LINK_LISTENER);
    peer_port = number(arguments[3]);
    for (;;) {
        struct epoll_event events[512];
        int ready = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd, kind = connections[fd].kind;
            if (kind == FREE) continue;
            if (kind == LISTENER || kind == LINK_LISTENER) {
                int new = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
                if (new >= 0) watch(new, kind == LISTENER ? SHAKING : LINK);
            } else {
                readable(fd);
            }
        }
    }
}
