import CLinux
import Glibc

/// A TCP connection that never blocks.
final class BenchSocket {
    let descriptor: Int32
    /// Bytes that the kernel has not accepted yet.
    private var unsent: [UInt8] = []

    /// Begins to connect. On loopback, connections use different source addresses (`origin`), because one address has
    /// only 28,000 ports.
    init(_ address: BenchAddress, origin: Int) throws(BenchError) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw BenchError("no socket: \(String(cString: strerror(errno)))") }
        set(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        if address.isLoopback {
            set(Int32(IPPROTO_IP), IP_BIND_ADDRESS_NO_PORT, 1)
            var source = address.socketAddress
            source.sin_port = 0
            source.sin_addr.s_addr = (0x7F00_0002 + UInt32(origin % 64)).bigEndian
            _ = Self.with(&source) { bind(descriptor, $0, $1) }
        }
        var target = address.socketAddress
        guard Self.with(&target, { connect(descriptor, $0, $1) }) == 0 || errno == EINPROGRESS else {
            let text = String(cString: strerror(errno))
            Glibc.close(descriptor)
            throw BenchError("cannot connect to \(address.text): \(text)")
        }
    }

    private func set(_ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func with<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    var hasUnsent: Bool { !unsent.isEmpty }

    /// Sends, and keeps what the kernel does not accept now for ``sendRest()``.
    func send(_ bytes: [UInt8]) {
        guard unsent.isEmpty else {
            unsent += bytes
            return
        }
        let sent = max(0, Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)))
        if sent < bytes.count { unsent += bytes[sent...] }
    }

    /// See ``BenchPlan/acksAtOnce``. Valid until the next read.
    func acknowledge() { set(Int32(IPPROTO_TCP), TCP_QUICKACK, 1) }

    func sendRest() {
        guard !unsent.isEmpty else { return }
        let sent = Glibc.send(descriptor, unsent, unsent.count, Int32(MSG_NOSIGNAL))
        if sent > 0 { unsent.removeFirst(sent) }
    }

    /// Reads what is there: how many bytes, 0 at the end of the connection, nil if there are none yet.
    func receive(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        while true {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count >= 0 { return count }
            if errno == EAGAIN { return nil }
            if errno != EINTR { return 0 }
        }
    }

    func close() {
        Glibc.close(descriptor)
    }
}

/// The address of a node.
struct BenchAddress {
    let host: String
    let port: UInt16
    /// Empty if the URL has no path.
    let path: String
    let text: String
    let socketAddress: sockaddr_in

    var isLoopback: Bool { UInt32(bigEndian: socketAddress.sin_addr.s_addr) >> 24 == 127 }

    /// Reads `ws://host[:port][/path]` and resolves the host.
    init(_ url: String) throws(BenchError) {
        guard url.hasPrefix("ws://") else { throw BenchError("\(url): only ws:// can be measured") }
        let rest = url.dropFirst(5)
        let authority = rest.prefix { $0 != "/" }
        let tail = String(rest.dropFirst(authority.count))
        let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
        guard let name = parts.first, !name.isEmpty, parts.count <= 2,
            let number = UInt16(parts.count == 2 ? String(parts[1]) : "80")
        else { throw BenchError("\(url): expected ws://host[:port][/path]") }
        host = String(name)
        port = number
        path = tail == "/" ? "" : tail
        text = url
        var hints = addrinfo()
        hints.ai_family = AF_INET
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(number)", &hints, &found) == 0, let first = found else {
            throw BenchError("\(url): no IPv4 address of \(host)")
        }
        defer { freeaddrinfo(found) }
        socketAddress = first.pointee.ai_addr.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee }
    }

    /// The request that opens a connection: it asks for a WebSocket, or for a stream.
    func handshake(_ target: String, isStream: Bool) -> [UInt8] {
        guard !isStream else { return Array("GET \(target) HTTP/1.1\r\nHost: \(host):\(port)\r\n\r\n".utf8) }
        return Array(
            ("GET \(target) HTTP/1.1\r\nHost: \(host):\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").utf8)
    }
}

/// Why a measurement cannot be made.
struct BenchError: Error {
    let message: String

    init(_ message: String) { self.message = message }
}

/// Waits for many sockets and a deadline.
final class BenchPoll {
    private let descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    private let timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC))
    private var events = [epoll_event](repeating: epoll_event(), count: 512)
    private static let timerMark = UInt64.max

    init() {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue
        event.data.u64 = Self.timerMark
        epoll_ctl(descriptor, EPOLL_CTL_ADD, timer, &event)
    }

    deinit {
        close(timer)
        close(descriptor)
    }

    /// Reports that the socket is ready with `mark`; that it can be written only if `writes`. It is reported once each
    /// time data arrives (or can be sent again), so everything must be read then; the kernel need not check the socket
    /// again each time.
    func add(_ socket: BenchSocket, mark: Int, writes: Bool) { control(EPOLL_CTL_ADD, socket, mark, writes) }
    func change(_ socket: BenchSocket, mark: Int, writes: Bool) { control(EPOLL_CTL_MOD, socket, mark, writes) }

    private func control(_ operation: Int32, _ socket: BenchSocket, _ mark: Int, _ writes: Bool) {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue | EPOLLET.rawValue | (writes ? EPOLLOUT.rawValue : 0)
        event.data.u64 = UInt64(mark)
        epoll_ctl(descriptor, operation, socket.descriptor, &event)
    }

    /// Waits until a socket is ready or the time is `until` (nanoseconds of the monotonic clock), and calls `body` for
    /// each that is ready, with its mark.
    func wait(until: UInt64, _ body: (_ mark: Int, _ canRead: Bool, _ canWrite: Bool) -> Void) {
        var when = itimerspec()
        when.it_value.tv_sec = Int(max(1, until) / 1_000_000_000)
        when.it_value.tv_nsec = Int(max(1, until) % 1_000_000_000)
        timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &when, nil)
        let count = epoll_wait(descriptor, &events, Int32(events.count), 1_000)
        guard count > 0 else { return }
        for index in 0..<Int(count) {
            let event = events[index]
            guard event.data.u64 != Self.timerMark else {
                var expirations: UInt64 = 0
                _ = read(timer, &expirations, MemoryLayout<UInt64>.size)
                continue
            }
            let readable = EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue | EPOLLRDHUP.rawValue
            body(Int(event.data.u64), event.events & readable != 0, event.events & EPOLLOUT.rawValue != 0)
        }
    }

    /// Nanoseconds of the monotonic clock.
    static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
