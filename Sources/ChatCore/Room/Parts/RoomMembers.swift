/// The sessions of this node that are in the room or wait to be. Part of ``RoomStateMachine``.
struct RoomMembers: Sendable {
    private(set) var all = SmallDictionary<SessionID, RoomMember>()
    /// Those whose join is not answered yet, in the order in which they asked.
    private(set) var waiting: [SessionID] = []

    init() {}

    var count: Int { all.count }
    var isEmpty: Bool { all.isEmpty }
    subscript(session: SessionID) -> RoomMember? { all[session] }

    /// The join of that session that is not answered yet.
    func join(of session: SessionID) -> PendingJoin? {
        guard case .waiting(let join)? = all[session]?.state else { return nil }
        return join
    }

    /// When the oldest join fails; nil: none waits.
    var deadline: Moment? { waiting.first.flatMap { join(of: $0)?.deadline } }

    // MARK: joins

    /// A session asks to be in the room, or asks once more. True: it is new.
    mutating func asks(_ request: JoinRequest, until deadline: Moment) -> Bool {
        let join = PendingJoin(ref: request.ref, after: request.after, history: request.history, deadline: deadline)
        let isNew = all[request.session] == nil
        if isNew {
            all[request.session] = RoomMember(
                user: request.user, device: request.device, state: .waiting(join), since: request.since,
                resumed: request.after != nil)
        } else {
            all[request.session]?.state = .waiting(join)
        }
        waiting.removeAll { $0 == request.session }
        waiting.append(request.session)
        return isNew
    }

    /// The session's join is answered, or its page could not be read: it is in the room. The caller takes it from
    /// ``waiting``.
    mutating func isLive(_ session: SessionID) { all[session]?.state = .live }

    /// Only these wait from now on.
    mutating func keepWaiting(_ sessions: [SessionID]) { waiting = sessions }

    /// All sessions that wait; none does any longer.
    mutating func takeWaiting() -> [SessionID] {
        defer { waiting = [] }
        return waiting
    }

    /// The session that has waited for longest, if its deadline has passed. It does not wait any longer.
    mutating func takeExpired(now: Moment) -> SessionID? {
        guard let session = waiting.first, let join = join(of: session), join.deadline <= now else { return nil }
        waiting.removeFirst()
        return session
    }

    /// The log is being read: a join that comes later needs another read.
    mutating func viewBegan() {
        for session in waiting { updateJoin(of: session) { $0.asked = true } }
    }

    /// The log was read to its end.
    mutating func viewEnded() {
        for session in waiting where join(of: session)?.asked ?? false {
            updateJoin(of: session) { $0.viewed = true }
        }
    }

    /// A read of older messages with that serial serves these sessions.
    mutating func olderBegan(serial: UInt64, for sessions: [SessionID]) {
        for session in sessions { updateJoin(of: session) { $0.askedOlder = serial } }
    }

    private mutating func updateJoin(of session: SessionID, _ change: (inout PendingJoin) -> Void) {
        guard var join = join(of: session) else { return }
        change(&join)
        all[session]?.state = .waiting(join)
    }

    // MARK: sends

    mutating func sendBegan(_ session: SessionID) { all.update(session) { $0.waitingSends += 1 } }

    mutating func sendEnded(_ session: SessionID) { all.update(session) { $0.waitingSends -= 1 } }

    // MARK: leaving

    /// The session is not in the room any more. Returns what it was; nil: it was not in the room.
    mutating func remove(_ session: SessionID) -> RoomMember? {
        guard let member = all.removeValue(forKey: session) else { return nil }
        if case .waiting = member.state { waiting.removeAll { $0 == session } }
        return member
    }

    /// The same for a session that was taken from ``waiting`` before.
    mutating func removeTaken(_ session: SessionID) { all[session] = nil }

    /// Releases the spare capacity of an empty queue.
    mutating func releaseMemory() {
        if waiting.isEmpty { waiting = [] }
    }
}

// MARK: a room at rest

extension RoomMembers {
    /// No session waits.
    var isIdle: Bool { waiting.isEmpty }

    /// Whether all are live and none waits for a send.
    var isAtEase: Bool { all.allSatisfy { $0.value.state == .live && $0.value.waitingSends == 0 } }

    func pack(into packed: inout PackedBytesWriter) {
        packed.add(UInt64(all.count))
        for (session, member) in all.sorted(by: { $0.key < $1.key }) {
            packed.add(session.raw)
            packed.add(name: member.user.text)
            packed.add(name: member.device.text)
            packed.add(member.since.nanoseconds)
            packed.add(member.resumed)
        }
    }

    init(_ packed: inout PackedBytesReader) {
        for _ in 0..<packed.number() {
            let session = SessionID(raw: packed.number())
            let user = UserID(kept: packed.name())
            let device = DeviceName(kept: packed.name())
            let since = Moment(nanoseconds: packed.number())
            all[session] = RoomMember(user: user, device: device, state: .live, since: since, resumed: packed.flag())
        }
    }
}

// MARK: invariants

extension RoomMembers {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        let joining = all.filter { if case .waiting = $0.value.state { true } else { false } }.map(\.key)
        assert(
            Set(waiting).count == waiting.count && Set(joining) == Set(waiting), "those wait whose join is not answered"
        )
        assert(all.allSatisfy { $0.value.waitingSends >= 0 }, "a send is answered once")
    }
}
