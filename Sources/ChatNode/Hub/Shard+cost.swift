import ChatCore
import ChatGateway
import NIOCore
import Synchronization

/// What users cost this shard, and what its rooms take of memory.
extension Shard {
    /// After how many bursts the session is refused this: one more join of the same room is no coming back.
    func patience(with body: ClientRequest.Body, of session: LocalSession) -> UInt64 {
        if case .join(let room, _, _) = body, session.rooms[room] != nil { return 1 }
        return body.patience
    }

    // MARK: joins

    /// On the room's home loop: a session wants to be in the room, or to be told more of what it has missed.
    func letIn(_ request: JoinRequest, to name: RoomName, _ rate: UserRate) {
        let isNew = room(named: name) == nil
        let room = openRoom(name)
        if isNew {
            rate.charge(RequestCost.newRoom, now: now)
            room.payer = rate
        }
        let comes = !has(request.session, in: room)
        if comes { room.sessionCame(on: request.session.loop) }
        happen(in: room) { machine, now, actions in
            rate.charge((comes ? machine.costOfComing : 0) &+ machine.costOfMissed(after: request.after), now: now)
            machine.join(request, now: now, &actions)
        }
    }

    /// On the session's loop, while Redis has hardly any memory left: a room that is there may be joined, but none is begun.
    func joinIfItExists(_ room: RoomName, after: Position?, history: Int, ref: Ref?, _ session: LocalSession) {
        let id = session.id
        let decide = { [self] (exists: Bool) in
            // It may have left, or have joined anew, while Redis was asked.
            guard let session = sessions[id], let asked = session.rooms[room]?.standing.unanswered, asked == ref else {
                return
            }
            if exists { return askToJoin(room, after: after, history: history, ref: ref, session) }
            session.rooms[room] = nil
            refuse(.redisMemory, ref, session)
        }
        findOut(whether: room, then: decide)
    }

    /// Whether a node is in the room, or something was said there. True also if Redis did not answer: whoever asks will find out.
    private func findOut(whether room: RoomName, then: @escaping (Bool) -> Void) {
        ask(.holders(room: room)) { [self] result in
            guard case .success(.holders(let nodes)) = result, nodes.isEmpty else { return then(true) }
            ask(.history(room: room, query: HistoryQuery(anchor: .newest, limit: 0))) { result in
                guard case .success(.history(let page)) = result else { return then(true) }
                then(page.newest != nil)
            }
        }
    }

    /// The same from any task.
    func exists(_ room: RoomName) async -> Bool {
        await withCheckedContinuation { continuation in
            run { [self] in findOut(whether: room) { continuation.resume(returning: $0) } }
        }
    }

    /// The answer to who would begin a room.
    static let noSpace = WireError(.noSpace, "redis has hardly any memory left, so no room is begun for now")

    // MARK: charges

    /// Bytes of a long frame came in, which had to be read whatever they are. How long the session is not to be read from.
    func heard(_ bytes: Int, from id: SessionID) -> Duration {
        guard let rate = sessions[id]?.rate else { return .zero }
        let now = now
        rate.charge(RequestCost.read(bytes: bytes), now: now)
        return min(rate.debt(now: now), .seconds(1))
    }

    /// For what a session is told of what was said before it came.
    func charge(_ rate: UserRate, for events: [ServerEvent]) {
        var cost: UInt64 = 0
        for event in events {
            switch event {
            case .joined(let joined):
                cost &+= RequestCost.page(joined.messages, read: false)
                cost &+= RequestCost.roster(joined.members?.count ?? 0, read: false)
            case .message(_, let message, _): cost &+= RequestCost.page(CollectionOfOne(message), read: false)
            case .welcome, .left, .sent, .presence, .signal, .gap, .reset, .draining, .history, .roster, .pong, .error:
                break
            }
        }
        if cost > 0 { rate.charge(cost, now: now) }
    }

    /// Counts what the room refused because of a limit.
    func count(_ error: WireError) {
        switch error.code {
        case .tooManyWaiting: metrics.limitRefusals[.waitingSendsPerRoom].increment()
        case .rateLimited: metrics.limitRefusals[.costPerSecond].increment()
        default: break
        }
    }

    /// What it costs that somebody says so who need not be in the room.
    func cost(ofSaying content: MessageContent, in name: RoomName) async -> UInt64 {
        await withCheckedContinuation { continuation in
            run { [self] in
                let room = room(named: name)
                if let room { awaken(room) }
                let receivers = room?.look { $0.receivers } ?? nil
                let bytes = (content.text?.utf8.count ?? 0) + (content.data?.utf8.count ?? 0)
                var cost = RequestCost.request &+ RequestCost.read
                cost &+= RequestCost.fanOut(bytes: bytes, to: receivers ?? RequestCost.unknownReceivers)
                if content.key != nil { cost &+= RequestCost.keyLookup }
                continuation.resume(returning: cost)
            }
        }
    }

    // MARK: memory

    /// Messages of the room came into memory, or went.
    func remember(_ room: HomeRoom, _ cost: Int) {
        memory.used += cost - room.cost
        room.cost = cost
        room.usedAt = now
        if let payer = room.payer {
            room.payer = nil
            payer.charge(room.look { $0.costOfMemory } ?? 0, now: now)
        }
        guard memory.isOver, !memory.isReleasing else { return }
        memory.isReleasing = true
        loop.assumeIsolated().scheduleTask(in: Self.beforeRelease) { [self] in releaseMemory() }
    }

    /// The room is given up.
    func forget(_ room: HomeRoom) {
        memory.used -= room.cost
        memory.freed &+= UInt64(max(0, room.cost))
        room.cost = 0
    }

    /// Takes memory from the rooms in which nothing was said for longest; a little at a time, for others use the loop as well.
    private func releaseMemory() {
        let idlest = rooms.compactMap { $0 }.filter { $0.cost > 0 }.sorted { $0.usedAt < $1.usedAt }
        let end = now + Self.releaseTime
        for room in idlest where memory.isAboveGoal {
            let (before, used) = (room.cost, room.usedAt)
            happen(in: room, awake: .zero) { machine, _, _ in machine.releaseMemory(toBytes: 0) }
            room.usedAt = used
            memory.released(max(0, before - room.cost))
            guard now < end else {
                loop.assumeIsolated().scheduleTask(in: Self.betweenReleases) { [self] in releaseMemory() }
                return
            }
        }
        memory.isReleasing = false
    }

    private static let releaseTime: Duration = .milliseconds(2)
    private static let beforeRelease = TimeAmount.microseconds(100)
    private static let betweenReleases = TimeAmount.milliseconds(5)
}

/// The messages of a shard's rooms in memory, in bytes. Confined to the shard's loop.
struct RoomsMemory {
    /// What they may take; beyond it the rooms give some back.
    let limit: Int
    var used = 0
    /// Since the process began: taken back because of the limit, and that together with what went with its room.
    private(set) var released: UInt64 = 0
    var freed: UInt64 = 0
    /// Memory is being taken back, a little at a time.
    var isReleasing = false

    init(limit: Int) {
        self.limit = max(0, limit)
    }

    var isOver: Bool { used > limit }
    /// So that it is not done for each message.
    var isAboveGoal: Bool { used > limit / 8 * 7 }

    mutating func add(_ other: RoomsMemory) {
        used += other.used
        released &+= other.released
        freed &+= other.freed
    }

    mutating func released(_ bytes: Int) {
        released &+= UInt64(max(0, bytes))
        freed &+= UInt64(max(0, bytes))
    }
}

/// Whether Redis has memory for new rooms. Written by the keeper, read by all shards.
final class RedisSpace: Sendable {
    private let short = Atomic<Bool>(false)

    /// So much of Redis' memory is used that no room is begun.
    var isShort: Bool {
        get { short.load(ordering: .relaxed) }
        set { short.store(newValue, ordering: .relaxed) }
    }
}
