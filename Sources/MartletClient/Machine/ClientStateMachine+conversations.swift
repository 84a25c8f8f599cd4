public import ChatCore

extension ClientStateMachine {
    /// How often a room's read position is told at most.
    static let readInterval: Duration = .seconds(1)
    /// The most rooms that one `watch` names.
    static let watchedAtOnce = InboxRequest.mostNames

    /// Changes earlier messages. A request without a key gets one, so that it is done once, however often it is made.
    public mutating func amend(_ request: AmendRequest, now: Moment) -> RequestID {
        var request = request
        if request.key == nil { request.key = keyPrefix + String(nextSerial, radix: 36) }
        let amend = ClientRequest(ref: Ref(serial: nextSerial), body: .amend(request))
        if let problem = tooLong("the new text", amend, bytes: request.byteCount) { return refuse(problem) }
        return lookUp(.amend(request), now, timeout: options.sendTimeout)
    }

    /// Refuses changes that were asked for before this node said how long a frame may be.
    mutating func refuseLongAmendments() {
        for lookup in lookups {
            guard case .amend(let request) = lookup.body,
                let problem = tooLong(
                    "the new text", ClientRequest(ref: Ref(serial: lookup.id), body: lookup.body),
                    bytes: request.byteCount)
            else { continue }
            lookups.removeAll { $0.id == lookup.id }
            actions.append(.complete(lookup.id, .failure(.badArgument(problem))))
        }
    }

    /// Changes or reads who belongs to a conversation.
    public mutating func converse(_ order: ConversationOrder, now: Moment) -> RequestID {
        lookUp(.conversation(order), now)
    }

    /// Notes that the user has read the room up to that position. It is told at most once a second, only forwards, and
    /// until a node has answered, however long that takes; there is no answer to wait for.
    public mutating func read(_ room: RoomName, _ position: Position, now: Moment) {
        let earlier = reads[room]
        // A log that lost its end goes on in a later epoch with lower seqs, which are not read yet.
        guard connection != .closed, position.seq > 0, earlier.map({ position > $0.position }) ?? true else { return }
        reads[room] = ReadProgress(position: position, at: earlier?.at ?? now)
        let body = ClientRequest.Body.inbox(.read(room: room, position: position))
        if let index = lookups.firstIndex(where: { !$0.written && $0.isRead(of: room) }) {
            lookups[index].body = body
            return
        }
        var due: Moment?
        if let earlier, now < earlier.at + Self.readInterval { due = earlier.at + Self.readInterval }
        reads[room]?.at = due ?? now
        lookups.append(
            Lookup(id: serial(), body: body, deadline: now + options.requestTimeout, written: false, pausedUntil: due))
        pump(now)
    }

    /// Makes a position that no node has answered in time wait for its answer again, unless a later one of the room
    /// waits already. (Positions are told again and again, so nothing is lost while the client is not connected.)
    mutating func keepReads(_ now: Moment) {
        for index in lookups.indices.reversed() where lookups[index].deadline <= now {
            guard case .inbox(.read(let room, _)) = lookups[index].body else { continue }
            if lookups[(index + 1)...].contains(where: { $0.isRead(of: room) }) {
                lookups.remove(at: index)
            } else {
                lookups[index].deadline = now + options.requestTimeout
                lookups[index].written = false
            }
        }
    }

    /// Asks about the user's conversations. Rooms that are watched are watched on every later connection, too.
    public mutating func ask(_ request: InboxRequest, now: Moment) -> RequestID {
        var added: [RoomName] = []
        switch request {
        case .watch(let rooms):
            for room in rooms where !watched.contains(room) {
                watched.append(room)
                added.append(room)
            }
        case .unwatch(let rooms): watched.removeAll { rooms.contains($0) }
        case .read, .list, .online, .showLastSeen: break
        }
        return lookUp(.inbox(request), now, added: added)
    }

    /// A new connection knows nothing of what is watched.
    mutating func watchAgain(_ now: Moment) {
        // Those that are still to be asked are asked anyway.
        var rooms = watched[...]
        while !rooms.isEmpty {
            let some = Array(rooms.prefix(Self.watchedAtOnce))
            rooms = rooms.dropFirst(Self.watchedAtOnce)
            let body = ClientRequest.Body.inbox(.watch(some))
            guard !lookups.contains(where: { $0.body == body }) else { continue }
            lookups.append(Lookup(id: serial(), body: body, deadline: now + options.requestTimeout))
        }
    }

    /// A node refuses for good that rooms are watched. Those that only this request has added are forgotten. Of several
    /// that were watched before, each is asked for by itself, as one of them may be the reason.
    mutating func watchRefused(_ lookup: Lookup, _ now: Moment) {
        guard case .inbox(.watch(let rooms)) = lookup.body else { return }
        guard lookup.added.isEmpty, rooms.count > 1 else {
            let refused = lookup.added.isEmpty ? rooms : lookup.added
            watched.removeAll { refused.contains($0) }
            return
        }
        for room in rooms where watched.contains(room) {
            lookups.append(
                Lookup(
                    id: serial(), body: .inbox(.watch([room])), deadline: now + options.requestTimeout, added: [room]))
        }
        pump(now)
    }

    /// An answer or an event about conversations.
    mutating func received(_ event: InboxEvent) {
        switch event {
        case .read(let ref, _, _), .page(let ref, _), .watching(let ref, _), .online(let ref, _),
            .lastSeen(let ref, _):
            answered(ref, .inbox(event))
        case .head(let head): actions.append(.emit(.head(head)))
        case .receipts(let room, let reads): actions.append(.emit(.receipts(room, reads)))
        case .notice(let notice): actions.append(.emit(.notice(notice)))
        }
    }
}

/// Up to where a room was read, and when that was or is to be told.
struct ReadProgress: Equatable, Sendable {
    var position: Position
    var at: Moment
}

extension Lookup {
    /// Whether it tells what was read, for which nobody waits.
    var isRead: Bool { if case .inbox(.read) = body { true } else { false } }

    func isRead(of room: RoomName) -> Bool {
        guard case .inbox(.read(let name, _)) = body else { return false }
        return name == room
    }
}
