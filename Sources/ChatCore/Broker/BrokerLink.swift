/// Which request a completion answers. The caller of `submit` makes it, and gets it back unchanged.
public struct RequestTag: Hashable, Sendable {
    /// The room's index in its home loop, or a number that says that no room asked.
    public var owner: UInt32
    /// The generation of the room's state when it asked. An answer to an older generation is dropped.
    public var generation: UInt32
    public var serial: UInt64
    /// The serial of requests whose answer nobody needs.
    public static let ignoredSerial: UInt64 = 0
    /// If false, a link may leave the completion out, and may publish after later requests.
    public var wantsAnswer: Bool { serial != RequestTag.ignoredSerial }

    public init(owner: UInt32, generation: UInt32, serial: UInt64) {
        self.owner = owner
        self.generation = generation
        self.serial = serial
    }
}

/// Which broker answers: changes when Redis restarts or fails over. It holds a reference, as every room stores it
/// twice.
public struct BrokerIdentity: Hashable, Sendable {
    private final class Names: Sendable {
        let runID: String
        let replicationID: String

        init(_ runID: String, _ replicationID: String) {
            self.runID = runID
            self.replicationID = replicationID
        }
    }

    private let names: Names

    /// `run_id` of INFO.
    public var runID: String { names.runID }
    /// `master_replid` of INFO.
    public var replicationID: String { names.replicationID }

    public init(runID: String, replicationID: String) {
        names = Names(runID, replicationID)
    }

    public static func == (left: BrokerIdentity, right: BrokerIdentity) -> Bool {
        left.names === right.names || left.runID == right.runID && left.replicationID == right.replicationID
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(runID)
        hasher.combine(replicationID)
    }

    /// Whether something that is signed with the beginning of a run ID comes from this server.
    func signs(_ run: String?) -> Bool { run.map { runID.hasPrefix($0) } ?? true }
}

/// The broker as one event loop sees it: one connection for commands and one for subscriptions, each of which may be up
/// or down at any time.
///
/// Not thread-safe: all calls and all callbacks happen on the loop that owns the link. No callback is made from within
/// a call: a link defers what it could answer at once.
///
/// - Order: requests are carried out in the order of `submit`, and completions come in that order. Events of one
///   channel come in the order in which the broker sent them. There is no order between the two connections.
/// - Loss: a request in flight when the command connection is lost ends as `.outcomeUnknown`, one submitted while it is
///   down as `.notConnected`. Events sent while the subscribe connection is down are lost.
/// - After the subscribe connection is up again, nothing is subscribed: the owner subscribes again.
/// - Both connections reconnect by themselves, with backoff and jitter.
/// - Where entities are spread over several servers, all of this holds for each entity by itself, and news of
///   connections carry the scope that they concern. There an `enter` may end as `.notConnected` before earlier requests
///   are answered, and while the connection of its room is up, as `hold` may go to another server.
public protocol BrokerLink: AnyObject {
    /// The receiver of all callbacks; a weak reference.
    var delegate: (any BrokerLinkDelegate)? { get set }
    /// How long the broker takes to answer, smoothed. It decides how long a hole may wait for another node's PUBLISH.
    var roundTrip: Duration { get }
    /// What comes and goes together: one scope, unless entities are spread over several servers. May change. Empty if
    /// it is not known yet.
    var scopes: [BrokerScope] { get }
    /// Connects, and reconnects from then on. Called once.
    func start()
    /// Sends a request. Exactly one `brokerCompleted` with this tag follows, or at most one if it wants no answer. A
    /// `publish` that wants none may be sent after the tick's other requests, together with what else is published
    /// there.
    func submit(_ request: BrokerRequest, tag: RequestTag)
    /// Subscribes to the entity's channel; `brokerSubscribed` follows unless the connection is lost first.
    func subscribe(_ entity: Entity)
    /// Ends the subscription; `brokerUnsubscribed` follows unless the connection is lost first.
    func unsubscribe(_ entity: Entity)
    /// Waits until `count` replicas of the server with that identity have everything that it answered to this link, but
    /// no longer than `time`. `then` is called once, not from within the call, with the number of replicas that have
    /// it; nil if nothing is known (a connection is down, another server answers by now, or there is nothing to
    /// replicate to).
    func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void)
    /// Whether answers or events have arrived that the loop has not read yet. Then a slow answer is the fault of the
    /// node, not of the broker.
    var hasUnread: Bool { get }
    /// Drops both connections that serve the entity, as if they had failed; they reconnect. In a Cluster those to other
    /// masters stay.
    func reset(_ entity: Entity)
    /// Whether `hold` and `release` also keep the old list (``Holdings``), for nodes of schema 1 that may sweep this
    /// one.
    var keepsOldList: Bool { get }
    /// Sets ``keepsOldList``. True if the node has to `hold` all its rooms once more, as the old list does not have
    /// them.
    func keepOldList(_ isKept: Bool) -> Bool
    /// Sends what is queued, then closes for good. No callbacks after it, except completions of what was in flight.
    func stop()
}

extension BrokerLink {
    public var roundTrip: Duration { .milliseconds(1) }
    public var scopes: [BrokerScope] { [.everything] }
    public var hasUnread: Bool { false }

    /// One server has one list, under the same name in every schema.
    public var keepsOldList: Bool { false }
    public func keepOldList(_ isKept: Bool) -> Bool { false }

    public func subscribe(_ room: RoomName) { subscribe(.room(room)) }
    public func unsubscribe(_ room: RoomName) { unsubscribe(.room(room)) }
    public func reset(_ room: RoomName) { reset(.room(room)) }

    /// A broker without replicas never knows anything. A link that has replicas defers its answer.
    public func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
    ) { then(nil) }
}

/// Called on the link's loop.
public protocol BrokerLinkDelegate: AnyObject {
    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>)
    func brokerSubscribed(_ entity: Entity)
    func brokerUnsubscribed(_ entity: Entity)
    func brokerHeard(_ entity: Entity, _ event: ChannelEvent)
    /// Whether a message at that position of the room, of an epoch that began at `base`, is known. Then the link may
    /// leave `brokerHeard` out.
    func brokerKnows(_ room: RoomName, _ position: Position, base: UInt64) -> Bool
    /// The command connection for `scope` is ready: authenticated, version checked, functions loaded.
    func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope)
    func brokerCommandsDown(_ reason: String, _ scope: BrokerScope)
    func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope)
    func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope)
    /// Redis refused, with this error, something that is not the answer to a request: a SUBSCRIBE or a PING.
    func brokerRefused(_ text: String)
}

extension BrokerLinkDelegate {
    public func brokerRefused(_ text: String) {}
    public func brokerKnows(_ room: RoomName, _ position: Position, base: UInt64) -> Bool { false }
}
