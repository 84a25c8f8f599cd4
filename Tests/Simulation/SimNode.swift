import ChatCore

/// One start of one node process: its rooms, its sessions, its two connections. What ChatNode's shard does, and no more: it
/// carries out actions and passes events on.
final class SimNode {
    final class Room {
        var machine: RoomStateMachine
        let generation: UInt32
        var wake: UInt64?
        var live: Set<SessionID> = []

        init(machine: RoomStateMachine, generation: UInt32) {
            self.machine = machine
            self.generation = generation
        }
    }

    struct Session {
        var client: Int
        /// The client's connection; a client that has gone has another one.
        var connection: Int
        var rooms: Set<Int> = []
        /// How far it has caught up in each room, as the loop that accepted it sees it.
        var standings: [Int: RoomStanding] = [:]
    }

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
    }

    let index: Int
    let slot: Int
    let id: NodeID
    let started: UInt64
    var skew: Int64
    var isAlive = true
    var stoppedUntil: UInt64 = 0
    var rooms: [Room?]
    var commands = Connection()
    var subscriptions = Connection()
    var sessions: [SessionID: Session] = [:]
    var nextGeneration: UInt32 = 1
    var sweeper: SweepStateMachine
    var audit: HoldingsAudit
    var rounds = 0
    var isKnown = false
    /// Which room enters or leaves now: one at a time, so that they have to wait for each other.
    var turns = Turns<Int, Int>(limit: 1)
    var isGrantingTurns = false

    init(index: Int, slot: Int, id: NodeID, started: UInt64, skew: Int64, rooms: Int) {
        self.index = index
        self.slot = slot
        self.id = id
        self.started = started
        self.skew = skew
        self.rooms = Array(repeating: nil, count: rooms)
        sweeper = SweepStateMachine(node: id)
        audit = HoldingsAudit(node: id)
    }
}

/// A request on its way.
struct SimRequest {
    enum Owner {
        case room(Int, generation: UInt32, serial: UInt64)
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
    case subscribeAnswered(node: Int, number: Int, room: Int, on: Bool)
    case publication(node: Int, number: Int, room: Int, ChannelEvent)
    /// A session has read what it was sent, and gets the next page of what it missed.
    case nextPage(node: Int, SessionID, room: Int)
    case timer(node: Int, room: Int, generation: UInt32, at: UInt64)
    case heartbeat(node: Int)
    case sweep(node: Int)
    case start(slot: Int)
    case sessionLost(node: Int, SessionID)
    /// A send that waited in the socket of a node that was stopped, whatever its client has done since.
    case said(node: Int, SessionID, room: Int, SendRequest, ref: Int)
    case clientConnect(client: Int, connection: Int)
    case clientRejoin(client: Int, connection: Int, room: Int)
    case clientResend(client: Int, connection: Int, room: Int, key: String)
    case frame(client: Int, connection: Int, ServerEvent)
    case snapshot(move: Int)
    case serverUp(Int)
    case serverDies(Int)
}
