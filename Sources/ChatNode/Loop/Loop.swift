import ChatAccess
import ChatArchive
import ChatCore
import ChatHub
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// One event loop of the node with its three hosts: the rooms whose home it is, the sessions that it accepted, and its
/// two connections to the broker. No other thread accesses its contents; loops pass work to each other by ``run(_:)``,
/// in batches.
final class Loop: @unchecked Sendable {
    // Proof for @unchecked: the hosts are accessed only on `eventLoop` (see `run`).

    /// The loop's number in the node: the label `shard` of log lines and metrics.
    let index: Int
    let eventLoop: any EventLoop
    /// Shared by the loop's connections to the broker and its sessions.
    let tick: LoopTick
    let metrics: NodeMetrics
    let settings: LoopSettings
    let rooms: RoomHost
    let sessions: SessionHost
    let broker: BrokerHost
    private let context: LoopContext

    /// All loops of the node, once this one has started.
    var all: [Loop] { context.loops }

    /// `count`: the number of loops of the node.
    init(
        index: Int, of count: Int = 1, eventLoop: any EventLoop, tick: LoopTick, settings: LoopSettings,
        link: any BrokerLink, metrics: NodeMetrics, logger: Logger
    ) {
        self.index = index
        self.eventLoop = eventLoop
        self.tick = tick
        self.settings = settings
        self.metrics = metrics
        context = LoopContext(
            index: index, eventLoop: eventLoop, settings: settings, metrics: metrics, logger: logger)
        rooms = RoomHost(
            index: index, of: count, settings: settings.hub, link: link, tick: tick, context: context)
        sessions = SessionHost(index: index, of: count, settings: settings.hub, context: context)
        broker = BrokerHost(link: link, rooms: rooms, context: context)
    }

    /// Connects the loops with each other, and this one with the broker. Called once, on the loop.
    func start(_ loops: [Loop], keeper: Keeper) {
        eventLoop.assertInEventLoop()
        context.attach(loops, keeper)
        broker.start()
    }

    var now: Moment { .now }

    /// Runs the body on this loop; at once, if the caller is on it.
    func run(_ body: @escaping @Sendable () -> Void) {
        if eventLoop.inEventLoop { return body() }
        eventLoop.execute(body)
    }

    /// Runs the body on this loop, and returns what it returns.
    func call<Result: Sendable>(_ body: @escaping @Sendable (Loop) -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            run { [self] in continuation.resume(returning: body(self)) }
        }
    }

    /// The present load of this loop.
    var load: HubLoad {
        var load = rooms.load
        load.sessions = sessions.count
        load.userChannels = rooms.users.count
        load.deliveries = sessions.deliveries
        return load
    }

    /// The work of each second: the connections are proven, even if nobody asks, and quiet rooms go to rest.
    func audit(deadline: Duration) {
        guard !rooms.commands.isEmpty, !rooms.subscriptions.isEmpty, broker.proof.audit(deadline: deadline) else {
            return
        }
        broker.audits.compareTails()
        rooms.restRooms()
    }

    // MARK: from any task

    /// The reason why messages of this loop do not make a full round through the broker; nil if one just did. Waits for
    /// the proof, but not longer than `patience`.
    func unreadiness(within patience: Duration = .seconds(2)) async -> String? {
        await withCheckedContinuation { continuation in
            run { [self] in broker.proof.unreadiness(within: patience) { continuation.resume(returning: $0) } }
        }
    }

    /// Asks the broker on this loop's connection.
    func ask(_ request: BrokerRequest) async -> Result<BrokerReply, BrokerError> {
        await withCheckedContinuation { continuation in
            run { [self] in broker.ask(request) { continuation.resume(returning: $0) } }
        }
    }

    /// Waits for messages of a room whose home this loop is. If the task is cancelled, the answer has none.
    func poll(_ request: PollRequest) async -> Result<Arrivals, WireError> {
        let waiting = NIOLockedValueBox(PollInWaiting())
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                run { [self] in
                    let id = rooms.poll(request) { continuation.resume(returning: $0) }
                    let isCancelled = waiting.withLockedValue { waiting in
                        waiting.id = id
                        return waiting.isCancelled
                    }
                    if isCancelled { rooms.endPoll(id) }
                }
            }
        } onCancel: {
            let id = waiting.withLockedValue { waiting in
                waiting.isCancelled = true
                return waiting.id
            }
            guard let id else { return }
            run { [self] in rooms.endPoll(id) }
        }
    }

    /// A user has read a room whose home this loop is.
    func read(_ room: RoomName, _ position: Position, by user: UserID) async -> Result<ReadOutcome, WireError> {
        await withCheckedContinuation { continuation in
            run { [self] in rooms.read(room, position, by: user) { continuation.resume(returning: $0) } }
        }
    }

    /// The user's conversations, in any order, and what reading them has cost, which `rate` has paid.
    func inbox(
        of user: UserID, paidBy rate: UserRate?, mayRead: @escaping @Sendable (RoomName) -> Bool
    ) async -> (Result<[InboxConversation], BrokerError>, cost: UInt64) {
        await withCheckedContinuation { continuation in
            run { [self] in
                InboxReading.begin(of: user, by: context, paidBy: rate, mayRead: mayRead) {
                    continuation.resume(returning: ($0, $1))
                }
            }
        }
    }

    /// Which of the users have a session, on whatever node, for that one.
    func online(_ users: [UserID], for asker: UserID?) async -> Result<OnlineUsers, BrokerError> {
        await withCheckedContinuation { continuation in
            run { [self] in OnlineCheck.begin(users, for: asker, by: context) { continuation.resume(returning: $0) } }
        }
    }

    /// Stores a message from a sender who need not be in the room, unless it is not allowed. The message in the result
    /// is as it was stored: the list of words and the hook may have changed it.
    func say(
        _ content: MessageContent, in room: RoomName, obeysRules: Bool
    ) async -> Result<(content: MessageContent, reply: Result<BrokerReply, BrokerError>), WireError> {
        await withCheckedContinuation { continuation in
            run { [self] in
                rooms.screen(content, in: room) { [self] result in
                    switch result {
                    case .failure(let error): continuation.resume(returning: .failure(error))
                    case .success(let content):
                        broker.ask(.say(room: room, content: content, obeysRules: obeysRules)) {
                            continuation.resume(returning: .success((content, $0)))
                        }
                    }
                }
            }
        }
    }

    /// Whether a node is in the room, or its log has held a message.
    func exists(_ room: RoomName) async -> Bool {
        await withCheckedContinuation { continuation in
            run { [self] in sessions.findOut(whether: room) { continuation.resume(returning: $0) } }
        }
    }

    /// Whether enough replicas have everything that was acknowledged in the room so far.
    func isReplicated(in room: RoomName) async -> Bool {
        if settings.ackReplicas == 0 { return true }
        return await withCheckedContinuation { continuation in
            run { [self] in broker.acks.hold(.request(continuation), in: room) }
        }
    }
}

/// A poll, once its loop has begun it, and whether its task was cancelled.
private struct PollInWaiting {
    var id: UInt64?
    var isCancelled = false
}

/// The settings that all loops of a node share.
struct LoopSettings: Sendable {
    var hub: HubSettings
    /// How many replicas must have a message before its sender is told that it is stored, and how long they may take.
    var ackReplicas = 0
    var ackDeadline: Duration = .seconds(1)
    var wallClock: @Sendable () -> UInt64
    /// The operator's hook; nil if there is none.
    var hook: HookTarget?
    /// Where messages are that logs no longer hold; nil if there is no archive.
    var archive: ArchiveReader?
}
