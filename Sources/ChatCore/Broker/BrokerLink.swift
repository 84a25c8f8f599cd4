/// Which request a completion answers. Made by the one who submits, handed back untouched.
public struct RequestTag: Hashable, Sendable {
    /// The room's slot in its home loop, or the node's own business.
    public var owner: UInt32
    /// The generation of the room's state when it asked. An answer to an older generation is dropped.
    public var generation: UInt32
    public var serial: UInt64
    /// The serial of requests whose answer changes nothing.
    public static let ignoredSerial: UInt64 = 0
    /// False: a link may leave the completion out, and publish behind later requests.
    public var wantsAnswer: Bool { serial != RequestTag.ignoredSerial }

    public init(owner: UInt32, generation: UInt32, serial: UInt64) {
        self.owner = owner
        self.generation = generation
        self.serial = serial
    }
}

/// Which broker answers: changes when Redis restarts or fails over. A reference inside, as every room keeps it twice.
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

    /// Whether this one says something of itself that is signed with the beginning of a run ID.
    func signs(_ run: String?) -> Bool { run.map { runID.hasPrefix($0) } ?? true }
}

/// An event loop's way to the broker: one connection for commands and one for subscriptions, each of which may be up or
/// down at any time.
///
/// Not thread-safe: all calls and all callbacks happen on the loop that owns it. No callback is made from within a call: a link
/// defers what it could answer at once.
///
/// - Order: requests are carried out in the order of `submit`; completions come in that order. Events of one channel come in
///   the order in which the broker sent them; there is no order between the two connections.
/// - Loss: a request in flight when the command connection goes ends as `.outcomeUnknown`; one submitted while it is down as
///   `.notConnected`. Events sent while the subscribe connection is down are lost.
/// - After the subscribe connection comes back, nothing is subscribed: the owner subscribes again.
/// - Both connections reconnect by themselves, with backoff and jitter.
/// - Where rooms are spread over several servers, all of this holds for each room by itself: what is said of connections is said with
///   the rooms that it is about. There an `enter` may end as `.notConnected` before earlier requests are answered, and while its room's
///   own connection is up, as `hold` and it go to different servers.
public protocol BrokerLink: AnyObject {
    /// Who is told. Held weakly.
    var delegate: (any BrokerLinkDelegate)? { get set }
    /// How long the broker takes to answer, smoothed: what decides how long a hole may wait for another node's PUBLISH.
    var roundTrip: Duration { get }
    /// What comes and goes together: one part, unless rooms are spread over several servers. May change; empty: not known yet.
    var scopes: [BrokerScope] { get }
    /// Begins to connect. Called once.
    func start()
    /// Asks. Exactly one `completed` with this tag follows, or at most one if it wants no answer. What is to be published and wants
    /// none may leave behind the tick's other requests, together with what else is published in that room.
    func submit(_ request: BrokerRequest, tag: RequestTag)
    /// Subscribes to the room's channel; `subscribed` follows unless the connection goes first.
    func subscribe(_ room: RoomName)
    /// Ends it; `unsubscribed` follows unless the connection goes first.
    func unsubscribe(_ room: RoomName)
    /// Waits until so many replicas of the server with that identity have everything that it answered to this link, but no longer than
    /// `time`. `then` is called once, not from within the call, with the number of replicas that have it; nil: nothing is known (a
    /// connection is away, it is another server by now, or there is nothing to replicate to).
    func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void)
    /// Whether answers or events have arrived that the loop has not read yet: then a slow answer is the node's fault, not the broker's.
    var hasUnread: Bool { get }
    /// Drops both connections that serve the room, as if they had failed; they reconnect. In a Cluster those to other masters stay.
    func reset(_ room: RoomName)
    /// Sends what is queued, then closes for good. No callbacks after it, except completions of what was in flight.
    func stop()
}

extension BrokerLink {
    public var roundTrip: Duration { .milliseconds(1) }
    public var scopes: [BrokerScope] { [.everything] }
    public var hasUnread: Bool { false }

    /// A broker without replicas: nothing is known, ever. A link that has them defers its answer.
    public func confirm(
        replicas count: Int, of server: BrokerIdentity, within time: Duration, _ then: @escaping (Int?) -> Void
    ) { then(nil) }
}

/// Called on the link's loop.
public protocol BrokerLinkDelegate: AnyObject {
    func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>)
    func brokerSubscribed(_ room: RoomName)
    func brokerUnsubscribed(_ room: RoomName)
    func brokerHeard(_ room: RoomName, _ event: ChannelEvent)
    /// Whether a message at that position, of an epoch that began at `base`, is known: then `brokerHeard` may be left out.
    func brokerKnows(_ room: RoomName, _ position: Position, base: UInt64) -> Bool
    /// The command connection for the rooms of `scope` is ready: authenticated, version checked, functions loaded.
    func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope)
    func brokerCommandsDown(_ reason: String, _ scope: BrokerScope)
    func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope)
    func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope)
    /// Redis refused something that no request is answered with, in its own words: a SUBSCRIBE, a PING.
    func brokerRefused(_ text: String)
}

extension BrokerLinkDelegate {
    public func brokerRefused(_ text: String) {}
    public func brokerKnows(_ room: RoomName, _ position: Position, base: UInt64) -> Bool { false }
}
