import ChatCore
import ChatHub

/// One start of one node process: the hosts of its one loop, its sessions, its two connections.
final class SimNode {
    /// One direction is a pipe: what goes in first comes out first.
    struct Connection {
        var number = 0
        var isUp = false
        var server = 0
        var lastArrival: UInt64 = 0
        var lastReply: UInt64 = 0
        /// Nothing comes back any more, although it looks alive.
        var isSilent = false
        /// Nor does anything arrive.
        var isDead = false
        /// Requests without an answer, oldest first.
        var open: [Int] = []
        /// Channels that the node believes it subscribed to.
        var subscribed: Set<Int> = []
        /// What it is subscribed to as the node sees it, by the machine that runs in nodes.
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
    /// The sessions' ways out.
    var outlets: [SessionID: SimSession] = [:]
    /// Rooms that were in use after the last event.
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

/// A request on its way.
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
    /// Something that a host put off.
    case task(node: Int, Int)
    case heartbeat(node: Int)
    case sweep(node: Int)
    case start(slot: Int)
    case sessionLost(node: Int, SessionID)
    /// A send that waited in the socket of a node that was stopped, whatever its client has done since.
    case said(node: Int, SessionID, ClientRequest)
    case clientConnect(client: Int, connection: Int)
    case clientRejoin(client: Int, connection: Int, room: Int)
    case clientResend(client: Int, connection: Int, room: Int, key: String)
    case frame(client: Int, connection: Int, ServerEvent)
    case snapshot(move: Int)
    case serverUp(Int)
    case serverDies(Int)
}
