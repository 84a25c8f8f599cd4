import ChatJSON

/// A packet of Engine.IO 4, the transport below Socket.IO (`docs/engine.io-protocol/v4-current.md` in
/// socketio/socket.io).
public enum EnginePacket: Hashable, Sendable {
    /// The first packet of the server: its JSON text.
    case open([UInt8])
    case close
    case ping([UInt8])
    case pong([UInt8])
    case message([UInt8])
    /// A message that is not text.
    case binary([UInt8])
    case upgrade
    case noop

    /// The first byte of each packet that is text.
    public enum Kind: UInt8, Sendable, CaseIterable {
        case open = 0x30
        case close, ping, pong, message, upgrade, noop
    }

    static let binaryMark = UInt8(ascii: "b")
    static let probe = Array("probe".utf8)

    /// Reads a packet that came as text; nil if it is none. What follows the type is ignored where it has no meaning.
    public init?(text bytes: ArraySlice<UInt8>) {
        guard let first = bytes.first, let kind = Kind(rawValue: first) else { return nil }
        let rest = bytes.dropFirst()
        switch kind {
        case .open: self = .open(Array(rest))
        case .close: self = .close
        case .ping: self = .ping(Array(rest))
        case .pong: self = .pong(Array(rest))
        case .message: self = .message(Array(rest))
        case .upgrade: self = .upgrade
        case .noop: self = .noop
        }
    }

    /// Reads a packet of a payload: text, or `b` and base64. Nil if it is neither.
    public init?(inPayload bytes: ArraySlice<UInt8>) {
        guard bytes.first == Self.binaryMark else {
            self.init(text: bytes)
            return
        }
        guard let binary = Base64.decode(bytes.dropFirst()) else { return nil }
        self = .binary(binary)
    }

    /// Whether it is sent as a binary message of the WebSocket.
    public var isBinary: Bool {
        if case .binary = self { true } else { false }
    }

    /// The content of its WebSocket message.
    public var content: [UInt8] {
        switch self {
        case .open(let rest): [Kind.open.rawValue] + rest
        case .close: [Kind.close.rawValue]
        case .ping(let rest): [Kind.ping.rawValue] + rest
        case .pong(let rest): [Kind.pong.rawValue] + rest
        case .message(let rest): [Kind.message.rawValue] + rest
        case .binary(let bytes): bytes
        case .upgrade: [Kind.upgrade.rawValue]
        case .noop: [Kind.noop.rawValue]
        }
    }
}

/// The body of a request or an answer of the polling transport: packets with a separator between them.
public struct EnginePayload: Sendable {
    public static let separator: UInt8 = 0x1E

    public private(set) var bytes: [UInt8] = []

    public init() {}

    public init(_ packets: [EnginePacket]) {
        for packet in packets { append(packet.content, isBinary: packet.isBinary) }
    }

    public var isEmpty: Bool { bytes.isEmpty }

    /// Appends a packet: the content of its WebSocket message.
    public mutating func append(_ content: some Collection<UInt8>, isBinary: Bool) {
        if !bytes.isEmpty { bytes.append(Self.separator) }
        if isBinary {
            bytes.append(EnginePacket.binaryMark)
            Base64.appendPadded(content, to: &bytes)
        } else {
            bytes.append(contentsOf: content)
        }
    }

    /// Calls `body` with each packet in order, until it returns false. Returns false at the first part that is no
    /// packet; a payload has at least one.
    public static func read(_ bytes: [UInt8], _ body: (EnginePacket) -> Bool) -> Bool {
        var start = 0
        while start <= bytes.count {
            let end = bytes[start...].firstIndex(of: separator) ?? bytes.count
            guard let packet = EnginePacket(inPayload: bytes[start..<end]) else { return false }
            guard body(packet) else { return true }
            start = end + 1
        }
        return true
    }
}
