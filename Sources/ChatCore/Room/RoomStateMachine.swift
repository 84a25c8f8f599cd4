/// One room on one node: what the node says to the broker about it, what it shows to its sessions, and when.
///
/// The rules are those of `redis/README.md`, "The room protocol": SUBSCRIBE before `enter`, appends fenced by the epoch, nothing
/// shown before it has a position, holes read from the log, whoever may have missed something enters again. The machine does
/// no I/O and knows no clock: its runner (a home loop, or the simulator) feeds it events and carries out its actions in
/// order. It never traps on anything that Redis, a peer or a race can cause.
public struct RoomStateMachine: Sendable {
    enum Phase: Sendable, Equatable {
        /// Not in use. → `subscribing`
        case out
        /// SUBSCRIBE was sent, or waits for the connection. → `entering`, when acknowledged
        case subscribing
        /// `enter` was sent, or waits for the connection. → `inside`, when its reply was merged and its own epoch was heard ·
        /// `subscribing`, when the subscribe connection is lost · `unsubscribing`, when Redis refuses and nobody is left.
        /// (Indirect: hardly any room is ever in this state.)
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
        /// The highest epoch that we had seen when we asked: what we enter with is above it, or it never was.
        var seen: UInt64 = 0
        /// The epoch with which we entered, once its reply was merged.
        var merged: UInt64?
        var deadline: Moment?
        var retryAt: Moment?
        var failures = 0
        /// The room was live when the connection went, and nothing of it can still be carried out but what a `leave` undoes.
        var wasLive = false
        /// Redis lost what we have from this position on, and wants it.
        var bringsFrom: Position?
    }

    /// Whether the runner lets the room enter or leave now.
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
    /// An `enter` of ours was, or may have been, carried out, and no `leave` since.
    var mayBeRegistered = false
    var identity: BrokerIdentity?
    /// The broker that answered our last `enter`.
    var enteredIdentity: BrokerIdentity?
    /// The node's clock, ms since 1970: set by the runner before each event.
    public var wallClock: UInt64 = 0
    /// The smoothed round trip to the broker: how long another node's PUBLISH may lag behind its reply.
    public var roundTrip: Duration = .milliseconds(1)

    var order: RoomOrder
    // Who is here, and who waits.
    var nodes = RoomNodes()
    var members = RoomMembers()
    var presence = RoomPresence()
    @Packed var lingerUntil: Moment?
    /// When a `leave` that Redis refused is asked again.
    @Packed var leaveRetryAt: Moment?

    var sends: RoomSends
    /// Why Redis refused something of this room, in its own words; nil: it has not since the room was entered.
    var lastRefusal: String?

    // What is asked.
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
        // Somebody else may have let the log grow: soon after the room is entered it is looked at for the first time.
        self.sends = RoomSends(bytesSinceTrim: max(0, settings.historyBytes / 8 - 65_536))
    }

    public init(room: RoomName, node: NodeID, settings: RoomSettings, spread: Double) {
        self.init(room: room, common: Common(node: node, settings: settings), spread: spread)
    }

    /// Whether other nodes are in the room, so that an append must be published.
    var hasOthers: Bool { nodes.hasOthers(than: node) }

    var isInside: Bool { phase == .inside }

    /// Whether messages can be put in order now, or have to wait for the answer to `enter`.
    var canSequence: Bool {
        switch phase {
        case .inside, .leaving: order.last != nil
        // What is heard between the reply and our own epoch was said before it (then the reply has it), or by another Redis.
        case .entering, .out, .subscribing, .unsubscribing: false
        }
    }

    mutating func submit(_ request: BrokerRequest, _ purpose: RoomRequests.Purpose, _ actions: inout [RoomAction])
        -> UInt64
    {
        let serial = requests.add(purpose)
        actions.append(.submit(request, serial: serial))
        return serial
    }
}

/// What makes a send the same send.
struct SendKey: Hashable, Sendable {
    var user: UserID
    var key: String

    static func == (left: SendKey, right: SendKey) -> Bool {
        left.user == right.user && left.key.isSame(as: right.key)
    }
}

extension RoomStateMachine {
    /// Sessions that are in the room or waiting to be.
    public var sessionCount: Int { members.count }
    /// True when the room may be forgotten: nobody in it, nothing subscribed, nothing registered.
    public var isOut: Bool { phase == .out && members.isEmpty }
    public var isLive: Bool { phase == .inside }
    /// The node has written down that it holds the room, and has not given it up.
    public var isHeld: Bool {
        switch phase {
        case .entering, .inside, .leaving: true
        case .out, .subscribing, .unsubscribing: false
        }
    }
    /// Live, with other nodes in it: what they say must reach us by the channel.
    public var isShared: Bool { phase == .inside && hasOthers }
    /// Sends without an answer.
    public var waitingSends: Int { sends.count }
    /// Messages that wait for earlier ones.
    public var heldMessages: Int { order.heldCount }
    /// The newest message shown; nil before the room was entered.
    public var position: Position? { order.last }
    /// For those who look inside: the simulator, and a trace.
    package var epochs: (newest: UInt64, chain: EpochChain) { (order.epoch, order.chain) }
    package var rememberedMessages: Int { order.recent.count }
    package var openRequests: Int { requests.count }
    /// Who is in the room, as this node knows it.
    package var present: [UserID: Set<RosterSnapshot.Device>] { presence.members }
    /// Whether the session is in the room or waits to be.
    public func has(_ session: SessionID) -> Bool { members[session] != nil }
    /// The room was live and a lost connection interrupted it. False for a room that Redis refuses: that is the room's trouble, not
    /// the node's.
    public var isRecovering: Bool {
        guard order.last != nil, !members.isEmpty else { return false }
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

    /// When `timerFired` wants to be called; nil: not before the next event.
    public var nextWake: Moment? {
        var wake: Moment?
        func consider(_ moment: Moment?) {
            guard let moment else { return }
            wake = wake.map { min($0, moment) } ?? moment
        }
        consider(lingerUntil)
        consider(members.deadline)
        if case .entering(let entering) = phase {
            consider(entering.deadline)
            consider(entering.retryAt)
        }
        if !sends.isEmpty {
            consider(sends.deadline)
            if isInside { consider(sends.pausedUntil) }
        }
        if isInside, !sends.isEmpty || !members.waiting.isEmpty { consider(nodes.returnsUntil) }
        if phase == .leaving { consider(leaveRetryAt) }
        if isInside {
            consider(order.holeDeadline)
            consider(reads.nextWake)
            if !presence.isUpdating { consider(presence.flushAt) }
            consider(presence.readAt)
        }
        return wake
    }

    /// Does what has come due.
    public mutating func timerFired(now: Moment, _ actions: inout [RoomAction]) {
        expireJoins(now: now, &actions)
        expireSends(now: now, &actions)
        if case .entering(let entering) = phase {
            if let deadline = entering.deadline, deadline <= now {
                enterTimedOut(now: now, &actions)
            } else if let retryAt = entering.retryAt, retryAt <= now {
                phase = .entering(
                    Entering(serial: entering.serial, failures: entering.failures, bringsFrom: entering.bringsFrom))
                requestEnter(now: now, &actions)
            }
        }
        if phase == .leaving, let at = leaveRetryAt, at <= now {
            leaveRetryAt = nil
            requestLeave(&actions)
        }
        if isInside { timerFiredInside(now: now, &actions) }
        if let lingerUntil, lingerUntil <= now { lingerEnded(now: now, &actions) }
    }

    /// An empty queue or dictionary keeps its room for what comes next. Nothing came for a while, and most rooms are quiet most of
    /// the time: a room of one message kept 500 bytes of it.
    private mutating func releaseMemory() {
        sends.releaseMemory()
        order.releaseMemory()
        members.releaseMemory()
    }

    /// Each due moment is cleared before it is acted on: one that stayed would make the runner's timer spin.
    private mutating func timerFiredInside(now: Moment, _ actions: inout [RoomAction]) {
        if order.takeDueHole(now: now) { wantView(.hole, now: now, &actions) }
        if let reason = reads.takeWanted(now: now) { wantView(reason, now: now, &actions) }
        if reads.takeQuietView(now: now) {
            releaseMemory()
            wantView(.quiet, now: now, &actions)
        }
        sends.endPause(now: now)
        if nodes.endWaiting(now: now) { answerJoins(now: now, &actions) }
        flushPresence(now: now, &actions)
        pump(now: now, &actions)
    }
}
