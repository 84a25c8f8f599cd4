extension MemoryRoom {
    /// The answer of `martlet_presence`. Returns nil if the node is not in the room with that epoch.
    mutating func change(_ request: PresenceRequest, now: UInt64) -> PresenceReply? {
        guard nodes[request.node] == request.value else { return nil }
        var changes: [PresenceNotice.Change] = []
        for change in request.changes {
            apply(change.user, change.device, request.node, joined: change.joined, &changes)
        }
        return record(changes, now: now)
    }

    /// Removes the users in one part of a large roster, as far as they are on that node. Returns nil if the rest is
    /// small enough, or if none of them is left.
    mutating func leavePart(_ node: NodeID, value: UInt64, now: UInt64, limit: Int) -> [ChannelEvent]? {
        guard nodes[node] == value, nodes.count > 1 else { return nil }
        let leaving = devices(of: node)
        guard leaving.count > limit else { return nil }
        var changes: [PresenceNotice.Change] = []
        for device in leaving.prefix(limit) { apply(device.user, device.device, node, joined: false, &changes) }
        return record(changes, now: now).notice.map { [.presence($0)] } ?? []
    }

    /// Takes the node out. Returns nil if it is not in the room with that epoch; otherwise the events for the others. A
    /// new epoch keeps a node that was swept, but was only held up, from appending.
    mutating func leave(_ node: NodeID, value: UInt64, isOwn: Bool, now: UInt64, expires: UInt64) -> [ChannelEvent]? {
        guard nodes[node] == value else { return nil }
        nodes[node] = nil
        var changes: [PresenceNotice.Change] = []
        // When no node is left all devices are removed, including those of nodes that are not in the room.
        let gone = nodes.isEmpty ? Array(Set(roster.values.flatMap { $0.keys })).sorted() : [node]
        for node in gone {
            for device in devices(of: node) { apply(device.user, device.device, node, joined: false, &changes) }
        }
        let notice = record(changes, now: now).notice
        if nodes.isEmpty {
            // No message was ever stored, and no epoch below this one can begin again.
            if let log, log.last.seq == 0, log.entries.isEmpty, log.last.epoch <= now, moderation.version == 0 {
                self = MemoryRoom()
                return []
            }
            let expires = self.expires(expires, now: now)
            logExpires = expires
            restExpires = expires
            rulesExpire = expires
            return []
        }
        // A node can leave a room even if its log is damaged.
        let last = problem(now: now) == nil ? log?.last ?? Self.nowhere : Self.nowhere
        var events: [ChannelEvent] = [.gone(node, value: value, nodes: nodes, last: last)]
        if let notice { events.append(.presence(notice)) }
        if !isOwn, last != Self.nowhere { events += fence(now: now) }
        return events
    }

    /// A part of the users, with the guarantee of HSCAN: a user who is in the room while all parts are read is in one
    /// of them, whoever else comes and goes.
    func snapshot(cursor: UInt64, limit: Int) -> RosterSnapshot {
        var members: [UserID: Set<RosterSnapshot.Device>] = [:]
        let (part, next) = MemoryParts.part(of: Array(roster), from: cursor, limit: limit) { $0.key.text }
        for (user, byNode) in part {
            for (node, devices) in byNode {
                for device in devices { members[user, default: []].insert(.init(node: node, device: device)) }
            }
        }
        let sound = presence.flatMap { $0.isWithinBounds ? $0 : nil }
        return RosterSnapshot(
            position: sound ?? Self.nowhere, members: members, count: roster.count, cursor: next)
    }

    private struct UserDevice: Hashable {
        var user: UserID
        var device: DeviceName
    }

    /// In the order of names, so that the same history always gives the same result.
    private func devices(of node: NodeID) -> [UserDevice] {
        roster.flatMap { user, byNode in (byNode[node] ?? []).map { UserDevice(user: user, device: $0) } }
            .sorted { ($0.user.text, $0.device.text) < ($1.user.text, $1.device.text) }
    }

    /// Records the change in roster and list, unless the roster contains it already.
    private mutating func apply(
        _ user: UserID, _ device: DeviceName, _ node: NodeID, joined: Bool, _ changes: inout [PresenceNotice.Change]
    ) {
        var byNode = roster[user] ?? [:]
        var devices = byNode[node] ?? []
        let place = devices.firstIndex(of: device)
        guard joined == (place == nil) else { return }
        if let place { devices.remove(at: place) } else { devices.append(device) }
        byNode[node] = devices.isEmpty ? nil : devices
        roster[user] = byNode.isEmpty ? nil : byNode
        changes.append(PresenceNotice.Change(user: user, device: device, node: node, joined: joined))
    }

    /// Assigns positions in the presence stream to the changes. The stream begins with the first one.
    private mutating func record(_ changes: [PresenceNotice.Change], now: UInt64) -> PresenceReply {
        guard !changes.isEmpty else {
            let sound = presence.flatMap { isSound($0, now: now) ? $0 : nil }
            return PresenceReply(position: sound ?? Self.nowhere, notice: nil)
        }
        // A stream whose last ID cannot be a node's counts as lost.
        let after = presence.flatMap { isSound($0, now: now) ? $0 : nil } ?? Position(epoch: now, seq: 0)
        let position = Position(epoch: after.epoch, seq: after.seq + UInt64(changes.count))
        presence = position
        return PresenceReply(
            position: position,
            notice: PresenceNotice(after: after, position: position, changes: changes, count: roster.count))
    }
}

/// Reads a collection in parts that stay valid while it changes between them: in the order of the elements' hashes,
/// with the hash of the next element as cursor.
enum MemoryParts {
    static func part<Element>(
        of all: [Element], from cursor: UInt64, limit: Int, name: (Element) -> String
    ) -> (part: [Element], next: UInt64) {
        if all.count <= limit, cursor == 0 { return (all, 0) }
        // 0 is both the first cursor and the mark of the last part, so no hash is 0.
        let hashed = all.map { (hash: max(1, StableHash(name($0)).value), element: $0) }.sorted { $0.hash < $1.hash }
        let rest = hashed.drop { $0.hash < cursor }
        let part = rest.prefix(max(1, limit))
        return (part.map(\.element), part.endIndex < rest.endIndex ? rest[part.endIndex].hash : 0)
    }
}
