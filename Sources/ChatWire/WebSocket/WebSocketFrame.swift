/// Opcodes (RFC 6455 §5.2, §11.8). Others are reserved and fail the connection.
public enum WebSocketOpcode: UInt8, Sendable, CaseIterable {
    case continuation = 0x0
    case text = 0x1
    case binary = 0x2
    case close = 0x8
    case ping = 0x9
    case pong = 0xA

    /// RFC 6455 §5.5: control frames have the high bit set.
    public var isControl: Bool { rawValue & 0x8 != 0 }
}

/// A close frame's code (RFC 6455 §7.4).
public struct WebSocketCloseCode: RawRepresentable, Hashable, Sendable {
    public static let normal = WebSocketCloseCode(rawValue: 1000)
    public static let goingAway = WebSocketCloseCode(rawValue: 1001)
    public static let protocolError = WebSocketCloseCode(rawValue: 1002)
    public static let unacceptableData = WebSocketCloseCode(rawValue: 1003)
    /// §8.1: a text message was not UTF-8.
    public static let invalidPayload = WebSocketCloseCode(rawValue: 1007)
    public static let messageTooBig = WebSocketCloseCode(rawValue: 1009)

    public let rawValue: UInt16

    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    /// Whether the code may be used in a close frame. §7.4.1 and §7.4.2: below 1000 is unused, 1004 is reserved,
    /// 1005, 1006 and 1015 are for APIs only, and 1016…2999 are for later versions; 1012…1014 were registered with
    /// IANA after the RFC.
    public var mayBeSent: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}

/// Writes WebSocket frames (RFC 6455 §5.2) into byte buffers.
public enum WebSocketFrame {
    /// The longest header: two bytes, an eight-byte length, a masking key.
    public static let maxHeaderBytes = 14
    /// The longest payload of a control frame (§5.5).
    public static let maxControlBytes = 125

    /// Appends a frame's header. `maskingKey`: clients mask every frame (§5.3), servers none (§5.1).
    public static func appendHeader(
        _ opcode: WebSocketOpcode, length: Int, isFinal: Bool = true, maskingKey: UInt32? = nil, to bytes: inout [UInt8]
    ) {
        bytes.append((isFinal ? 0x80 : 0) | opcode.rawValue)
        let mask: UInt8 = maskingKey == nil ? 0 : 0x80
        switch length {
        case ...125: bytes.append(mask | UInt8(truncatingIfNeeded: length))
        case ...0xFFFF:
            bytes.append(mask | 126)
            appendBigEndian(UInt64(length), 2, to: &bytes)
        default:
            bytes.append(mask | 127)
            appendBigEndian(UInt64(length), 8, to: &bytes)
        }
        if let maskingKey { appendBigEndian(UInt64(maskingKey), 4, to: &bytes) }
    }

    /// The length of the header of an unmasked frame.
    public static func headerBytes(length: Int) -> Int { length <= 125 ? 2 : length <= 0xFFFF ? 4 : 10 }

    /// Writes the header of an unmasked, unfragmented message; the destination must have enough room.
    public static func writeHeader(_ opcode: WebSocketOpcode, length: Int, to bytes: UnsafeMutableRawBufferPointer) {
        bytes[0] = 0x80 | opcode.rawValue
        switch headerBytes(length: length) {
        case 2: bytes[1] = UInt8(truncatingIfNeeded: length)
        case 4:
            bytes[1] = 126
            bytes.storeBytes(of: UInt16(truncatingIfNeeded: length).bigEndian, toByteOffset: 2, as: UInt16.self)
        default:
            bytes[1] = 127
            bytes.storeBytes(of: UInt64(length).bigEndian, toByteOffset: 2, as: UInt64.self)
        }
    }

    /// Appends a whole frame.
    public static func append(
        _ opcode: WebSocketOpcode, _ payload: some Collection<UInt8>, isFinal: Bool = true, maskingKey: UInt32? = nil,
        to bytes: inout [UInt8]
    ) {
        appendHeader(opcode, length: payload.count, isFinal: isFinal, maskingKey: maskingKey, to: &bytes)
        guard let maskingKey else {
            bytes.append(contentsOf: payload)
            return
        }
        bytes.reserveCapacity(bytes.count + payload.count)
        for (index, byte) in payload.enumerated() { bytes.append(byte ^ maskByte(maskingKey, index)) }
    }

    /// Appends a close frame. Without a code its body is empty; the reason is truncated to what fits into a control
    /// frame, at a character boundary.
    public static func appendClose(
        _ code: WebSocketCloseCode?, reason: String = "", maskingKey: UInt32? = nil, to bytes: inout [UInt8]
    ) {
        var body: [UInt8] = []
        if let code {
            appendBigEndian(UInt64(code.rawValue), 2, to: &body)
            for character in reason.unicodeScalars {
                let scalar = String(character).utf8
                if body.count + scalar.count > maxControlBytes { break }
                body.append(contentsOf: scalar)
            }
        }
        append(.close, body, maskingKey: maskingKey, to: &bytes)
    }

    /// Octet `index` of a payload is masked with octet `index % 4` of the key, where octet 0 is the most significant
    /// (§5.3).
    @inline(__always)
    static func maskByte(_ key: UInt32, _ index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: key >> UInt32((3 - index & 3) * 8))
    }

    private static func appendBigEndian(_ number: UInt64, _ count: Int, to bytes: inout [UInt8]) {
        for place in stride(from: (count - 1) * 8, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(place)))
        }
    }
}
