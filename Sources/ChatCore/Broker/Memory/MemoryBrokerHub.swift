/// What a ``MemoryBrokerLink`` asks of the hub: values, which can cross threads.
public enum MemoryBrokerCall: Sendable, Equatable {
    case submit(BrokerRequest, RequestTag)
    case subscribe(Entity)
    case unsubscribe(Entity)
    /// The client's connection is replaced: its subscriptions end. `connection` marks the answers from now on.
    case reconnect(connection: UInt64)
}

/// What the hub tells a link: values, which can cross threads.
public enum MemoryBrokerNews: Sendable, Equatable {
    case completed(RequestTag, Result<BrokerReply, BrokerError>)
    case subscribed(Entity)
    case unsubscribed(Entity)
    case heard(Entity, ChannelEvent)
}

/// The ``MemoryBroker`` of one process with its subscriptions: what nodes with `MARTLET_REDIS_URL=memory:` use instead
/// of Redis.
///
/// Not thread-safe: it is called from one isolation only. A node with several event loops keeps it on one of them, and
/// the others hop; that is why calls and news are values. Calls must arrive in the order in which their link made them,
/// and news in the order in which the hub sent them, which `EventLoop.execute` guarantees.
///
///     // On a node, for each loop (`bound` = NIOLoopBound):
///     let client = hub.connect { news, connection in
///         loop.execute { bound.value.receive(news, connection: connection) }
///     }
///     let link = MemoryBrokerLink(
///         send: { call in hubLoop.execute { boundHub.value.perform(call, from: client, now: clock()) } },
///         defer: { work in … run work in the link's loop's next tick … })
public final class MemoryBrokerHub {
    public struct ClientID: Hashable, Sendable {
        fileprivate let raw: Int
    }

    private struct Client {
        var connection: UInt64 = 0
        var entities: Set<Entity> = []
        let deliver: (MemoryBrokerNews, _ connection: UInt64) -> Void
    }

    public private(set) var broker: MemoryBroker
    private var clients: [ClientID: Client] = [:]
    /// In the order in which they subscribed, so that the same calls always have the same effects in the same order.
    private var subscribers: [Entity: [ClientID]] = [:]
    private var connected = 0

    public init(broker: MemoryBroker = MemoryBroker()) {
        self.broker = broker
    }

    /// The entities whose channels have a subscriber.
    public var channels: [Entity] { Array(subscribers.keys) }

    /// Registers a link. `deliver` is called within ``perform(_:from:now:)``, also for calls of other links. It must
    /// pass the news on later, as a link is not called back from within its own calls.
    public func connect(_ deliver: @escaping (MemoryBrokerNews, _ connection: UInt64) -> Void) -> ClientID {
        connected += 1
        let id = ClientID(raw: connected)
        clients[id] = Client(deliver: deliver)
        return id
    }

    /// Removes a link, which hears nothing more. What it asked before has been carried out.
    public func disconnect(_ id: ClientID) {
        drop(clients[id]?.entities ?? [], of: id)
        clients[id] = nil
    }

    /// Carries out one call of a link at `now`, ms since 1970. The caller's completion comes before the events of its
    /// request; with Redis, nothing orders the two connections either.
    public func perform(_ call: MemoryBrokerCall, from id: ClientID, now: UInt64) {
        guard let client = clients[id] else { return }
        switch call {
        case .submit(.reading(.listeners(let user)), let tag):
            let count = subscribers[.user(user)]?.count ?? 0
            client.deliver(.completed(tag, .success(.reading(.listeners(count)))), client.connection)
        case .submit(let request, let tag):
            let answer = broker.apply(request, now: now)
            client.deliver(.completed(tag, answer.result), client.connection)
            for event in answer.events { publish(event) }
        case .subscribe(let entity):
            if clients[id]?.entities.insert(entity).inserted == true { subscribers[entity, default: []].append(id) }
            client.deliver(.subscribed(entity), client.connection)
        case .unsubscribe(let entity):
            clients[id]?.entities.remove(entity)
            drop([entity], of: id)
            client.deliver(.unsubscribed(entity), client.connection)
        case .reconnect(let connection):
            drop(client.entities, of: id)
            clients[id]?.entities = []
            clients[id]?.connection = connection
        }
    }

    private func publish(_ publication: MemoryBroker.Publication) {
        for id in subscribers[publication.entity] ?? [] {
            guard let client = clients[id] else { continue }
            client.deliver(.heard(publication.entity, publication.event), client.connection)
        }
    }

    private func drop(_ entities: Set<Entity>, of id: ClientID) {
        for entity in entities {
            subscribers[entity]?.removeAll { $0 == id }
            if subscribers[entity]?.isEmpty == true { subscribers[entity] = nil }
        }
    }
}
