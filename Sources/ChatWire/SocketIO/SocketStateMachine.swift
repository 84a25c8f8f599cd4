import ChatCore

/// The rules of the Socket.IO protocol for one connection: which namespaces it is connected to, which binary messages
/// belong to which packet, and when it is over. Rules that the protocol's description leaves open are those of the
/// reference implementation; in particular, a packet for a namespace that the client never connected to ends the
/// connection.
public struct SocketStateMachine: Sendable {
    public struct Limits: Sendable, Hashable {
        /// How long a client may take to connect to a namespace.
        public var connectTimeout: Duration = .seconds(45)
        /// Binary attachments of one packet.
        public var attachments = 10
        /// Bytes of one packet with its attachments.
        public var packetBytes = 1_000_000
        /// Namespaces that one connection may be connected to, or have left.
        public var namespaces = 16

        public init() {}
    }

    /// An event of the client.
    public struct Event: Sendable, Hashable {
        public var namespace: String
        public var name: String
        /// With the name as the first element.
        public var arguments: SocketArguments
        /// The JSON text of ``arguments``.
        public var text: [UInt8]
        /// Nil if the client wants no acknowledgement.
        public var id: UInt64?
        public var attachments: [[UInt8]]
    }

    public enum Action: Sendable, Hashable {
        /// A part of a packet came, or something without effect.
        case doNothing
        /// The client wants to connect to a namespace: ``connected(_:)`` or ``refused(_:)`` follows.
        case connect(namespace: String, auth: SocketValue?)
        /// The connection has too many namespaces.
        case refuse(namespace: String)
        case disconnect(namespace: String)
        case event(Event)
        case acknowledged(namespace: String, id: UInt64, arguments: SocketArguments, attachments: [[UInt8]])
        /// The client broke the protocol: the connection is closed.
        case end
    }

    private enum Standing: Sendable {
        /// → `connected`, `left`
        case connecting
        /// → `left`
        case connected
        /// → `connecting`. Packets that were under way are ignored.
        case left
    }

    private struct Partial: Sendable {
        var packet: SocketPacket
        var attachments: [[UInt8]] = []
        var bytes: Int
    }

    private let limits: Limits
    private var namespaces = SmallDictionary<String, Standing>()
    /// A packet whose attachments have not all come: empty or one element, as few connections ever have one.
    private var partial: [Partial] = []
    private var connectDue: Moment?
    private var isOver = false

    public init(limits: Limits, now: Moment) {
        self.limits = limits
        connectDue = now + limits.connectTimeout
    }

    /// When ``timePassed(now:)`` is due; nil if never.
    public var deadline: Moment? { connectDue }

    /// A message of Engine.IO came.
    public mutating func received(_ bytes: [UInt8], isText: Bool) -> Action {
        guard !isOver else { return .doNothing }
        return isText ? receivedText(bytes) : receivedBinary(bytes)
    }

    private mutating func receivedText(_ bytes: [UInt8]) -> Action {
        guard partial.isEmpty, let packet = SocketPacket(bytes, maxAttachments: limits.attachments) else {
            return end()
        }
        guard packet.attachments > 0 else { return complete(packet, []) }
        partial = [Partial(packet: packet, bytes: bytes.count)]
        return .doNothing
    }

    private mutating func receivedBinary(_ bytes: [UInt8]) -> Action {
        guard var waiting = partial.popLast() else { return end() }
        waiting.bytes += bytes.count
        guard waiting.bytes <= limits.packetBytes else { return end() }
        waiting.attachments.append(bytes)
        guard waiting.attachments.count == waiting.packet.attachments else {
            partial.append(waiting)
            return .doNothing
        }
        partial = []
        return complete(waiting.packet, waiting.attachments)
    }

    private mutating func complete(_ packet: SocketPacket, _ attachments: [[UInt8]]) -> Action {
        let standing = namespaces[packet.namespace]
        if packet.kind == .connect { return connect(packet, standing) }
        switch standing {
        case .connected: break
        case .left: return .doNothing
        case .connecting, nil: return end()
        }
        switch packet.kind {
        case .disconnect:
            namespaces[packet.namespace] = .left
            return .disconnect(namespace: packet.namespace)
        case .event, .binaryEvent:
            guard let arguments = SocketArguments(packet.payload), let name = arguments.event else { return end() }
            return .event(
                Event(
                    namespace: packet.namespace, name: name, arguments: arguments, text: packet.payload, id: packet.id,
                    attachments: attachments))
        case .ack, .binaryAck:
            guard let id = packet.id, let arguments = SocketArguments(packet.payload) else { return end() }
            return .acknowledged(
                namespace: packet.namespace, id: id, arguments: arguments, attachments: attachments)
        case .connect, .connectError: return end()
        }
    }

    private mutating func connect(_ packet: SocketPacket, _ standing: Standing?) -> Action {
        switch standing {
        case .connecting, .connected: return end()
        case .left, nil: break
        }
        guard standing != nil || namespaces.count < limits.namespaces else {
            return .refuse(namespace: packet.namespace)
        }
        namespaces[packet.namespace] = .connecting
        connectDue = nil
        return .connect(namespace: packet.namespace, auth: packet.payload.isEmpty ? nil : SocketValue(packet.payload))
    }

    /// The client is connected to the namespace. Returns false if it has left meanwhile.
    public mutating func connected(_ namespace: String) -> Bool {
        guard !isOver, namespaces[namespace] == .connecting else { return false }
        namespaces[namespace] = .connected
        return true
    }

    /// The namespace is refused.
    public mutating func refused(_ namespace: String, now: Moment) {
        guard namespaces[namespace] == .connecting else { return }
        namespaces[namespace] = nil
        restartTimeout(now: now)
    }

    /// The server disconnects the client from the namespace.
    public mutating func disconnected(_ namespace: String) {
        if namespaces[namespace] != nil { namespaces[namespace] = .left }
    }

    /// A client that was refused everywhere has as long to try again as it had at first.
    private mutating func restartTimeout(now: Moment) {
        if namespaces.isEmpty { connectDue = now + limits.connectTimeout }
    }

    /// Returns ``Action/end`` if the client took too long.
    public mutating func timePassed(now: Moment) -> Action {
        guard !isOver, let connectDue, now >= connectDue else { return .doNothing }
        return end()
    }

    private mutating func end() -> Action {
        isOver = true
        partial = []
        connectDue = nil
        return .end
    }
}
