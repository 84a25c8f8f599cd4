import ChatCore

/// SUBSCRIBE, UNSUBSCRIBE, ACK and NACK.
extension StompConnection {
    private static let longestName = 256
    private static let longestDestination = 1_024
    private static let mostPrefetched = 1_000

    private var subscriptions: Int { rooms.values.reduce(errors == nil ? 0 : 1) { $0 + $1.subscriptions.count } }

    func subscribe(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        let destination = try destination(of: frame)
        let id = frame["id"]
        guard id != nil || version == .v10 else { throw Self.missing("id", "SUBSCRIBE") }
        guard id?.utf8.count ?? 0 <= Self.longestName else {
            throw StompFault("Invalid header", "An id may have \(Self.longestName) bytes.\n")
        }
        let name = id ?? destination
        guard !isTaken(name) else {
            throw StompFault(
                "Duplicated subscription identifier", "A subscription identified by '\(name)' already exists.")
        }
        guard subscriptions < 4 * limits.roomsPerSession else {
            throw StompFault("Too many subscriptions", "There may be \(4 * limits.roomsPerSession) of them.\n")
        }
        try refuseWhatALogHasNot(frame)
        let room: RoomName?
        var layout = StompLayout.plain
        switch try StompDestination.read(destination) {
        case .room(let name, let shown): (room, layout) = (name, shown)
        case .errors: room = nil
        case .roomInBody:
            throw StompFault(
                "Invalid destination", "'\(destination)' names no room: the body of a SEND does that there.\n")
        }
        nextSubscription += 1
        let prefix = StompMessage.prefix(subscription: id, destination: destination, version)
        let subscription = StompSubscription(
            serial: nextSubscription, id: id, destination: destination, layout: layout, acks: try acks(frame),
            prefetch: try prefetch(frame), start: try start(frame), receipt: frame["receipt"],
            prefix: shared.prefixes.prefix(prefix), version)
        guard let room else {
            errors = subscription
            return receipt(frame, give)
        }
        let entry = entry(room)
        entry.subscriptions.append(subscription)
        tend(entry, give)
        if asked.takeRefused() { retrySoon() }
    }

    private func isTaken(_ name: String) -> Bool {
        errors?.name == name || rooms.values.contains { $0.subscriptions.contains { $0.name == name } }
    }

    func destination(of frame: StompFrame) throws(StompFault) -> String {
        guard let destination = frame["destination"] else {
            throw StompFault("Missing destination", "'\(frame.command)' must include a 'destination' header\n")
        }
        guard destination.utf8.count <= Self.longestDestination else {
            throw StompFault("Invalid destination", "A destination may have \(Self.longestDestination) bytes.\n")
        }
        return destination
    }

    static func missing(_ header: String, _ command: String) -> StompFault {
        StompFault("Missing header", "'\(command)' must include the '\(header)' header\n")
    }

    private func refuseWhatALogHasNot(_ frame: StompFrame) throws(StompFault) {
        if frame["durable"] == "true" || frame["persistent"] == "true" {
            throw StompFault(
                "Invalid header",
                "There are no durable subscriptions. Every room keeps its messages: subscribe with martlet-after and "
                    + "the message-id of the last message that was seen.\n")
        }
        if frame["selector"] != nil {
            throw StompFault("Invalid header", "There are no selectors: all members of a room get all messages.\n")
        }
    }

    private func acks(_ frame: StompFrame) throws(StompFault) -> StompAcks {
        switch frame["ack"] {
        case nil, "auto": return .auto
        case "client": return .client
        case "client-individual": return .individual
        default: throw StompFault("Invalid header", "ack must be auto, client or client-individual\n")
        }
    }

    private func prefetch(_ frame: StompFrame) throws(StompFault) -> Int {
        guard let text = frame["prefetch-count"] else { return 0 }
        guard let count = Int(text.trimmingBlanks), count >= 0 else {
            throw StompFault("Invalid header", "prefetch-count must be a number\n")
        }
        return min(count, Self.mostPrefetched)
    }

    private func start(_ frame: StompFrame) throws(StompFault) -> StompSubscription.Start {
        if let text = frame["martlet-after"] {
            guard let position = Position(text) else {
                throw StompFault("Invalid header", "martlet-after must be the message-id of a message\n")
            }
            return .after(position)
        }
        switch frame["x-stream-offset"] {
        case nil, "next": return .next
        case "last": return .last
        case "first": return .after(Position(epoch: 0, seq: 0))
        case let text?:
            if text.hasPrefix("offset="), let position = Position(text.dropFirst("offset=".count)) {
                return .after(position)
            }
            throw StompFault(
                "Invalid header",
                "x-stream-offset must be first, last, next, or offset= with the message-id of the last message that "
                    + "was seen. A subscription cannot begin at a time.\n")
        }
    }

    func entry(_ name: RoomName) -> StompRoom {
        if let room = room(name) { return room }
        let room = StompRoom(name)
        rooms[name] = room
        recent = room
        return room
    }

    // MARK: Membership

    /// Does for the room what can be done now.
    func tend(_ room: StompRoom, _ give: Give) {
        guard room.membership != .joining else { return }
        let wanted = room.subscriptions.filter { $0.phase == .wanted }
        if !wanted.isEmpty { begin(wanted, in: room, give) }
        for subscription in room.subscriptions where subscription.needsPage {
            let query = HistoryQuery(
                anchor: .after(subscription.last ?? Position(epoch: 0, seq: 0)), limit: subscription.pageLength)
            subscription.isPaging = true
            let question = StompRequests.Question.page(room.name, subscription: subscription.serial)
            if !ask(.history(room: room.name, query: query), question, give) { subscription.isPaging = false }
        }
        if let position = room.reading.take() {
            let body = ClientRequest.Body.inbox(.read(room: room.name, position: position))
            // If a rate refused it, the next ACK tells more.
            if !ask(body, .read(room.name), give) { room.reading.answered() }
        }
        if room.shouldLeave, room.isIdle { leave(room, give) }
    }

    private func begin(_ wanted: [StompSubscription], in room: StompRoom, _ give: Give) {
        room.shouldLeave = false
        var after: Position?
        for subscription in wanted {
            let from: Position?
            switch subscription.start {
            case .after(let position): from = position
            case .last where room.membership == .joined: from = room.last?.previous
            case .last, .next: from = nil
            }
            if let from { after = min(after ?? from, from) }
        }
        if room.membership == .joined, after == nil {
            // Nothing is asked for that the room has sent before.
            for subscription in wanted { goLive(subscription, last: room.last) { give(.say($0, isText: $1)) } }
            return
        }
        let needsNewest = wanted.contains { $0.start == .last }
        for subscription in wanted { subscription.phase = .waiting }
        guard join(room, after: after, history: needsNewest ? 1 : 0, give) else {
            for subscription in wanted { subscription.phase = .wanted }
            return
        }
    }

    /// Asks to join. False if a rate refused it.
    func join(_ room: StompRoom, after: Position?, history: Int, _ give: Give) -> Bool {
        let before = room.membership
        room.membership = .joining
        room.failure = nil
        if ask(.join(room: room.name, after: after, history: history), .join(room.name), give) { return true }
        room.membership = before
        return false
    }

    func leave(_ room: StompRoom, _ give: Give) {
        guard room.membership == .joined else {
            forget(room)
            return
        }
        if ask(.leave(room: room.name), .leave(room.name), give) {
            forget(room)
        } else {
            room.shouldLeave = true
        }
    }

    func forget(_ room: StompRoom) {
        room.membership = .none
        rooms[room.name] = nil
        if recent === room { recent = nil }
    }

    /// The subscription gets the messages after `last` from now on, and its receipt.
    func goLive(_ subscription: StompSubscription, last: Position?, _ say: ([UInt8], Bool) -> Void) {
        subscription.phase = .live
        subscription.last = last
        if let id = subscription.receipt { say(StompAnswer.receipt(id, version), true) }
        subscription.receipt = nil
    }

    func unsubscribe(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        guard let name = frame["id"] ?? (version == .v10 ? frame["destination"] : nil) else {
            throw StompFault(
                "Missing destination or id", "UNSUBSCRIBE must include a 'destination' or 'id' header")
        }
        if errors?.name == name {
            errors = nil
            return receipt(frame, give)
        }
        for room in rooms.values {
            guard let index = room.subscriptions.firstIndex(where: { $0.name == name }) else { continue }
            let subscription = room.subscriptions.remove(at: index)
            room.shouldLeave = room.subscriptions.isEmpty
            // It may not have begun yet: nobody waits for an answer in vain.
            if let id = subscription.receipt { give(.say(StompAnswer.receipt(id, version), isText: true)) }
            receipt(frame, give)
            tend(room, give)
            if asked.takeRefused() { retrySoon() }
            return
        }
        throw StompFault(
            "No subscription found",
            "UNSUBSCRIBE must refer to an existing subscription.\nSubscription to '\(name.prefix(256))' not found.\n")
    }
}
