import ChatCore
import NIOConcurrencyHelpers
import NIOCore

/// An address that requests come from: what is charged for those that no user has proven to be behind. Of IPv6 the network, as a host has
/// as many addresses of it as it likes.
public struct ClientAddress: Hashable, Sendable {
    private let high: UInt64
    private let low: UInt64

    private init(_ high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    /// All who have no address of the internet: those on a Unix socket.
    public static let local = ClientAddress(0, 1)

    /// Where a connection comes from.
    public init(_ address: SocketAddress?) {
        switch address {
        case .v4(let v4):
            // `sockaddr_in`: the address stands at the 4th byte, and at the 8th of `sockaddr_in6`.
            self = withUnsafeBytes(of: v4.address) { Self(bytes: $0[4..<8]) }
        case .v6(let v6):
            self = withUnsafeBytes(of: v6.address) { Self(bytes: $0[8..<24]) }
        case .unixDomainSocket, nil:
            self = .local
        }
    }

    /// Four of an IPv4 address, or sixteen.
    private init(bytes: Slice<UnsafeRawBufferPointer>) {
        let number = { (bytes: Slice<UnsafeRawBufferPointer>) in bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        guard bytes.count == 16 else {
            self.init(0, 0xFFFF_0000_0000 | number(bytes))
            return
        }
        let (high, low) = (number(bytes.prefix(8)), number(bytes.suffix(8)))
        // An IPv4 address as IPv6 writes it, and the loopback address; of all others the network.
        self.init(high, high == 0 ? low : 0)
    }

    /// As it is written in a header, perhaps with a port, in brackets or not. Nil: it is no address.
    public init?(_ text: some StringProtocol) {
        var text = String(text).filter { $0 != " " && $0 != "\"" }
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            text = String(text[text.index(after: text.startIndex)..<end])
        } else if text.count(where: { $0 == ":" }) == 1, let colon = text.firstIndex(of: ":") {
            text = String(text[..<colon])
        }
        guard text.utf8.count <= 45, let address = try? SocketAddress(ipAddress: text, port: 0) else { return nil }
        self.init(address)
    }

    /// 127.0.0.0/8 and ::1.
    public var isLoopback: Bool { high == 0 && (low == 1 || low & ~0xFF_FFFF == 0xFFFF_7F00_0000) }

    /// Whether the first `bits` bits (of 128) are those of `other`.
    func begins(like other: ClientAddress, bits: Int) -> Bool {
        let mask = { (bits: Int) -> UInt64 in bits <= 0 ? 0 : bits >= 64 ? .max : ~(UInt64.max >> UInt64(bits)) }
        return (high ^ other.high) & mask(bits) == 0 && (low ^ other.low) & mask(bits - 64) == 0
    }
}

/// The addresses of proxies that are believed when they say for whom they ask.
public struct TrustedProxies: Hashable, Sendable, CustomStringConvertible {
    private struct Range: Hashable, Sendable {
        var address: ClientAddress
        var bits: Int
        var text: String
    }

    private var ranges: [Range] = []
    private var trustsLoopback = false

    public static let loopback: TrustedProxies = {
        var proxies = TrustedProxies()
        proxies.trustsLoopback = true
        return proxies
    }()
    /// Nobody is believed.
    public static let nobody = TrustedProxies()

    private init() {}

    /// Reads `none`, or addresses and networks separated by commas, `loopback` among them. Nil if one of them is none.
    public init?(_ text: String) {
        if text == "none" { return }
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let word = part.filter { $0 != " " }
            if word == "loopback" {
                trustsLoopback = true
                continue
            }
            let halves = word.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            guard let first = halves.first, let address = ClientAddress(first) else { return nil }
            let width = first.contains(":") ? 128 : 32
            var bits = width
            if halves.count == 2 {
                guard let given = Int(halves[1]), (0...width).contains(given) else { return nil }
                bits = given
            }
            // Of an IPv6 address the network is all that is looked at.
            let counted = width == 32 ? 96 + bits : min(bits, 64)
            ranges.append(Range(address: address, bits: counted, text: word))
        }
    }

    public func contains(_ address: ClientAddress) -> Bool {
        if trustsLoopback, address.isLoopback || address == .local { return true }
        return ranges.contains { address.begins(like: $0.address, bits: $0.bits) }
    }

    /// Who asks: the peer, or the last one that a trusted proxy names and that is none itself (`X-Forwarded-For`; what stands before it
    /// anybody may have written).
    public func client(peer: ClientAddress, forwardedFor fields: [String]) -> ClientAddress {
        guard contains(peer) else { return peer }
        for name in fields.flatMap({ $0.split(separator: ",") }).suffix(32).reversed() {
            guard let address = ClientAddress(name) else { return peer }
            if !contains(address) { return address }
        }
        return peer
    }

    public var description: String {
        let words = (trustsLoopback ? ["loopback"] : []) + ranges.map(\.text)
        return words.isEmpty ? "none" : words.joined(separator: ",")
    }
}

/// What each address may still cost the node. Asked once for an HTTP request or a handshake, never for a message, so a lock is fair.
public final class AddressRates: Sendable {
    /// Addresses that are remembered; beyond it those that owe nothing are forgotten, and if that is not enough all of them.
    private static let most = 32_768

    private let rate: CostRate
    private let paid = NIOLockedValueBox<[ClientAddress: UInt64]>([:])

    public init(_ rate: CostRate) {
        self.rate = rate
    }

    /// Takes that much; zero: taken. Else nothing was taken, and there is something to take again after that time.
    public func take(_ cost: UInt64, from address: ClientAddress, now: Moment) -> Duration {
        paid.withLockedValue { paid in
            let before = paid[address] ?? 0
            guard let after = rate.take(before, cost, now: now) else { return rate.debt(before, now: now) }
            Self.remember(after, of: address, now: now, &paid)
            return .zero
        }
    }

    /// Charges for what was done already.
    public func charge(_ cost: UInt64, to address: ClientAddress, now: Moment) {
        guard cost > 0 else { return }
        paid.withLockedValue { paid in
            Self.remember(rate.charge(paid[address] ?? 0, cost, now: now), of: address, now: now, &paid)
        }
    }

    private static func remember(
        _ state: UInt64, of address: ClientAddress, now: Moment, _ paid: inout [ClientAddress: UInt64]
    ) {
        if paid[address] == nil, paid.count >= most {
            paid = paid.filter { $0.value > now.nanoseconds }
            if paid.count >= most { paid = [:] }
        }
        paid[address] = state
    }

    /// How many are remembered.
    var count: Int { paid.withLockedValue { $0.count } }
}
