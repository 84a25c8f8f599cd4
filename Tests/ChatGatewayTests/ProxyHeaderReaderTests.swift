import ChatCore
import TestSupport
import Testing

@testable import ChatGateway

/// The parser of the PROXY protocol: whatever the pieces in which a header arrives, and whatever it holds.
struct ProxyHeaderReaderTests {
    private typealias Outcome = ProxyHeaderReader.Outcome

    private static let signature: [UInt8] = [13, 10, 13, 10, 0, 13, 10] + Array("QUIT\n".utf8)

    /// A header of version 2: `command` with the version in its upper half, `family` with the transport in its lower
    /// half, then addresses and TLVs.
    private static func binary(_ command: UInt8, _ family: UInt8, _ data: [UInt8], length: Int? = nil) -> [UInt8] {
        let length = length ?? data.count
        return signature + [command, family, UInt8(length >> 8), UInt8(length & 255)] + data
    }

    private static let ipv4: [UInt8] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0x01, 0xBB]
    private static let ipv6: [UInt8] =
        [0x20, 0x01, 0x0D, 0xB8] + Array(repeating: 0, count: 11) + [9] + Array(repeating: 1, count: 20)
    /// Two TLVs: ALPN, and CRC32C, which is not checked.
    private static let values: [UInt8] = [1, 0, 2, 0x68, 0x32, 3, 0, 4, 1, 2, 3, 4]

    private static let headers: [([UInt8], client: String?)] = [
        (binary(0x21, 0x11, ipv4), "192.0.2.7"), (binary(0x21, 0x11, ipv4 + values), "192.0.2.7"),
        (binary(0x21, 0x21, ipv6), "2001:db8::9"), (binary(0x21, 0x21, ipv6 + values), "2001:db8::9"),
        // Health checks, Unix sockets, datagrams, families that are not specified.
        (binary(0x20, 0x00, []), nil), (binary(0x20, 0x11, ipv4), nil), (binary(0x20, 0x11, [1, 2, 3]), nil),
        (binary(0x21, 0x31, Array(repeating: 0x2F, count: 216)), nil), (binary(0x21, 0x12, ipv4), nil),
        (binary(0x21, 0x00, []), nil), (binary(0x21, 0x00, values), nil), (binary(0x21, 0x10, ipv4), nil),
        (binary(0x21, 0x11, ipv4 + Array(repeating: 4, count: 4_068)), "192.0.2.7"),
        (Array("PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n".utf8), "192.0.2.7"),
        (Array("PROXY TCP6 2001:db8::9 ::1 65535 0\r\n".utf8), "2001:db8::9"),
        (Array("PROXY UNKNOWN\r\n".utf8), nil),
        (Array("PROXY UNKNOWN ffff:f...f:ffff whatever 1 2 3\r\n".utf8), nil),
        (
            Array(("PROXY TCP6 " + String(repeating: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ", count: 2)).utf8)
                + Array("65535 65535\r\n".utf8), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        ),
    ]

    private static let malformed: [[UInt8]] = [
        binary(0x11, 0x11, ipv4), binary(0x31, 0x11, ipv4), binary(0x22, 0x11, ipv4), binary(0x2F, 0x11, ipv4),
        binary(0x21, 0x41, ipv4), binary(0x21, 0x13, ipv4), binary(0x20, 0xF0, []), binary(0x21, 0x0F, []),
        binary(0x21, 0x11, Array(ipv4.dropLast())), binary(0x21, 0x21, ipv4), binary(0x21, 0x31, ipv6),
        binary(0x21, 0x11, [], length: 4_081), binary(0x20, 0x00, [], length: 65_535),
        Array("PROXY \r\n".utf8), Array("PROXY TCP4\r\n".utf8), Array("PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n".utf8),
        Array("PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n".utf8), Array("PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n".utf8),
        Array("PROXY TCP4 2001:db8::9 ::1 1 2\r\n".utf8), Array("PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n".utf8),
        Array("PROXY TCP4 chat.example 10.0.0.1 1 2\r\n".utf8), Array("PROXY TCP4 192.0.2.7 nobody 1 2\r\n".utf8),
        Array("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n".utf8), Array("PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n".utf8),
        Array("PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n".utf8), Array("PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n".utf8),
        Array("PROXY / HTTP/1.1\r\n".utf8), Array(("PROXY TCP4 " + String(repeating: "1", count: 200)).utf8),
        Array("PROXY TCP4 \u{FF} \u{FF} 1 2\r\n".utf8),
    ]

    private static let absent: [[UInt8]] = [
        Array("GET / HTTP/1.1\r\n".utf8), Array("\r\nGET / HTTP/1.1\r\n".utf8), Array("\r\n\r\nGET /".utf8),
        Array("PROXIES".utf8), Array("PUT / HTTP/1.1".utf8), [22, 3, 1, 0, 5], [0], Array("P ".utf8),
        Array(signature.dropLast()) + [0],
    ]

    /// Feeds pieces until there is an outcome. `used`: how many bytes it took.
    private func read(_ pieces: some Sequence<ArraySlice<UInt8>>) -> (Outcome, used: Int) {
        var reader = ProxyHeaderReader()
        var used = 0
        for piece in pieces {
            used += piece.count
            let outcome = reader.received(piece)
            guard outcome == .incomplete else { return (outcome, used) }
        }
        return (.incomplete, used)
    }

    private func singly(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] { bytes.indices.map { bytes[$0...$0] } }

    @Test func headersAreReadByteByByteAndAtOnce() {
        let rest = Array("GET / HTTP/1.1\r\n".utf8)
        for (bytes, client) in Self.headers {
            let header = ProxyHeader(client: client.flatMap { PeerAddress($0) })
            #expect((header.client == nil) == (client == nil))
            let (outcome, used) = read(singly(bytes + rest))
            #expect(outcome == .header(header, rest: []) && used == bytes.count, "\(bytes.prefix(20))")
            #expect(read([(bytes + rest)[...]]).0 == .header(header, rest: rest), "\(bytes.prefix(20))")
            for cut in bytes.indices.dropFirst() {
                let all = bytes + rest
                #expect(read([all[..<cut], all[cut...]]).0 == .header(header, rest: rest))
            }
        }
    }

    @Test func whatIsNoHeaderIsGivenBackAndABrokenOneIsRefused() {
        for bytes in Self.absent {
            let (outcome, used) = read(singly(bytes))
            #expect(outcome == .absent(Array(bytes[..<used])), "\(bytes)")
            #expect(read([bytes[...]]).0 == .absent(bytes))
        }
        for bytes in Self.malformed {
            for pieces in [singly(bytes), [bytes[...]]] {
                guard case .malformed = read(pieces).0 else {
                    Issue.record("accepted: \(String(decoding: bytes, as: UTF8.self)) \(bytes.prefix(20))")
                    continue
                }
            }
        }
    }

    @Test func aBrokenHeaderIsRefusedBeforeItsEnd() {
        let long = Self.binary(0x21, 0x11, [], length: 5_000)
        guard case (.malformed, 16) = read(singly(long)) else {
            Issue.record("its bytes are not waited for")
            return
        }
        let endless = Array("PROXY TCP4 ".utf8) + Array(repeating: 0x31, count: 1_000)
        guard case (.malformed, 107) = read(singly(endless)) else {
            Issue.record("a line has an end")
            return
        }
    }

    /// The outcome depends on the bytes alone, and no bytes make the parser keep more than its bound or stop.
    @Test func mutatedHeadersInAnyPiecesGiveOneOutcome() {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix64(seed: seed)
        let seeds = Self.headers.map(\.0) + Self.malformed + Self.absent
        for _ in 0..<20_000 {
            var bytes = seeds[Int(random.next() % UInt64(seeds.count))]
            for _ in 0..<Int(random.next() % 4) where !bytes.isEmpty {
                let place = Int(random.next() % UInt64(bytes.count))
                switch random.next() % 4 {
                case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes[place] ^= 1 << UInt8(random.next() % 8)
                case 2: bytes.remove(at: place)
                default: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
                }
            }
            bytes += Array(repeating: 0x41, count: Int(random.next() % 300))
            let whole = read([bytes[...]]).0
            var pieces: [ArraySlice<UInt8>] = []
            var start = 0
            while start < bytes.count {
                let end = min(bytes.count, start + 1 + Int(random.next() % 40))
                pieces.append(bytes[start..<end])
                start = end
            }
            let (parted, used) = read(pieces)
            let later = Array(bytes[used...])
            let joined: Outcome =
                switch parted {
                case .absent(let some): .absent(some + later)
                case .header(let header, let rest): .header(header, rest: rest + later)
                case .incomplete, .malformed: parted
                }
            switch (whole, joined) {
            case (.malformed, .malformed): break
            default: #expect(whole == joined, "seed \(seed), bytes \(bytes)")
            }
            if case .incomplete = whole { #expect(bytes.count <= ProxyHeaderReader.mostBytes, "seed \(seed)") }
        }
    }
}
