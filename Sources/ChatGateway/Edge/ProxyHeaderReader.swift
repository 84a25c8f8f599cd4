/// A header of the PROXY protocol, by which a proxy names the client of a connection (HAProxy, doc/proxy-protocol.txt).
struct ProxyHeader: Hashable, Sendable {
    /// The client's address. Nil if the proxy speaks for itself (`LOCAL`, such as a health check), or if the client has
    /// no address of the internet (a Unix socket, `UNKNOWN`); then the address of the connection counts.
    var client: PeerAddress?
}

/// Reads a PROXY protocol header, if there is one, from the first bytes of a connection: version 1 (text, §2.1) or
/// version 2 (binary, §2.2). Pure; bytes may arrive in pieces of any size.
struct ProxyHeaderReader {
    enum Outcome: Equatable {
        /// More bytes are needed to decide.
        case incomplete
        /// There is no header; all bytes belong to what follows.
        case absent([UInt8])
        /// The header, and the bytes behind it.
        case header(ProxyHeader, rest: [UInt8])
        /// It began as a header, and is none.
        case malformed(String)
    }

    /// Longer headers are refused. HAProxy sends some hundred bytes at most, with all of its TLVs.
    static let mostBytes = 4_096

    private static let signature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]
    private static let word = Array("PROXY ".utf8)
    /// The longest line of version 1, with its end.
    private static let longestLine = 107
    /// The bytes of version 2 before the addresses.
    private static let fixedBytes = 16

    private var bytes: [UInt8] = []

    /// Takes the next bytes. After an outcome other than `incomplete`, the reader must not be used any more.
    mutating func received(_ piece: some Sequence<UInt8>) -> Outcome {
        bytes += piece
        if bytes.starts(with: Self.signature) { return readBinary() }
        if bytes.starts(with: Self.word) { return readLine() }
        let mayFollow = Self.signature.starts(with: bytes) || Self.word.starts(with: bytes)
        return mayFollow ? .incomplete : .absent(bytes)
    }

    // MARK: Version 2

    private func readBinary() -> Outcome {
        guard bytes.count >= Self.fixedBytes else { return .incomplete }
        let (version, command) = (bytes[12] >> 4, bytes[12] & 0xF)
        let (family, transport) = (bytes[13] >> 4, bytes[13] & 0xF)
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        guard version == 2 else { return .malformed("version \(version)") }
        guard command <= 1 else { return .malformed("command \(command)") }
        guard family <= 3, transport <= 2 else { return .malformed("family \(family), transport \(transport)") }
        let end = Self.fixedBytes + length
        guard end <= Self.mostBytes else { return .malformed("\(end) bytes, at most \(Self.mostBytes) are read") }
        let isProxied = command == 1
        // The length of both addresses and ports; TLVs may follow.
        let least = [0, 12, 36, 216][Int(family)]
        guard !isProxied || length >= least else { return .malformed("\(length) bytes for family \(family)") }
        guard bytes.count >= end else { return .incomplete }
        var header = ProxyHeader()
        if isProxied, transport == 1 { header.client = address(family) }
        return .header(header, rest: Array(bytes[end...]))
    }

    /// The source address, which comes first. Nil for Unix sockets, and for a family that is not specified.
    private func address(_ family: UInt8) -> PeerAddress? {
        switch family {
        case 1: PeerAddress(ipv4: UInt32(truncatingIfNeeded: number(at: Self.fixedBytes, bytes: 4)))
        case 2:
            PeerAddress(high: number(at: Self.fixedBytes, bytes: 8), low: number(at: Self.fixedBytes + 8, bytes: 8))
        default: nil
        }
    }

    /// A number in network order.
    private func number(at index: Int, bytes count: Int) -> UInt64 {
        bytes[index..<(index + count)].reduce(0) { $0 << 8 | UInt64($1) }
    }

    // MARK: Version 1

    private func readLine() -> Outcome {
        let line = bytes.prefix(Self.longestLine)
        guard let end = line.firstRange(of: [0x0D, 0x0A]) else {
            return bytes.count < Self.longestLine ? .incomplete : .malformed("a line without its end")
        }
        let words = line[Self.word.count..<end.lowerBound].split(
            separator: UInt8(ascii: " "), omittingEmptySubsequences: false
        ).map { String(decoding: $0, as: UTF8.self) }
        let rest = Array(bytes[end.upperBound...])
        // Whatever follows this word is to be ignored.
        if words.first == "UNKNOWN" { return .header(ProxyHeader(), rest: rest) }
        guard words.count == 5, words[3...].allSatisfy(isPort) else { return .malformed("not a line of version 1") }
        let addresses = words[1...2].compactMap { PeerAddress($0) }
        let isIPv6: Bool
        switch words[0] {
        case "TCP4": isIPv6 = false
        case "TCP6": isIPv6 = true
        default: return .malformed("not a line of version 1")
        }
        let fits = words[1...2].allSatisfy { $0.contains(":") == isIPv6 && !$0.contains("%") }
        guard fits, addresses.count == 2 else { return .malformed("not a line of version 1") }
        return .header(ProxyHeader(client: addresses[0]), rest: rest)
    }

    private func isPort(_ text: String) -> Bool {
        (1...5).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
            && Int(text).map { $0 <= 65_535 } ?? false
    }
}
