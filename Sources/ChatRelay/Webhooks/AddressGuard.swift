import Glibc
import NIOCore

/// Which addresses a webhook may be sent to. Whoever adds an endpoint must not reach the network behind the relay with
/// it: the address that a name resolves to is checked, and the connection goes to exactly that address.
enum AddressGuard {
    /// Whether the address is one of the public Internet: not of this machine, a private network, a link, a test
    /// network or a group (RFC 6890, and the registries that it began).
    static func isPublic(_ address: SocketAddress) -> Bool {
        guard let text = address.ipAddress else { return false }
        switch address.protocol {
        case .inet: return isPublic(v4: bytes(of: text, AF_INET, 4))
        case .inet6: return isPublic(v6: bytes(of: text, AF_INET6, 16))
        default: return false
        }
    }

    /// The bytes of an address; none if it cannot be read. (An IPv6 address may name its link behind a percent sign.)
    private static func bytes(of text: String, _ family: Int32, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        return inet_pton(family, String(text.prefix { $0 != "%" }), &bytes) == 1 ? bytes : []
    }

    private static func isPublic(v4 bytes: [UInt8]) -> Bool {
        guard bytes.count == 4 else { return false }
        return switch (bytes[0], bytes[1], bytes[2]) {
        case (0, _, _), (10, _, _), (127, _, _), (224..., _, _): false
        case (100, 64...127, _), (169, 254, _), (172, 16...31, _), (192, 168, _), (198, 18...19, _): false
        case (192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113): false
        default: true
        }
    }

    private static func isPublic(v6 bytes: [UInt8]) -> Bool {
        guard bytes.count == 16 else { return false }
        // ::ffff:a.b.c.d and 64:ff9b::a.b.c.d lead to an IPv4 address, 2002:aabb:ccdd:: (6to4) too.
        if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF {
            return isPublic(v4: Array(bytes[12...]))
        }
        if bytes[..<4].elementsEqual([0x00, 0x64, 0xFF, 0x9B]) {
            return bytes[4..<12].allSatisfy { $0 == 0 } && isPublic(v4: Array(bytes[12...]))
        }
        if bytes[0] == 0x20, bytes[1] == 0x02 { return isPublic(v4: Array(bytes[2..<6])) }
        // Only 2000::/3 is given out; 2001::/23 and 2001:db8::/32 in it are for protocols and documents.
        guard bytes[0] & 0xE0 == 0x20 else { return false }
        if bytes[0] == 0x20, bytes[1] == 0x01 {
            return bytes[2] > 0x01 && !(bytes[2] == 0x0D && bytes[3] == 0xB8)
        }
        return true
    }
}
