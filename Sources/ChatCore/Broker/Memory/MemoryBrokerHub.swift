/// What a ``MemoryBrokerLink`` asks of the hub. Values, so that they can cross threads.
public enum MemoryBrokerCall: Sendable, Equatable {
    case submit(BrokerRequest, RequestTag)
    case subscribe(RoomName)
    case unsubscribe(RoomName)
    /// Everything of the client's connection is void: its subscriptions end. `connection` marks the answers from now on.
    case reconnect(connection: UInt64)
}

/// What the hub tells a link. Values, so that they can cross threads.
public enum MemoryBrokerNews: Sendable, Equatable {
    case completed(RequestTag, Result<BrokerReply, BrokerError>)
    case subscribed(RoomName)
    case unsubscribed(RoomName)
    case heard(RoomName, ChannelEvent)
}

/// The ``MemoryBroker`` of one process with its subscriptions: what `MARTLET_REDIS_URL=memory:` talks to instead of Redis.
///
/// Not thread-safe: who made it calls it from one isolation only. A node with several event loops keeps it on one of them and hops:
/// calls and news are values for that. Calls must arrive in the order in which their link made them, news in the order in
/// which the hub gave them; any FIFO (`EventLoop.execute`) does.
///
///     // On a node, for each loop (`bound` = NIOLoopBound):
///     let client = hub.connect { news, connection in loop.execute { bound.value.receive(news, connection: connection) } }
///     let link = MemoryBrokerLink(
///         send: { call in hubLoop.execute { boundHub.value.perform(call, from: client, now: clock()) } },
///         defer: { work in … run work in the link's loop's next tick … })
public final class MemoryBrokerHub {
    public struct ClientID: Hashable, Sendable {
        fileprivate let raw: Int
    }

    private struct Client {
        var connection: UInt64 = 0
        var rooms: Set<RoomName> = []
        let deliver: (MemoryBrokerNews, _ connection: UInt64) -> Void
    }

    public private(set) var broker: MemoryBroker
    private var clients: [ClientID: Client] = [:]
    /// In the order in which they connected, so that the same calls always tell everybody in the same order.
    private var subscribers: [RoomName: [ClientID]] = [:]
    private var connected = 0

    public init(broker: MemoryBroker = MemoryBroker()) {
        self.broker = broker
    }

    /// Channels that somebody is subscribed to.
    public var channels: [RoomName] { Array(subscribers.keys) }

    /// Registers a link. `deliver` is called within ``perform(_:from:now:)``, also of other links' calls; it hands on to the link later
    /// (a link is not called back from within its own calls).
    public func connect(_ deliver: @escaping (MemoryBrokerNews, _ connection: UInt64) -> Void) -> ClientID {
        connected += 1
        let id = ClientID(raw: connected)
        clients[id] = Client(deliver: deliver)
        return id
    }

    /// Forgets a link: it hears nothing more. What it asked before has been carried out.
    public func disconnect(_ id: ClientID) {
        drop(clients[id]?.rooms ?? [], of: id)
        clients[id] = nil
    }

    /// Carries out one call of a link at `now`, ms since 1970. The caller's completion comes before the events that its request led to,
    /// as nothing orders the two connections to Redis either.
    public func perform(_ call: MemoryBrokerCall, from id: ClientID, now: UInt64) {
        guard let client = clients[id] else { return }
        switch call {
        case .submit(let request, let tag):
            let answer = broker.apply(request, now: now)
            client.deliver(.completed(tag, answer.result), client.connection)
            for event in answer.events { publish(event) }
        case .subscribe(let room):
            if clients[id]?.rooms.insert(room).inserted == true { subscribers[room, default: []].append(id) }
            client.deliver(.subscribed(room), client.connection)
        case .unsubscribe(let room):
            clients[id]?.rooms.remove(room)
            drop([room], of: id)
            client.deliver(.unsubscribed(room), client.connection)
        case .reconnect(let connection):
            drop(client.rooms, of: id)
            clients[id]?.rooms = []
            clients[id]?.connection = connection
        }
    }

    private func publish(_ publication: MemoryBroker.Publication) {
        for id in subscribers[publication.room] ?? [] {
            guard let client = clients[id] else { continue }
            client.deliver(.heard(publication.room, publication.event), client.connection)
        }
    }

    private func drop(_ rooms: Set<RoomName>, of id: ClientID) {
        for room in rooms {
            subscribers[room]?.removeAll { $0 == id }
            if subscribers[room]?.isEmpty == true { subscribers[room] = nil }
        }
    }
}
