import Glibc

/// A blocking TCP connection to a server on loopback. It is closed when the object is released.
package final class LoopbackSocket: Sendable {
    package let descriptor: CInt

    /// Connects. `receiveBuffer`: the size of the kernel's receive buffer in bytes. `timeout`: seconds after which a
    /// read fails.
    package init(port: Int, receiveBuffer: Int? = nil, timeout: Int? = nil) throws {
        descriptor = try Self.open()
        if let receiveBuffer { setReceiveBuffer(receiveBuffer) }
        if let timeout {
            var time = timeval(tv_sec: timeout, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        }
        var on: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
        guard Self.withAddress(port: port, { connect(descriptor, $0, $1) }) == 0 else {
            // The descriptor is closed by deinit, which also runs after an initializer that throws.
            throw TestFailure("nothing listens on port \(port): errno \(errno)")
        }
    }

    deinit { close(descriptor) }

    /// Whether a server could listen on this port now.
    package static func isFree(port: Int) throws -> Bool {
        let descriptor = try open()
        defer { close(descriptor) }
        return withAddress(port: port) { bind(descriptor, $0, $1) } == 0
    }

    package func setReceiveBuffer(_ bytes: Int) {
        var bytes = CInt(bytes)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<CInt>.size))
    }

    /// From now on a read returns at once with what has arrived, and a write takes what fits into the kernel's buffer.
    package func setNonBlocking() { _ = fcntl(descriptor, F_SETFL, O_NONBLOCK) }

    /// Writes as much as the kernel takes; a blocking socket waits until it took all. Returns how many bytes it took.
    @discardableResult
    package func write(_ bytes: some Collection<UInt8>) -> Int {
        let count = Array(bytes).withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
        return max(0, count)
    }

    /// Reads into `buffer`, at most `limit` bytes. Returns how many there were: 0 at the end of the connection,
    /// negative if nothing came in time.
    package func read(into buffer: inout [UInt8], atMost limit: Int = .max, waits: Bool = true) -> Int {
        recv(descriptor, &buffer, min(buffer.count, limit), waits ? 0 : CInt(MSG_DONTWAIT))
    }

    private static func open() throws -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestFailure("no socket: errno \(errno)") }
        return descriptor
    }

    private static func withAddress<Result>(
        port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(clamping: port)).bigEndian
        address.sin_addr = in_addr(s_addr: UInt32(0x7F00_0001).bigEndian)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
