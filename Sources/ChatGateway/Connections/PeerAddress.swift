import Glibc
import NIOCore

/// The address of a connection's peer. An IPv4 address is stored as the IPv4-mapped IPv6 address, so that both forms
/// are equal.
public struct PeerAddress: Hashable, Sendable, CustomStringConvertible {
    let high: UInt64
    let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    private static let mapped: UInt64 = 0xFFFF_0000_0000

    /// An IPv4 address as a number.
    init(ipv4: UInt32) {
        self.init(high: 0, low: Self.mapped | UInt64(ipv4))
    }

    /// Parses an address in its usual notation, without a port or brackets; nil if it is not one.
    public init?(_ text: some StringProtocol) {
        var four = in_addr()
        var six = in6_addr()
        // The zone of a link-local address is of no use here.
        let text = String(text.prefix { $0 != "%" })
        if inet_pton(AF_INET, text, &four) == 1 {
            self.init(four)
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            self.init(six)
        } else {
            return nil
        }
    }

    /// Nil for a connection without an address, such as one over a Unix socket.
    init?(_ address: SocketAddress?) {
        switch address {
        case .v4(let address)?:
            // sockaddr_in: family and port in the first four bytes.
            let number = withUnsafeBytes(of: address.address) { $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self) }
            self.init(ipv4: UInt32(bigEndian: number))
        case .v6(let address)?:
            // sockaddr_in6: family, port and flow in the first eight bytes.
            let address = withUnsafeBytes(of: address.address) {
                $0.loadUnaligned(fromByteOffset: 8, as: in6_addr.self)
            }
            self.init(address)
        case .unixDomainSocket?, nil: return nil
        }
    }

    private init(_ address: in_addr) {
        self.init(ipv4: UInt32(bigEndian: address.s_addr))
    }

    private init(_ address: in6_addr) {
        let halves = withUnsafeBytes(of: address) { bytes in
            (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        self.init(high: UInt64(bigEndian: halves.0), low: UInt64(bigEndian: halves.1))
    }

    var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }

    /// The unit that limits apply to: for IPv6 the /64, as a client that has one of its addresses has them all.
    var network: PeerAddress { isIPv4 ? self : PeerAddress(high: high, low: 0) }

    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        if isIPv4 {
            var address = in_addr(s_addr: UInt32(truncatingIfNeeded: low).bigEndian)
            guard inet_ntop(AF_INET, &address, &text, socklen_t(text.count)) != nil else { return "" }
        } else {
            var halves = (high.bigEndian, low.bigEndian)
            guard inet_ntop(AF_INET6, &halves, &text, socklen_t(text.count)) != nil else { return "" }
        }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Addresses that begin with the same bits.
public struct AddressRange: Hashable, Sendable {
    private let first: PeerAddress
    private let bits: Int

    /// Parses `10.0.0.0/8`, `fd00::/8` or a single address; nil if it is none of these.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let part = parts.first, let address = PeerAddress(part) else { return nil }
        let most = address.isIPv4 ? 32 : 128
        var bits = most
        if parts.count == 2 {
            guard !parts[1].isEmpty, parts[1].utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = Int(parts[1]), number <= most
            else { return nil }
            bits = number
        }
        first = address
        self.bits = address.isIPv4 ? 96 + bits : bits
    }

    public func contains(_ address: PeerAddress) -> Bool {
        let high: UInt64 = bits >= 64 ? .max : bits == 0 ? 0 : .max << UInt64(64 - bits)
        let low: UInt64 = bits <= 64 ? 0 : bits >= 128 ? .max : .max << UInt64(128 - bits)
        return (address.high ^ first.high) & high == 0 && (address.low ^ first.low) & low == 0
    }

    /// The machine itself.
    public static let loopback = ["127.0.0.0/8", "::1"].compactMap { AddressRange($0) }
    /// Networks that are not the internet (RFC 1918, 4193, 6598, 3927, 4291), where proxies usually are.
    public static let local = [
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10",
    ].compactMap { AddressRange($0) }
}

extension PeerAddress {
    /// The client behind trusted proxies: the last address in `X-Forwarded-For` that is not a trusted proxy.
    static func client(_ peer: PeerAddress?, forwardedFor: [String], trusted: [AddressRange]) -> PeerAddress? {
        guard var client = peer else { return nil }
        let isTrusted = { (address: PeerAddress) in trusted.contains { $0.contains(address) } }
        // A client may send as many addresses as a head can hold; a proxy adds one.
        for text in forwardedFor.reversed().prefix(16) {
            guard isTrusted(client), let address = PeerAddress(withoutPort(text)) else { break }
            client = address
        }
        return client
    }

    /// Some proxies add the port.
    private static func withoutPort(_ text: String) -> Substring {
        if text.hasPrefix("[") { return text.dropFirst().prefix { $0 != "]" } }
        let colons = text.utf8.count { $0 == UInt8(ascii: ":") }
        return colons == 1 ? text.prefix { $0 != ":" } : Substring(text)
    }
}
