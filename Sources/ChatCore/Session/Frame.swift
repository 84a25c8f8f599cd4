/// A client protocol as a gateway has registered it: its index among the registrations. A protocol that is registered
/// over two kinds of transport has an ID for each, so the ID also determines the type of the encoding.
public struct ProtocolID: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt8

    @inlinable
    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }
}

/// What a frame's event is for one protocol. Only the outlets that make it look inside; for the node it is opaque.
public protocol FrameEncoding: AnyObject, Sendable {
    /// The same bytes in memory of their own. Threads that count references to one object slow each other down, so an
    /// event loop with many receivers uses a copy.
    func copied() -> any FrameEncoding
}

/// Encodes events for the protocols that are registered. The gateway implements it; the node is given it at start.
public protocol FrameEncoder: Sendable {
    /// Encodes an event for sessions that speak this protocol. `viewer`: the only user who will see it; then messages
    /// in lists include the keys of that user's own sends. Nil: for any session.
    func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding
}

/// An event on its way to many sessions, with its encoding for each protocol that is spoken in the room. Each encoding
/// is made once, by the room's home loop; sending the frame to a session costs a reference.
///
/// A session whose protocol is missing (it came between the encoding and the delivery) encodes ``event`` for itself.
public final class Frame: Sendable {
    /// Decides what is dropped first when a session falls behind.
    public enum Kind: Sendable, Hashable, CaseIterable {
        case reply, message, presence, signal
    }

    @usableFromInline
    struct Encoded: Sendable {
        @usableFromInline let protocolID: ProtocolID
        @usableFromInline let encoding: any FrameEncoding

        init(_ protocolID: ProtocolID, _ encoding: any FrameEncoding) {
            self.protocolID = protocolID
            self.encoding = encoding
        }
    }

    public let event: ServerEvent
    public let kind: Kind
    // Most rooms speak one protocol: its encoding is stored in place, and looking it up is one comparison.
    @usableFromInline let first: Encoded?
    @usableFromInline let others: [Encoded]

    private init(_ event: ServerEvent, _ kind: Kind, first: Encoded?, others: [Encoded]) {
        self.event = event
        self.kind = kind
        self.first = first
        self.others = others
    }

    /// Encodes an event for one protocol.
    public convenience init(_ event: ServerEvent, for protocolID: ProtocolID, by encoder: any FrameEncoder) {
        self.init(
            event, Kind(event), first: Encoded(protocolID, encoder.encode(event, for: protocolID, viewer: nil)),
            others: [])
    }

    /// Encodes an event once for each of the protocols.
    public convenience init(_ event: ServerEvent, for protocols: ProtocolCounts, by encoder: any FrameEncoder) {
        let encode = { (id: ProtocolID) in Encoded(id, encoder.encode(event, for: id, viewer: nil)) }
        self.init(event, Kind(event), first: protocols.first.map(encode), others: protocols.others.map(encode))
    }

    /// The encoding for this protocol; nil if nobody in the room spoke it when the frame was made.
    @inlinable
    @inline(__always)
    public func encoding(for protocolID: ProtocolID) -> (any FrameEncoding)? {
        if let first, first.protocolID == protocolID { return first.encoding }
        return others.isEmpty ? nil : others.first { $0.protocolID == protocolID }?.encoding
    }

    /// This frame, if it is encoded for the protocol; otherwise a new one that also is.
    public func encoded(for protocolID: ProtocolID, by encoder: any FrameEncoder) -> Frame {
        guard encoding(for: protocolID) == nil else { return self }
        let added = Encoded(protocolID, encoder.encode(event, for: protocolID, viewer: nil))
        guard first != nil else { return Frame(event, kind, first: added, others: []) }
        return Frame(event, kind, first: first, others: others + [added])
    }

    /// The same frame, with encodings in memory of their own.
    public func copied() -> Frame {
        let copy = { (encoded: Encoded) in Encoded(encoded.protocolID, encoded.encoding.copied()) }
        return Frame(event, kind, first: first.map(copy), others: others.isEmpty ? [] : others.map(copy))
    }
}

extension Frame.Kind {
    public init(_ event: ServerEvent) {
        self =
            switch event {
            case .message, .gap, .reset: .message
            case .presence, .inbox(.receipts), .inbox(.head): .presence
            case .signal: .signal
            case .welcome, .joined, .left, .sent, .draining, .history, .roster, .pong, .renewed, .expiring, .removed,
                .moderated, .conversation, .amended, .inbox, .rules, .sanction, .participants, .error:
                .reply
            }
    }
}
