import ChatCore

/// SEND, BEGIN, COMMIT and ABORT.
extension StompConnection {
    private static let mostTransactions = 16
    /// Rooms without a subscription that the connection has sent to.
    private static let mostVisited = 16

    func send(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        for header in ["message-id", "redelivered"] where frame[header] != nil {
            throw StompFault("Invalid header", "'\(header)' is not allowed on 'SEND'.\n")
        }
        let item = StompSends.Item(request: try request(frame), receipt: frame["receipt"])
        if let name = frame["transaction"] {
            guard var transaction = transactions[name] else { throw Self.unknown(transaction: name) }
            let bytes = transactions.values.reduce(item.request.byteCount) { $0 + $1.byteCount }
            guard transaction.count < StompTransaction.most, bytes <= limits.outboundBytes else {
                throw transactionTooLarge
            }
            transaction.sends.append(item)
            transactions[name] = transaction
            return
        }
        try enqueue([item])
        flush(give)
    }

    private func enqueue(_ items: [StompSends.Item]) throws(StompFault) {
        let bytes = items.reduce(0) { $0 + $1.request.byteCount }
        guard sends.takes(items.count, bytes: bytes, limits: limits) else {
            throw StompFault("Too many messages", "Too many SENDs wait until the rate allows them.\n")
        }
        for item in items { sends.append(item) }
    }

    private func flush(_ give: Give) {
        flushSends(give)
        if asked.takeRefused() { retrySoon() }
    }

    /// What the node is asked to store.
    private func request(_ frame: StompFrame) throws(StompFault) -> SendRequest {
        let destination = try destination(of: frame)
        var object = StompObject(frame.body)
        if let type = frame["content-type"], !StompContent.isJSON(type), !type.hasPrefix("text/plain") { object = nil }
        let room: RoomName
        var content: StompContent
        switch try StompDestination.read(destination) {
        case .room(let name, _):
            room = name
            content = StompContent(frame, object: object)
        case .errors: throw StompFault("Invalid destination", "'\(destination)' can only be subscribed to.\n")
        case .roomInBody(let isEntering):
            guard let known = object ?? StompObject(frame.body), let name = known.room else {
                throw StompFault(
                    "Invalid body", "'\(destination)' needs a body that is a JSON object with roomId.\n")
            }
            do throws(NameError) {
                room = try RoomName(name)
            } catch {
                throw StompFault("Invalid body", "roomId names no room: \(error)\n")
            }
            content = StompContent(frame, object: known)
            if isEntering || known.type == "ENTER", known.shownText == nil {
                // The servers of these tutorials write this text.
                entered(&content, known)
            }
        }
        guard content.byteCount <= limits.frameBytes else {
            throw StompFault("Frame too large", "A message may have \(limits.frameBytes) bytes.\n")
        }
        var request = SendRequest(room: room, text: content.text, data: content.data)
        if let key = frame["martlet-key"] { request.key = try Self.checked(key) }
        if frame["martlet-again"] == "true", request.key != nil { request.again = true }
        return request
    }

    private func entered(_ content: inout StompContent, _ object: StompObject) {
        let text = "\(user ?? "?")님이 입장하셨습니다."
        content = StompContent(text: text, data: object.saying(text))
    }

    private static func checked(_ key: String) throws(StompFault) -> String {
        do throws(WireError) {
            return try PostedMessage.checked(key: key, called: "martlet-key")
        } catch {
            throw StompFault("Invalid header", error.message + "\n")
        }
    }

    // MARK: Storing

    /// Asks the node to store what waits, in order, up to the first request that a rate refuses.
    func flushSends(_ give: Give) {
        while !isOver, let item = sends.first {
            guard let room = visit(item.request.room, give) else { return }
            if let failure = room.failure {
                sends.removeFirst()
                refuse(failure, receipt: item.receipt, isSend: true) { give(.say($0, isText: $1)) }
                continue
            }
            room.sendsWaiting += 1
            let question = StompRequests.Question.send(room.name, receipt: item.receipt, item.batch)
            guard ask(.send(item.request), question, give) else {
                room.sendsWaiting -= 1
                return
            }
            sends.removeFirst()
        }
    }

    /// The room, joined; nil if it cannot be joined now.
    private func visit(_ name: RoomName, _ give: Give) -> StompRoom? {
        let room = entry(name)
        uses += 1
        room.lastUse = uses
        room.shouldLeave = false
        guard room.membership == .none else { return room }
        makeSpace(besides: room, give)
        room.failure = nil
        return join(room, after: nil, history: 0, give) ? room : nil
    }

    /// Leaves the room that was not sent to for the longest time, if there are too many.
    private func makeSpace(besides room: StompRoom, _ give: Give) {
        let visited = rooms.values.filter { $0 !== room && $0.isIdle && $0.membership == .joined }
        guard visited.count >= Self.mostVisited || rooms.count > limits.roomsPerSession,
            let oldest = visited.min(by: { $0.lastUse < $1.lastUse })
        else { return }
        leave(oldest, give)
    }

    // MARK: Transactions

    static func unknown(transaction name: String) -> StompFault {
        StompFault("Bad transaction", "Invalid transaction identifier: '\(name.prefix(256))'\n")
    }

    var transactionTooLarge: StompFault {
        StompFault(
            "Transaction too large",
            "A transaction may have \(StompTransaction.most) frames, and those of a connection "
                + "\(limits.outboundBytes) bytes.\n")
    }

    func transact(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        guard let name = frame["transaction"] else {
            throw StompFault("Missing transaction", "'\(frame.command)' must include a 'transaction' header\n")
        }
        guard name.utf8.count <= 256 else { throw Self.unknown(transaction: name) }
        if frame.command == "BEGIN" {
            guard transactions[name] == nil else {
                throw StompFault("Bad transaction", "The transaction '\(name)' has begun already.\n")
            }
            guard transactions.count < Self.mostTransactions else {
                throw StompFault("Too many transactions", "There may be \(Self.mostTransactions) of them.\n")
            }
            transactions[name] = StompTransaction()
            return receipt(frame, give)
        }
        guard let transaction = transactions.removeValue(forKey: name) else { throw Self.unknown(transaction: name) }
        guard frame.command == "COMMIT" else { return receipt(frame, give) }
        if transaction.sends.isEmpty { receipt(frame, give) } else { try store(transaction.sends, of: frame, give) }
        carryOut(transaction.acknowledgements, give)
        goOn(give)
    }

    /// Stores what was sent in a transaction.
    private func store(_ sends: [StompSends.Item], of frame: StompFrame, _ give: Give) throws(StompFault) {
        var items = sends
        let key: String
        if let given = frame["martlet-key"] {
            // A number is added.
            guard given.utf8.count <= SendRequest.maxKeyBytes - 5 else {
                throw StompFault("Invalid header", "martlet-key of a COMMIT is too long\n")
            }
            key = try Self.checked(given)
        } else {
            key = shared.newName("tx-")
        }
        let batch = StompSends.Batch(count: items.count, receipt: frame["receipt"])
        for index in items.indices {
            items[index].batch = batch
            if items[index].request.key == nil { items[index].request.key = "\(key):\(index)" }
            if frame["martlet-key"] == nil {
                items[index].request.again = items[index].request.again ?? false
            } else if frame["martlet-again"] == "true" {
                items[index].request.again = true
            }
        }
        try enqueue(items)
        flush(give)
    }
}
