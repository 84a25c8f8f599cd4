/// Who is in a room: the devices that are here on this node, what of that Redis has been told, and the roster as the presence
/// stream adds up to it. Part of ``RoomStateMachine``.
struct RoomPresence: Sendable {
    struct LocalDevice: Hashable, Sendable {
        var user: UserID
        var device: DeviceName
    }

    let node: NodeID
    /// Up to this many members are named to clients; above it, counted.
    let inlineLimit: Int

    /// Our sessions, by user and device: how many of each.
    var local: [LocalDevice: Int] = [:]
    /// What Redis has been told of our devices.
    private var told: Set<LocalDevice> = []
    /// Devices that may differ from what was told, in the order in which they changed.
    private var changed: [LocalDevice] = []
    /// When the changes go out.
    private(set) var flushAt: Moment?
    /// What is on its way.
    private(set) var updating: [PresenceChange]?
    /// Everything has to be told again: after `enter`.
    private var tellsAll = false

    /// The roster at `position` of the presence stream; nil: not read yet.
    private(set) var position: Position?
    private(set) var members: [UserID: Set<RosterSnapshot.Device>] = [:]
    /// A notice was missed, or a read failed: read the roster (again), not before `readAt`.
    private(set) var wantsRoster = false
    private(set) var readAt: Moment?
    /// The read that is on its way. Notices heard meanwhile wait for it: its answer may be older than they are.
    private(set) var reading: UInt64?
    private var heardWhileReading: [PresenceNotice] = []
    private static let heardLimit = 256

    init(node: NodeID, inlineLimit: Int) {
        self.node = node
        self.inlineLimit = inlineLimit
    }

    var isUpdating: Bool { updating != nil }

    // MARK: our own devices

    mutating func came(_ user: UserID, _ device: DeviceName, now flush: Moment) {
        let id = LocalDevice(user: user, device: device)
        local[id, default: 0] += 1
        if local[id] == 1 { note(id, flush) }
    }

    mutating func went(_ user: UserID, _ device: DeviceName, now flush: Moment) {
        let id = LocalDevice(user: user, device: device)
        guard let count = local[id] else { return }
        if count > 1 {
            local[id] = count - 1
        } else {
            local[id] = nil
            note(id, flush)
        }
    }

    private mutating func note(_ id: LocalDevice, _ flush: Moment) {
        changed.append(id)
        if flushAt == nil { flushAt = flush }
    }

    /// We entered (again): Redis may have forgotten what we told it.
    mutating func noteEntered(now: Moment) {
        tellsAll = true
        updating = nil
        flushAt = now
    }

    /// The changes to tell, if it is time and nothing else is on its way.
    mutating func takeUpdate(now: Moment) -> (replacesAll: Bool, changes: [PresenceChange])? {
        guard let flushAt, flushAt <= now, updating == nil else { return nil }
        self.flushAt = nil
        var changes: [PresenceChange] = []
        let replacesAll = tellsAll
        if replacesAll {
            changes = local.keys.map { PresenceChange(user: $0.user, device: $0.device, joined: true) }
                .sorted { ($0.user.text, $0.device.text) < ($1.user.text, $1.device.text) }
        } else {
            var seen: Set<LocalDevice> = []
            for id in changed where seen.insert(id).inserted {
                let here = local[id] != nil
                if here != told.contains(id) {
                    changes.append(PresenceChange(user: id.user, device: id.device, joined: here))
                }
            }
        }
        changed = []
        guard replacesAll || !changes.isEmpty else { return nil }
        updating = changes
        return (replacesAll, changes)
    }

    /// Redis took the update.
    mutating func updateSucceeded() {
        guard let changes = updating else { return }
        updating = nil
        if tellsAll { told = [] }
        tellsAll = false
        for change in changes {
            let id = LocalDevice(user: change.user, device: change.device)
            if change.joined { told.insert(id) } else { told.remove(id) }
        }
    }

    /// Redis did not take it: everything is told again at `retry`.
    mutating func updateFailed(retry: Moment) {
        updating = nil
        tellsAll = true
        flushAt = retry
    }

    // MARK: the roster

    /// A change of members, as clients are told it.
    struct Difference: Equatable {
        var joined: [UserID] = []
        var left: [UserID] = []
        var isEmpty: Bool { joined.isEmpty && left.isEmpty }
    }

    /// Applies a notice. Empty if it is old, or waits for a read, or if something was missed before it (then ``wantsRoster``).
    mutating func apply(_ notice: PresenceNotice) -> Difference {
        if reading != nil {
            if heardWhileReading.count < Self.heardLimit {
                heardWhileReading.append(notice)
            } else {
                wantsRoster = true
            }
            return Difference()
        }
        guard let position else { return Difference() }
        guard notice.position > position else { return Difference() }
        // A stream that was empty when we read it has begun since.
        let begins = notice.after.seq == 0 && position.seq == 0
        guard notice.after == position || begins else {
            wantsRoster = true
            return Difference()
        }
        self.position = notice.position
        var difference = Difference()
        var touched: [UserID: Bool] = [:]
        for change in notice.changes {
            let was = members[change.user] != nil
            if touched[change.user] == nil { touched[change.user] = was }
            let device = RosterSnapshot.Device(node: change.node, device: change.device)
            if change.joined {
                members[change.user, default: []].insert(device)
            } else {
                members[change.user]?.remove(device)
                if members[change.user]?.isEmpty == true { members[change.user] = nil }
            }
        }
        for (user, was) in touched.sorted(by: { $0.key.text < $1.key.text }) {
            let isThere = members[user] != nil
            if isThere && !was { difference.joined.append(user) }
            if !isThere && was { difference.left.append(user) }
        }
        return difference
    }

    /// The roster was asked for; only the answer with this serial counts from now on.
    mutating func readBegan(_ serial: UInt64) {
        reading = serial
        heardWhileReading = []
        wantsRoster = false
        readAt = nil
    }

    /// If another read is wanted, it begins at `moment`.
    mutating func readAgain(at moment: Moment) {
        if wantsRoster { readAt = moment }
    }

    /// The read had no answer: another is wanted at `retry`.
    mutating func readFailed(retry: Moment) {
        reading = nil
        heardWhileReading = []
        wantsRoster = true
        readAt = retry
    }

    /// Takes over a roster that was read, and what was heard meanwhile. Returns how it differs from what clients have been told.
    mutating func replace(with snapshot: RosterSnapshot) -> Difference {
        let first = position == nil
        let before = members
        position = snapshot.position
        members = snapshot.members
        reading = nil
        let heard = heardWhileReading
        heardWhileReading = []
        for notice in heard { _ = apply(notice) }
        guard !first else { return Difference() }
        var difference = Difference()
        difference.joined = members.keys.filter { before[$0] == nil }.sorted { $0.text < $1.text }
        difference.left = before.keys.filter { members[$0] == nil }.sorted { $0.text < $1.text }
        return difference
    }

    /// What a `joined` tells: the roster with the user who joins, or its size alone.
    func joinedRoster(including user: UserID) -> (members: [RosterMember]?, count: Int) {
        let count = members.count + (members[user] == nil ? 1 : 0)
        guard count <= inlineLimit else { return (nil, count) }
        var list = members.map { RosterMember(user: $0.key, devices: devices(of: $0.key)) }
        if members[user] == nil { list.append(RosterMember(user: user, devices: devices(of: user))) }
        return (list.sorted { $0.user.text < $1.user.text }, count)
    }

    /// One page of members in the order of their names.
    func page(after cursor: String?, limit: Int) -> RosterPage {
        let snapshot = RosterSnapshot(position: position ?? Position(epoch: 0, seq: 0), members: members)
        return snapshot.page(after: cursor, limit: limit)
    }

    private func devices(of user: UserID) -> [DeviceName] {
        var names = Set((members[user] ?? []).map(\.device))
        if members[user] == nil {
            for id in local.keys where id.user == user { names.insert(id.device) }
        }
        return names.sorted { $0.text < $1.text }
    }
}
