/// One room on one node: what the node asks of the broker about it, what it shows to its sessions, and when.
///
/// The rules are those of `redis/README.md`, "The room protocol": SUBSCRIBE before `enter`, appends fenced by the
/// epoch, nothing shown before it has a position, holes read from the log, and a node that may have missed something
/// enters again. The machine does no I/O and reads no clock: its runner (a home loop, or the simulator) passes events
/// to ``handle(_:now:_:)`` and carries out the actions that follow, in order. It never traps on anything that Redis, a
/// peer or a race can cause.
///
/// It is composed of parts, each with private state and invariants of its own:
///
/// - ``RoomOrder``: which message is next, and what is known of the log
/// - ``RoomSends``: what our sessions have sent and what is not answered yet
/// - ``RoomReads`` and ``RoomRequests``: when the log is read, and what was asked
/// - ``RoomSanctions``: the room's rules, and what they forbid
/// - ``RoomNodes``: which nodes are in the room
/// - ``RoomMembers``: which of our sessions are in the room, or wait to be
/// - ``RoomPresence``: which users are in the room, on whatever node
///
/// The machine itself has the phase, the connections and the turn, and decides what an event means for which part. Its
/// fields are not private, as its methods are in one file for each kind of event. The parts are stored in place: a
/// method of a part changes it where it is, without a copy.
public struct RoomStateMachine: Sendable {
    enum Phase: Sendable, Equatable {
        /// Not in use. → `subscribing`
        case out
        /// SUBSCRIBE was sent, or waits for the connection. → `entering`, when acknowledged
        case subscribing
        /// `enter` was sent, or waits for the connection. → `inside`, when its reply was merged and its own epoch was
        /// heard · `subscribing`, when the subscribe connection is lost · `unsubscribing`, when Redis refuses and
        /// nobody is left. (Indirect: hardly any room is ever in this state.)
        indirect case entering(Entering)
        /// The room is live. → `entering` · `subscribing` · `leaving`
        case inside
        /// `leave` was sent, or waits for the connection. → `unsubscribing`
        case leaving
        /// UNSUBSCRIBE was sent. → `out`, or `subscribing` if somebody came meanwhile
        case unsubscribing
    }

    struct Entering: Sendable, Equatable {
        /// The `enter` that is on its way; nil: it waits for the connection or for `retryAt`.
        var serial: UInt64?
        /// The highest epoch that was known when the room asked. The new epoch is above it, unless it was never begun.
        var seen: UInt64 = 0
        /// The epoch with which we entered, once its reply was merged.
        var merged: UInt64?
        var deadline: Moment?
        var retryAt: Moment?
        var failures = 0
        /// The room was live when the connection was lost, and nothing that may still be carried out needs more than a
        /// `leave` to undo it.
        var wasLive = false
        /// Redis lost the messages from this position on and asks for them.
        var bringsFrom: Position?
    }

    /// Whether the runner lets the room enter or leave now: it lets a few rooms at a time.
    enum Turn: Sendable {
        case none, awaited, held
    }

    /// What all rooms of a node have in common, kept once.
    public final class Common: Sendable {
        let node: NodeID
        let settings: RoomSettings

        public init(node: NodeID, settings: RoomSettings) {
            self.node = node
            self.settings = settings
        }
    }

    public let room: RoomName
    package let common: Common
    public var node: NodeID { common.node }
    public var settings: RoomSettings { common.settings }

    var phase = Phase.out
    var turn = Turn.none
    var commandsUp = false
    var subscriptionsUp = false
    /// An `enter` of this node was, or may have been, carried out, and no `leave` since.
    var mayBeRegistered = false
    /// Somebody waits for messages without being in the room.
    var isWatched = false
    /// The broker at the other end of the command connection, and the one that answered the last `enter`.
    var identity: BrokerIdentity?
    var enteredIdentity: BrokerIdentity?
    /// The node's clock, ms since 1970: set by the runner before each event.
    public var wallClock: UInt64 = 0
    /// The smoothed round trip to the broker: how long another node's PUBLISH may lag behind its reply.
    public var roundTrip: Duration = .milliseconds(1)

    var order: RoomOrder
    var sanctions = RoomSanctions()
    var nodes = RoomNodes()
    var members = RoomMembers()
    var presence = RoomPresence()
    /// When a room without sessions is left.
    @Packed var lingerUntil: Moment?
    /// When a `leave` that Redis refused is asked again.
    @Packed var leaveRetryAt: Moment?
    var sends: RoomSends
    /// Why Redis refused something in this room, in its own words; nil: it has not since the room was entered.
    var lastRefusal: String?
    var requests = RoomRequests()
    var reads = RoomReads()
    /// Jitter in 0..<1, fixed per room and node, so that periodic work does not fire everywhere at once.
    var spread: Double { Double(spreadSteps) / 65_536 }
    let spreadSteps: UInt16

    public init(room: RoomName, common: Common, spread: Double) {
        self.room = room
        self.common = common
        self.spreadSteps = UInt16(max(0, min(spread * 65_536, 65_535)))
        let settings = common.settings
        self.order = RoomOrder(settings)
        // Other nodes may have let the log grow: its bound in bytes is enforced soon after the room was entered.
        self.sends = RoomSends(bytesSinceTrim: max(0, settings.historyBytes / 8 - 65_536))
    }

    public init(room: RoomName, node: NodeID, settings: RoomSettings, spread: Double) {
        self.init(room: room, common: Common(node: node, settings: settings), spread: spread)
    }

    /// Whether other nodes are in the room, so that an append must be published.
    var hasOthers: Bool { nodes.hasOthers(than: node) }

    var isInside: Bool { phase == .inside }

    /// Whether nobody is in the room, waits to be, or watches it.
    var isUnused: Bool { members.isEmpty && !isWatched }

    /// Whether messages can be put in order now, or have to wait for the answer to `enter`.
    var canSequence: Bool {
        switch phase {
        case .inside, .leaving: order.last != nil
        // What is heard between the reply and our own epoch was published before the epoch, so that the reply has it,
        // or by another Redis.
        case .entering, .out, .subscribing, .unsubscribing: false
        }
    }

    /// Appends a request to the broker, and notes what it is for. Returns its serial.
    mutating func submit(_ request: BrokerRequest, _ purpose: RoomRequests.Purpose, _ actions: inout [RoomAction])
        -> UInt64
    {
        let serial = requests.add(purpose)
        actions.append(.submit(request, serial: serial))
        return serial
    }
}

extension RoomStateMachine {
    /// Sessions that are in the room or waiting to be.
    public var sessionCount: Int { members.count }
    /// True when the room may be forgotten: nobody in it, nothing subscribed, nothing registered.
    public var isOut: Bool { phase == .out && isUnused }
    public var isLive: Bool { phase == .inside }
    /// The node has written down that it holds the room, and has not given it up.
    public var isHeld: Bool {
        switch phase {
        case .entering, .inside, .leaving: true
        case .out, .subscribing, .unsubscribing: false
        }
    }
    /// Live, with other nodes in it: their messages must reach us by the channel.
    public var isShared: Bool { phase == .inside && hasOthers }
    /// Sends without an answer.
    public var waitingSends: Int { sends.count }
    /// Messages that wait for earlier ones.
    public var heldMessages: Int { order.heldCount }
    /// The newest message shown; nil before the room was entered.
    public var position: Position? { order.last }
    // For the simulator.
    package var epochs: (newest: UInt64, chain: EpochChain) { (order.epoch, order.chain) }
    /// The version of the rules that the room knows; nil if its epoch has others.
    package var rules: UInt64? { sanctions.isCurrent ? sanctions.version : nil }
    package var rememberedMessages: Int { order.recent.count }
    package var remembered: [Message] { order.recent.messages(after: 0) }
    package var openRequests: Int { requests.count }
    /// Who is in the room, as this node knows it.
    package var present: [UserID: Set<RosterSnapshot.Device>] { presence.members }
    /// Whether the session is in the room or waits to be.
    public func has(_ session: SessionID) -> Bool { members[session] != nil }
    /// The room was live and a lost connection interrupted it. False for a room that Redis refuses: then the cause is
    /// in the room, not in the node's connections.
    public var isRecovering: Bool {
        guard order.last != nil, !isUnused else { return false }
        switch phase {
        case .subscribing: return true
        case .entering(let entering): return entering.failures == 0
        case .out, .inside, .leaving, .unsubscribing: return false
        }
    }
    /// A word for logs and `martlet top`.
    public var phaseName: String {
        switch phase {
        case .out: "out"
        case .subscribing: "subscribing"
        case .entering: "entering"
        case .inside: "inside"
        case .leaving: "leaving"
        case .unsubscribing: "unsubscribing"
        }
    }
}
