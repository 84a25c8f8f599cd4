/// Who is in a room: the devices of this node's sessions, what Redis was told of them, and the roster that the presence
/// stream adds up to. Part of ``RoomStateMachine``.
struct RoomPresence: Sendable {
    struct LocalDevice: Hashable, Sendable {
        var user: UserID
        var device: DeviceName
    }

    private struct Here: Sendable {
        /// The node's sessions on the device.
        var sessions: Int32 = 0
        /// Redis has been told that the device is here.
        var isTold = false

        var isNothing: Bool { sessions == 0 && !isTold }
    }

    /// The devices of one user, on whatever node: at least one, which most have.
    private struct Devices: Sendable {
        var first: RosterSnapshot.Device
        var others: Set<RosterSnapshot.Device> = []

        var all: Set<RosterSnapshot.Device> { others.union([first]) }
        var names: [DeviceName] { others.isEmpty ? [first.device] : Array(Set(all.map(\.device))) }

        mutating func insert(_ device: RosterSnapshot.Device) {
            if device != first { others.insert(device) }
        }

        /// False: there is none left, and this is void.
        mutating func remove(_ device: RosterSnapshot.Device) -> Bool {
            if device != first {
                others.remove(device)
            } else {
                guard let next = others.popFirst() else { return false }
                first = next
            }
            return true
        }
    }

    /// The devices of this node, and those that have left of which Redis has not been told yet.
    private var here = SmallDictionary<LocalDevice, Here>()
    /// How many sessions each user has here.
    private var sessions = SmallDictionary<UserID, Int32>()
    private var news = PresenceNews()
    /// Devices that may differ from what Redis was told, in the order in which they changed.
    private var changed: [LocalDevice] = []
    /// When the changes go out.
    @Packed private(set) var flushAt: Moment?
    /// The update that is at the broker.
    private(set) var updating: [PresenceChange]?

    /// The roster at `position` of the presence stream; nil: not read yet.
    private var roster = SmallDictionary<UserID, Devices>()
    private(set) var position: Position?
    /// The roster that is being read is compared with our devices, as Redis may list some that have left: after
    /// `enter`.
    private var comparesOurs = false
    /// A notice was missed, or a read failed: the roster is read (again), not before `readAt`.
    private(set) var wantsRoster = false
    @Packed private(set) var readAt: Moment?
    /// The serial of the read that is at the broker. Notices that are heard meanwhile wait for its answer, which may be
    /// older.
    @Packed private(set) var reading: UInt64?
    private var heardWhileReading: [PresenceNotice] = []
    private static let heardLimit = 256
    /// What the read has brought so far: none or one (an array takes less memory than an optional).
    private var partsRead: [ReadSoFar] = []

    private struct ReadSoFar {
        /// The parts of the roster that were read, merged into one; nil before the first.
        var roster: RosterSnapshot?
        /// Our devices of which Redis was told during the read: its parts may be older, and say the opposite.
        var told: Set<LocalDevice> = []
    }
    /// Devices in one update, as the work of one function call in Redis is bounded.
    static let updateLimit = 250

    var isUpdating: Bool { updating != nil }
    /// How many users are in the room, according to what its sessions were told.
    var count: Int { roster.count + news.count }
    /// Whether sessions have to be told of changes that are not in the roster.
    var hasNews: Bool { news.hasNews }
    /// The roster as a plain dictionary.
    var members: [UserID: Set<RosterSnapshot.Device>] {
        Dictionary(uniqueKeysWithValues: roster.lazy.map { ($0.key, $0.value.all) })
    }
    /// How many of our sessions are in the room with a device.
    var localSessions: Int { here.reduce(0) { $0 + Int($1.value.sessions) } }

    /// The room is left: only our sessions remain, of which nobody was told anything.
    mutating func forget() {
        var presence = RoomPresence()
        for (id, state) in here where state.sessions > 0 { presence.here[id] = Here(sessions: state.sessions) }
        presence.sessions = sessions
        self = presence
    }

    // MARK: our own devices

    mutating func came(_ user: UserID, _ device: DeviceName, now flush: Moment) {
        let id = LocalDevice(user: user, device: device)
        var state = here[id] ?? Here()
        state.sessions += 1
        here[id] = state
        sessions[user] = (sessions[user] ?? 0) + 1
        if state.sessions == 1 { note(id, flush) }
    }

    mutating func went(_ user: UserID, _ device: DeviceName, now flush: Moment) {
        let id = LocalDevice(user: user, device: device)
        guard var state = here[id], state.sessions > 0 else { return }
        state.sessions -= 1
        here[id] = state.isNothing ? nil : state
        if state.sessions == 0 { note(id, flush) }
        let others = (sessions[user] ?? 1) - 1
        sessions[user] = others > 0 ? others : nil
        if others <= 0 { news.isGone(user) }
    }

    /// The answer to a join of that session, which is made now, contains the roster
    /// (``joinedRoster(including:limit:)``).
    mutating func told(_ user: UserID, _ session: SessionID, flush: Moment) {
        news.joined(user, session, isListed: roster[user] != nil)
        if news.hasNews, flushAt == nil { flushAt = flush }
    }

    mutating func sessionLeft(_ session: SessionID) { news.left(session) }

    /// What the sessions have to be told now.
    mutating func takeNews(_ difference: Difference) -> PresenceNews.Told {
        // The flush was due only because of the news.
        if changed.isEmpty { flushAt = nil }
        return news.take(joined: difference.joined, left: difference.left)
    }

    private mutating func note(_ id: LocalDevice, _ flush: Moment) {
        changed.append(id)
        if flushAt == nil { flushAt = flush }
    }

    /// The node enters (again). Redis may have forgotten devices that it was told of: they are told again as soon as
    /// the room is live. It may list devices that have left: the roster, which is asked for right behind the `enter`,
    /// shows them.
    mutating func noteEntering(now: Moment) {
        comparesOurs = true
        updating = nil
        changed = []
        for (id, state) in here {
            if state.sessions > 0 { changed.append(id) }
            tell(id, false)
        }
        changed.sort { ($0.user.text, $0.device.text) < ($1.user.text, $1.device.text) }
        flushAt = changed.isEmpty ? nil : now
    }

    /// The changes to tell Redis, if they are due and no other update is at the broker. Changes that do not fit into
    /// one update are due at once again.
    mutating func takeUpdate(now: Moment) -> [PresenceChange]? {
        guard let flushAt, flushAt <= now, updating == nil else { return nil }
        self.flushAt = nil
        var changes: [PresenceChange] = []
        var seen: Set<LocalDevice> = []
        var looked = 0
        for id in changed {
            guard changes.count < Self.updateLimit else { break }
            looked += 1
            guard seen.insert(id).inserted else { continue }
            let state = here[id] ?? Here()
            if (state.sessions > 0) != state.isTold {
                changes.append(PresenceChange(user: id.user, device: id.device, joined: state.sessions > 0))
            }
        }
        changed.removeFirst(looked)
        if changed.isEmpty { changed = [] } else { self.flushAt = now }
        guard !changes.isEmpty else { return nil }
        updating = changes
        return changes
    }

    /// Redis took the update.
    mutating func updateSucceeded() {
        guard let changes = updating else { return }
        updating = nil
        for change in changes {
            let id = LocalDevice(user: change.user, device: change.device)
            tell(id, change.joined)
            guard reading != nil else { continue }
            if partsRead.isEmpty { partsRead = [ReadSoFar()] }
            partsRead[0].told.insert(id)
        }
    }

    private mutating func tell(_ id: LocalDevice, _ isTold: Bool) {
        var state = here[id] ?? Here()
        state.isTold = isTold
        here[id] = state.isNothing ? nil : state
    }

    /// Redis did not carry out the update, or it is not known whether it did: it is told again at `retry`. (Telling it
    /// twice changes nothing.)
    mutating func updateFailed(retry: Moment) {
        guard let changes = updating else { return }
        updating = nil
        for change in changes {
            let id = LocalDevice(user: change.user, device: change.device)
            // Redis is assumed to know the opposite of what is true now, so that it is told in any case.
            tell(id, (here[id]?.sessions ?? 0) == 0)
            changed.append(id)
        }
        flushAt = flushAt.map { min($0, retry) } ?? retry
    }

    // MARK: the roster

    /// A change of the roster, as clients are told of it.
    struct Difference: Equatable {
        var joined: [UserID] = []
        var left: [UserID] = []
        var isEmpty: Bool { joined.isEmpty && left.isEmpty }
    }

    /// Applies a notice. Nothing changes if it is old, if it waits for a read, or if a notice before it was missed
    /// (then ``wantsRoster`` is set). `node`: our own.
    mutating func apply(_ notice: PresenceNotice, node: NodeID) -> Difference {
        if reading != nil {
            if heardWhileReading.count < Self.heardLimit {
                heardWhileReading.append(notice)
            } else {
                wantsRoster = true
            }
            return Difference()
        }
        var difference = Difference()
        for (user, was) in change(notice, node: node).sorted(by: { $0.key.text < $1.key.text }) {
            let isThere = roster[user] != nil
            if isThere && !was, news.isListed(user) { difference.joined.append(user) }
            if !isThere && was, news.isUnlisted(user, isHere: sessions[user] != nil) { difference.left.append(user) }
        }
        return difference
    }

    /// Changes the roster by a notice that follows it. Returns the users that it is about, and whether each was listed
    /// before.
    private mutating func change(_ notice: PresenceNotice, node: NodeID) -> [UserID: Bool] {
        guard let position else { return [:] }
        // An old notice of the same stream was applied already. One of another stream shows that ours is gone, even if
        // that one begins lower: Redis' clock may have been set back.
        guard notice.position.epoch != position.epoch || notice.position.seq > position.seq else { return [:] }
        // The stream was empty when it was read, and has begun since.
        let begins = notice.after.seq == 0 && position.seq == 0
        guard notice.after == position || begins else {
            wantsRoster = true
            return [:]
        }
        self.position = notice.position
        var touched: [UserID: Bool] = [:]
        for change in notice.changes {
            if touched[change.user] == nil { touched[change.user] = roster[change.user] != nil }
            let (user, device) = kept(change.user, change.device, change.node, ourNode: node)
            change.joined ? add(user, device) : remove(user, device)
        }
        return touched
    }

    /// The same names, as the strings that our sessions hold already: each answer of Redis has strings of its own.
    private func kept(
        _ user: UserID, _ device: DeviceName, _ node: NodeID, ourNode: NodeID
    ) -> (UserID, RosterSnapshot.Device) {
        guard node == ourNode, let kept = here.keptKey(for: LocalDevice(user: user, device: device)) else {
            return (user, RosterSnapshot.Device(node: node, device: device))
        }
        return (kept.user, RosterSnapshot.Device(node: ourNode, device: kept.device))
    }

    private mutating func add(_ user: UserID, _ device: RosterSnapshot.Device) {
        if roster[user] == nil { roster[user] = Devices(first: device) } else { roster[user]?.insert(device) }
    }

    private mutating func remove(_ user: UserID, _ device: RosterSnapshot.Device) {
        if roster[user]?.remove(device) == false { roster[user] = nil }
    }

    /// The roster was asked for; only the answer with this serial counts from now on.
    mutating func readBegan(_ serial: UInt64) {
        reading = serial
        heardWhileReading = []
        partsRead = []
        wantsRoster = false
        readAt = nil
    }

    /// A part came, and the next one was asked for: only the answer with this serial counts from now on.
    mutating func readPart(_ part: RosterSnapshot, next serial: UInt64) {
        add(part)
        reading = serial
    }

    /// The same user may be in two parts. Either will do, as notices say what changed between them.
    private mutating func add(_ part: RosterSnapshot) {
        if partsRead.isEmpty { partsRead = [ReadSoFar()] }
        if partsRead[0].roster == nil {
            partsRead[0].roster = part
        } else {
            partsRead[0].roster?.members.merge(part.members) { $1 }
        }
    }

    /// If another read is wanted, it is due at `moment`.
    mutating func readAgain(at moment: Moment) {
        if wantsRoster { readAt = moment }
    }

    /// The read failed: another is due at `retry`.
    mutating func readFailed(retry: Moment) {
        reading = nil
        heardWhileReading = []
        partsRead = []
        wantsRoster = true
        readAt = retry
    }

    /// Takes over a roster whose last part is `lastPart`, and the notices that were heard meanwhile. Returns how it
    /// differs from what clients were told. If Redis lists devices of this node that have left, it is told so at
    /// `flush`.
    mutating func replace(with lastPart: RosterSnapshot, node: NodeID, flush: Moment) -> Difference {
        add(lastPart)
        let snapshot = partsRead.first?.roster ?? lastPart
        let told = partsRead.first?.told ?? []
        partsRead = []
        let first = position == nil
        let before = roster
        // The position is that of the first part; notices that were heard since are applied to it.
        position = snapshot.position
        roster = SmallDictionary()
        if comparesOurs { compareOurs(snapshot, told: told, node: node, flush: flush) }
        for (user, devices) in snapshot.members {
            for device in devices {
                let (user, device) = kept(user, device.device, device.node, ourNode: node)
                add(user, device)
            }
        }
        reading = nil
        let heard = heardWhileReading
        heardWhileReading = []
        for notice in heard { _ = change(notice, node: node) }
        var difference = Difference()
        // The first roster of a room is no news, as joins waited for it.
        guard !first else {
            for user in news.others where roster[user] != nil { _ = news.isListed(user) }
            return difference
        }
        for user in roster.keys.sorted(by: { $0.text < $1.text }) where before[user] == nil && news.isListed(user) {
            difference.joined.append(user)
        }
        for user in before.keys.sorted(by: { $0.text < $1.text })
        where roster[user] == nil && news.isUnlisted(user, isHere: sessions[user] != nil) {
            difference.left.append(user)
        }
        return difference
    }

    private mutating func compareOurs(
        _ snapshot: RosterSnapshot, told: Set<LocalDevice>, node: NodeID, flush: Moment
    ) {
        comparesOurs = false
        for (user, devices) in snapshot.members {
            for device in devices where device.node == node {
                let id = LocalDevice(user: user, device: device.device)
                // What Redis was told during the read is newer than its parts (simulator, seed 3027172).
                guard here[id]?.isTold != true, !told.contains(id) else { continue }
                // Redis lists the device, so it has to be told when the device leaves (simulator, seed 3769).
                tell(id, true)
                guard (here[id]?.sessions ?? 0) == 0 else { continue }
                changed.append(id)
                flushAt = flushAt.map { min($0, flush) } ?? flush
            }
        }
    }

    /// The roster in the answer to a join, with the user who joins; only its size if it has more than `limit` users.
    func joinedRoster(including user: UserID, limit: Int) -> (members: [RosterMember]?, count: Int) {
        var unlisted = news.others
        if roster[user] == nil, !unlisted.contains(user) { unlisted.append(user) }
        let count = roster.count + unlisted.count
        guard count <= limit else { return (nil, count) }
        var list = roster.map { RosterMember(user: $0.key, devices: $0.value.names.sorted { $0.text < $1.text }) }
        for user in unlisted { list.append(RosterMember(user: user, devices: localDevices(of: user))) }
        return (list.sorted { $0.user.text < $1.user.text }, count)
    }

    /// One page of members in the order of their names.
    func page(after cursor: String?, limit: Int) -> RosterPage {
        RosterPage(of: roster.keys + news.others, after: cursor, limit: limit) {
            roster[$0]?.names ?? localDevices(of: $0)
        }
    }

    private func localDevices(of user: UserID) -> [DeviceName] {
        here.filter { $0.value.sessions > 0 && $0.key.user == user }.map(\.key.device).sorted { $0.text < $1.text }
    }
}

// MARK: a room at rest

extension RoomPresence {
    /// Whether nothing has to be told or read, and the roster has at most `limit` users.
    func isSettled(limit: Int) -> Bool {
        updating == nil && flushAt == nil && changed.isEmpty && !comparesOurs && !wantsRoster && readAt == nil
            && reading == nil
            && heardWhileReading.isEmpty && partsRead.isEmpty && news.isSettled && position != nil
            && roster.count <= limit && here.count <= limit
            && here.allSatisfy { $0.value.isTold && $0.value.sessions > 0 }
            && roster.allSatisfy { $0.value.others.count < limit }
    }

    /// Packs the roster of a settled presence. Our own devices follow from the room's members.
    func pack(into packed: inout PackedBytesWriter) {
        packed.add(position ?? Position(epoch: 0, seq: 0))
        packed.add(UInt64(roster.count))
        for (user, devices) in roster.sorted(by: { $0.key.text < $1.key.text }) {
            packed.add(name: user.text)
            packed.add(UInt64(devices.others.count))
            let others = devices.others.sorted { ($0.node.text, $0.device.text) < ($1.node.text, $1.device.text) }
            for device in [devices.first] + others {
                packed.add(name: device.node.text)
                packed.add(name: device.device.text)
            }
        }
    }

    init(_ packed: inout PackedBytesReader, node: NodeID, members: SmallDictionary<SessionID, RoomMember>) {
        for (_, member) in members {
            here[LocalDevice(user: member.user, device: member.device), default: Here(isTold: true)].sessions += 1
            sessions[member.user] = (sessions[member.user] ?? 0) + 1
        }
        position = packed.position()
        for _ in 0..<packed.number() {
            let user = UserID(kept: packed.name())
            for _ in 0...packed.number() {
                let holder = NodeID(kept: packed.name())
                let (kept, device) = kept(user, DeviceName(kept: packed.name()), holder, ourNode: node)
                add(kept, device)
            }
        }
        let unlisted = sessions.keys.filter { roster[$0] == nil }
        if !unlisted.isEmpty { news = PresenceNews(unlisted: unlisted) }
    }
}

// MARK: invariants

extension RoomPresence {
    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(changed.isEmpty || flushAt != nil, "a change that Redis was not told of is due at some moment")
        assert(updating.map { !$0.isEmpty && $0.count <= Self.updateLimit } ?? true, "an update has a bounded size")
        assert(reading != nil || (heardWhileReading.isEmpty && partsRead.isEmpty), "notices wait only for a read")
        assert(partsRead.count <= 1)
        // Large rooms are left out, as tests would take long.
        guard here.count <= 64 else { return }
        assert(
            sessions.reduce(0) { $0 + Int($1.value) } == localSessions,
            "the sessions of users and those of devices are the same")
    }
}
