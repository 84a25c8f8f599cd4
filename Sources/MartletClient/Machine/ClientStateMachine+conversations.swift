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
        if let most = welcome?.limits.frameBytes, request.byteCount * 6 + 2_048 > most {
            return refuse("the new text is too long: \(request.byteCount) bytes, and a frame has at most \(most)")
        }
        return lookUp(.amend(request), now, timeout: options.sendTimeout)
    }

    /// Changes or reads who belongs to a conversation.
    public mutating func converse(_ order: ConversationOrder, now: Moment) -> RequestID {
        lookUp(.conversation(order), now)
    }

    /// Notes that the user has read the room up to that position. It is told at most once a second, only forwards, and
    /// again after a lost connection; there is no answer to wait for.
    public mutating func read(_ room: RoomName, _ position: Position, now: Moment) {
        guard connection != .closed, position.seq > reads[room]?.position.seq ?? 0 else { return }
        let earlier = reads[room]
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

    /// Asks about the user's conversations. Rooms that are watched are watched on every later connection, too.
    public mutating func ask(_ request: InboxRequest, now: Moment) -> RequestID {
        switch request {
        case .watch(let rooms): for room in rooms where !watched.contains(room) { watched.append(room) }
        case .unwatch(let rooms): watched.removeAll { rooms.contains($0) }
        case .read, .list, .online: break
        }
        return lookUp(.inbox(request), now)
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

    /// An answer or an event about conversations.
    mutating func received(_ event: InboxEvent) {
        switch event {
        case .read(let ref, _, _), .page(let ref, _), .watching(let ref, _), .online(let ref, _):
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
    func isRead(of room: RoomName) -> Bool {
        guard case .inbox(.read(let name, _)) = body else { return false }
        return name == room
    }
}
