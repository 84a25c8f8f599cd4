import ChatCore
import ChatGateway
import ChatWire
import Logging
import NIOCore

/// One event loop's part of the node: the rooms whose home it is, with the loop's two broker connections, and the sessions that
/// the loop accepted. Nothing in it is touched by another thread; shards talk by `execute`, a batch at a time.
final class Shard: @unchecked Sendable {
    // Proof for @unchecked: every member but the constants is touched on `loop` only (see `run`, `receive`).

    let index: Int
    let loop: any EventLoop
    /// The loop's, which its connections to the broker and its sessions share.
    let tick: LoopTick
    let settings: ShardSettings
    let metrics: NodeMetrics
    let logger: Logger
    let link: any BrokerLink
    let codec: MartletV1Codec
    let common: RoomStateMachine.Common
    /// All shards of the node, this one included. Set once, before anything runs.
    private(set) var shards: [Shard] = []

    // Rooms at home here.
    var rooms: [HomeRoom?] = []
    var freeSlots: [UInt32] = []
    var slots: [RoomName: UInt32] = [:]
    /// The room that was asked for last: what comes together is often of one.
    var recentRoom: HomeRoom?
    let machines = MachineStore()
    var memory: RoomsMemory
    /// Rooms whose machine is in memory, and perhaps some that were closed since.
    var awakeRooms: [HomeRoom] = []
    var nextGeneration: UInt32 = 1
    var timers = TimerHeap()
    var scheduled: (at: Moment, task: Scheduled<Void>)?
    var outboxes: [[Delivery]] = []
    let flush = LoopTick.Errand(.deliveries)
    /// When the first delivery of the tick was made.
    var outboxesSince = Moment(nanoseconds: 0)
    var pool: [[RoomAction]] = []
    /// Which rooms enter or leave now, at each of the broker's servers.
    var turns = Turns<TurnID, BrokerIdentity>(limit: Shard.turnsAtOnce)
    var isGrantingTurns = false

    // The broker connections.
    var commands = BrokerReach()
    var subscriptions = BrokerReach()
    /// Why the connections were last lost, or could not be made.
    var commandsTrouble: String?
    var subscriptionsTrouble: String?
    var continuations: [UInt64: (Result<BrokerReply, BrokerError>) -> Void] = [:]
    var nextContinuation: UInt64 = 1
    /// One for each part of the broker that comes and goes by itself.
    var probes: [Probe] = []
    /// All of them were proven at once before.
    var wasWhole = false
    /// No room has waited for its return since no part at all was reached.
    var areRoomsBack = false
    /// Who waits for the probes' rounds.
    var probeWaits: [UInt64: () -> Void] = [:]
    var audit: HoldingsAudit
    var tails = TailAudit()
    /// Acknowledgements that wait for replicas, by the server that stored what they acknowledge. (Late answers of an old round find
    /// their gate, and no such round.)
    var gates: [BrokerIdentity: ReplicationGate<HeldAnswer>] = [:]
    /// The node's heartbeat and sweeper; lives on the first shard.
    private(set) var keeper: Keeper?

    // Sessions accepted here.
    var sessions: [SessionID: LocalSession] = [:]
    var nextSession: UInt64 = 1
    /// This loop's share of the node's joins.
    var joinRate: TokenBucket
    var deliveries: UInt64 = 0
    var messages: UInt64 = 0
    var ignoredLines = LineRate<IgnoredData>(pause: .seconds(60))

    init(
        index: Int, of count: Int = 1, loop: any EventLoop, tick: LoopTick, settings: ShardSettings,
        link: any BrokerLink, metrics: NodeMetrics, logger: Logger
    ) {
        self.index = index
        self.loop = loop
        self.tick = tick
        self.settings = settings
        self.link = link
        self.codec = MartletV1Codec(limits: settings.rooms.limits)
        self.common = RoomStateMachine.Common(node: settings.node, settings: settings.rooms)
        self.metrics = metrics
        self.logger = logger
        self.memory = RoomsMemory(limit: settings.roomsMemory / max(1, count))
        let joins = (settings.rooms.limits.joinsPerSecond + count - 1) / max(1, count)
        self.joinRate = TokenBucket(
            perSecond: joins, burst: joins, now: Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds))
        self.audit = HoldingsAudit(node: settings.node)
    }

    /// Connects the shards with each other and this one with the broker. Called once, on the loop.
    func start(shards: [Shard], keeper: Keeper) {
        loop.assertInEventLoop()
        self.shards = shards
        self.keeper = keeper
        outboxes = Array(repeating: [], count: shards.count)
        link.delegate = self
        link.start()
    }

    var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    /// The shard that is home to the room: its ``StableHash``, then mixed (the finaliser of MurmurHash3), as FNV alone hardly
    /// carries a name's last bytes into the upper half: `room1` to `room99` would all have one home.
    static func home(of room: RoomName, among count: Int) -> Int {
        guard count > 1 else { return 0 }
        var hash = StableHash(room.text).value
        hash = (hash ^ hash >> 33) &* 0xff51_afd7_ed55_8ccd
        return Int((hash >> 32) % UInt64(max(1, count)))
    }

    func home(of room: RoomName) -> Shard { shards[Self.home(of: room, among: shards.count)] }

    /// Runs on this shard's loop: at once if we are on it.
    func run(_ body: @escaping @Sendable () -> Void) {
        if loop.inEventLoop { return body() }
        loop.execute(body)
    }
}

/// What all shards of a node have in common.
struct ShardSettings: Sendable {
    var node: NodeID
    var rooms: RoomSettings
    /// How many replicas must have what a sender is told is stored, and how long they may take.
    var ackReplicas = 0
    var ackDeadline: Duration = .seconds(1)
    /// Bytes of messages that all rooms of the node have in memory.
    var roomsMemory = 512 * 1_048_576
    let redisSpace = RedisSpace()
    var wallClock: @Sendable () -> UInt64
}

/// A session on the loop that accepted it. Confined to it.
final class LocalSession {
    let id: SessionID
    let user: UserID
    let device: DeviceName
    let outlet: any SessionOutlet
    let since: Moment
    /// What the user may ask, over all of the user's sessions on this node.
    let rate: UserRate
    /// The rooms it asked to be in.
    var rooms = SmallDictionary<RoomName, LocalMembership>()
    /// Pages that wait their turn, and whether one is on its way.
    var pages: [PageRequest] = []
    var isPaging = false

    init(
        id: SessionID, user: UserID, device: DeviceName, outlet: any SessionOutlet, since: Moment, rate: UserRate
    ) {
        self.id = id
        self.user = user
        self.device = device
        self.outlet = outlet
        self.since = since
        self.rate = rate
    }
}

/// A session's place in a room.
struct LocalMembership {
    var standing: RoomStanding
    /// Under which it is in the room's arrays; nil: not answered yet.
    var local: LocalRoom?
}

/// A long answer: made when the session has read the one before.
enum PageRequest {
    /// The next of what the session missed in the room.
    case missed(RoomName)
    case history(RoomName, HistoryQuery, Ref?)
    case roster(RoomName, String?, Ref?)
}
