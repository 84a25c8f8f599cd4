import ChatCore
import Glibc

/// Names of hosts and nodes.
enum HostName {
    /// What a node ID adds to the name of its node: a hyphen and 8 hexadecimal digits.
    static let idSuffix = "-00000000"
    static let maxNodeNameBytes = NodeID.maxBytes - idSuffix.utf8.count

    /// The host's name turned into a valid node name: characters that are not allowed become hyphens, and the name is
    /// shortened. `node` if the host has no name.
    static func current() -> String {
        var bytes = [UInt8](repeating: 0, count: 256)
        let found = bytes.withUnsafeMutableBytes { raw in
            guard let name = raw.baseAddress?.assumingMemoryBound(to: CChar.self) else { return false }
            return gethostname(name, raw.count - 1) == 0
        }
        return found ? nodeName(from: String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)) : "node"
    }

    static func nodeName(from host: String) -> String {
        let safe = host.unicodeScalars.map { scalar -> Character in
            let isLetterOrDigit = scalar.properties.isAlphabetic || scalar.properties.numericType != nil
            return scalar.isASCII && (isLetterOrDigit || "._".unicodeScalars.contains(scalar)) ? Character(scalar) : "-"
        }
        let name = String(safe.prefix(maxNodeNameBytes))
        return isNodeName(name) ? name : "node"
    }

    /// Whether `name` can be the beginning of node IDs.
    static func isNodeName(_ name: String) -> Bool {
        guard !name.isEmpty, !name.unicodeScalars.contains(where: { $0.properties.isWhitespace }) else { return false }
        return (try? NodeID(name + idSuffix)) != nil
    }

    /// Whether a server can listen on `host`: an IPv4 or IPv6 address (without brackets), or a name of letters, digits,
    /// hyphens, dots and underscores. Only binding shows whether the name stands for an address of this machine.
    static func isListenable(_ host: String) -> Bool {
        if host.contains(":") { return isAddress(host, family: AF_INET6) }
        if host.utf8.allSatisfy({ $0 == UInt8(ascii: ".") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            return isAddress(host, family: AF_INET)
        }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        return host.utf8.count <= 253 && labels.allSatisfy { isLabel($0) }
    }

    /// Whether only this machine can reach a server that listens on `host`: an address of 127.0.0.0/8, `::1`, or
    /// `localhost`.
    static func isLoopback(_ host: String) -> Bool {
        if host.lowercased() == "localhost" { return true }
        var address = in6_addr()
        if inet_pton(AF_INET6, host, &address) == 1 {
            var loopback = in6addr_loopback
            return memcmp(&address, &loopback, MemoryLayout<in6_addr>.size) == 0
        }
        return host.hasPrefix("127.") && isAddress(host, family: AF_INET)
    }

    private static func isLabel(_ label: Substring) -> Bool {
        !label.isEmpty && label.utf8.count <= 63
            && label.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    private static func isAddress(_ text: String, family: Int32) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { buffer in
            inet_pton(family, text, buffer.baseAddress) == 1
        }
    }
}
