import ChatCore
import ChatHub

/// One run of one node process: the hosts of its single loop, its sessions, and its two connections.
final class SimNode {
    /// Each direction is a pipe, which preserves order.
    struct Connection {
        var number = 0
        var isUp = false
        var server = 0
        var lastArrival: UInt64 = 0
        var lastReply: UInt64 = 0
        /// Replies do not arrive any more, although the connection looks alive.
        var isSilent = false
        /// Requests do not arrive either.
        var isDead = false
        /// Requests without an answer, oldest first.
        var open: [Int] = []
        /// Channels that the node believes it is subscribed to.
        var subscribed: Set<Int> = []
        /// The subscriptions as the node tracks them, with the state machine that real nodes use.
        var machine = SubscriptionStateMachine(frame: ChannelFrame(before: 0, behind: 0))
    }

    let index: Int
    let slot: Int
    let id: NodeID
    let started: UInt64
    var skew: Int64
    var isAlive = true
    var stoppedUntil: UInt64 = 0
    let loop: SimLoop
    let rooms: RoomHost
    let sessions: SessionHost
    var commands = Connection()
    var subscriptions = Connection()
    /// The outlets of the sessions.
    var outlets: [SessionID: SimSession] = [:]
    /// Rooms that were held after the last event.
    var held: Set<Int> = []
    var sweeper: SweepStateMachine
    var audit: HoldingsAudit
    var rounds = 0
    var isKnown = false

    init(index: Int, slot: Int, id: NodeID, skew: Int64, settings: HubSettings, world: SimWorld) {
        self.index = index
        self.slot = slot
        self.id = id
        self.started = world.now
        self.skew = skew
        loop = SimLoop(world: world)
        rooms = RoomHost(
            index: 0, of: 1, settings: settings, link: loop, tick: loop.makeTick(), context: loop, turnsAtOnce: 1)
        sessions = SessionHost(index: 0, of: 1, settings: settings, context: loop)
        sweeper = SweepStateMachine(node: id)
        audit = HoldingsAudit(node: id)
        loop.node = self
    }
}

/// A request in transit.
struct SimRequest {
    enum Owner {
        case room(RequestTag)
        case ask(UInt64)
        case sweeper(UInt64)
        case audit(UInt64)
        case heartbeat
    }

    var node: Int
    var connection: Int
    var server: Int
    var owner: Owner
    var request: BrokerRequest
    /// Bytes of a dead connection arrive late, if ever.
    var notBefore: UInt64 = 0
    var isOrphan = false
}

enum SimEvent {
    case move(Int)
    case arrive(Int)
    case reply(Int, Result<BrokerReply, BrokerError>)
    case notConnected(node: Int, SimRequest.Owner)
    case commandsConnect(node: Int, number: Int)
    case subscriptionsConnect(node: Int, number: Int)
    case loseCommands(node: Int, number: Int)
    case loseSubscriptions(node: Int, number: Int)
    case subscribeArrives(node: Int, number: Int, room: Int, on: Bool)
    case subscribeAnswered(node: Int, number: Int, room: Int, on: Bool, count: Int)
    case takenForSubscribed(node: Int, number: Int, room: Int)
    case publication(node: Int, number: Int, room: Int, ChannelEvent)
    /// A session has read what it was sent, so it may be sent a page.
    case hasRead(node: Int, SessionID)
    case timer(node: Int, at: UInt64)
    /// A task that a host deferred.
    case task(node: Int, Int)
    case heartbeat(node: Int)
    case sweep(node: Int)
    case start(slot: Int)
    case sessionLost(node: Int, SessionID)
    /// A send that waited in the socket of a stopped node, whatever its client has done since.
    case said(node: Int, SessionID, ClientRequest)
    case clientConnect(client: Int, connection: Int)
    case clientRejoin(client: Int, connection: Int, room: Int)
    case clientResend(client: Int, connection: Int, room: Int, key: String)
    case frame(client: Int, connection: Int, ServerEvent)
    case snapshot(move: Int)
    case serverUp(Int)
    case serverDies(Int)
}
