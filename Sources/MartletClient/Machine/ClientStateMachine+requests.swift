public import ChatCore

import struct ChatJSON.ByteWriter

extension ClientStateMachine {
    // MARK: What is asked of the client

    /// Joins the room, now and after every reconnect. `after`: the last position shown, if the caller has one;
    /// `history`: how many recent messages to show otherwise.
    public mutating func join(_ name: RoomName, after: Position? = nil, history: Int? = nil, now: Moment) -> RequestID {
        let id = serial()
        guard connection != .closed else { return fail(id, .closed) }
        if rooms[name] == nil {
            rooms[name] = ClientRoom(history: history, last: after)
            roomOrder.append(name)
        }
        let isLeft = rooms[name]?.leaveWaiters.isEmpty == false
        if let joined = rooms[name]?.joined, rooms[name]?.phase == .joined, !isLeft {
            actions.append(.complete(id, .success(.joined(joined))))
            return id
        }
        rooms[name]?.joinWaiters.append(.init(id: id, deadline: now + options.requestTimeout))
        if isLeft { rooms[name]?.wantedAgain = true }
        pump(now)
        return id
    }

    /// Leaves the room after the sends made so far are answered.
    public mutating func leave(_ name: RoomName, now: Moment) -> RequestID {
        let id = serial()
        guard connection != .closed else { return fail(id, .closed) }
        guard let room = rooms[name] else { return fail(id, .notJoined) }
        let waiter = ClientRoom.Waiter(id: id, deadline: now + options.requestTimeout)
        switch room.phase {
        case .out where room.sends.isEmpty:
            forget(name, .notJoined)
            actions.append(.complete(id, .success(.left)))
        case .out, .joining, .joined, .leaving:
            rooms[name]?.wantedAgain = false
            rooms[name]?.leaveWaiters.append(waiter)
        case .gone:
            return fail(id, .notJoined)
        }
        pump(now)
        return id
    }

    /// Sends a message. A message without a key gets one.
    public mutating func send(_ request: SendRequest, now: Moment) -> RequestID {
        let id = serial()
        guard connection != .closed else { return fail(id, .closed) }
        guard let room = rooms[request.room], room.leaveWaiters.isEmpty else { return fail(id, .notJoined) }
        guard roomOfSend.count < options.maxUnsent else { return fail(id, .queueFull) }
        if let problem = Self.problem(request) { return fail(id, .badArgument(problem)) }
        var request = request
        if request.key == nil { request.key = keyPrefix + String(id, radix: 36) }
        if let problem = tooLong(request, id) { return fail(id, .badArgument(problem)) }
        let isAgain = request.again == true
        roomOfSend[id] = request.room
        rooms[request.room]?.sends.append(
            .init(id: id, request: request, deadline: now + options.sendTimeout, maybeStored: isAgain))
        pump(now)
        return id
    }

    /// Sends a signal, which is not stored (typing). It is lost if there is no connection. Returns false if it was not
    /// sent.
    public mutating func signal(_ name: RoomName, _ signal: String, data: String? = nil, now: Moment) -> Bool {
        guard welcome != nil, rooms[name]?.phase == .joined, bucket.take(now) else { return false }
        actions.append(.write(ClientRequest(ref: nil, body: .signal(room: name, name: signal, data: data))))
        return true
    }

    /// Reads a page of the room's log.
    public mutating func history(_ name: RoomName, _ query: HistoryQuery, now: Moment) -> RequestID {
        lookUp(.history(room: name, query: query), now)
    }

    /// Reads a page of the room's roster.
    public mutating func roster(_ name: RoomName, cursor: String? = nil, now: Moment) -> RequestID {
        lookUp(.roster(room: name, cursor: cursor), now)
    }

    mutating func lookUp(
        _ body: ClientRequest.Body, _ now: Moment, timeout: Duration? = nil, added: [RoomName] = []
    ) -> RequestID {
        let id = serial()
        guard connection != .closed else { return fail(id, .closed) }
        lookups.append(Lookup(id: id, body: body, deadline: now + (timeout ?? options.requestTimeout), added: added))
        pump(now)
        return id
    }

    private static func problem(_ request: SendRequest) -> String? {
        if request.text == nil, request.data == nil { return "a send needs 'text' or 'data'" }
        if let key = request.key {
            if key.utf8.isEmpty || key.utf8.count > SendRequest.maxKeyBytes {
                return "a key has 1 to \(SendRequest.maxKeyBytes) bytes, not \(key.utf8.count)"
            }
            if key.utf8.first == UInt8(ascii: "~") { return "keys that begin with '~' are reserved for nodes" }
        }
        return nil
    }

    /// Why the node would not accept this send: its frame is too long. The node could not say whose frame was too long,
    /// so it must not be sent. Nil also before a node has said how long a frame may be.
    private func tooLong(_ request: SendRequest, _ id: RequestID) -> String? {
        var longest = request
        longest.again = false
        longest.since = Position(epoch: .max - 1, seq: .max)
        return tooLong(
            "the message", ClientRequest(ref: Ref(serial: id), body: .send(longest)), bytes: request.byteCount)
    }

    /// The same for any request. `bytes`: of its text and data, and of the users that it mentions.
    func tooLong(_ what: String, _ request: @autoclosure () -> ClientRequest, bytes: Int) -> String? {
        guard let most = welcome?.limits.frameBytes else { return nil }
        // In JSON a byte takes up to six bytes (`\u0001`); room, key, position and field names take less than this.
        guard bytes * 6 + 2_048 > most else { return nil }
        var frame = ByteWriter()
        request().write(to: &frame)
        guard frame.count > most else { return nil }
        return "\(what) is too long: \(frame.count) bytes as a frame, and the node takes \(most)"
    }

    /// A request that is not made, because of its arguments.
    mutating func refuse(_ problem: String) -> RequestID { fail(serial(), .badArgument(problem)) }

    mutating func serial() -> RequestID {
        defer { nextSerial += 1 }
        return nextSerial
    }

    private mutating func fail(_ id: RequestID, _ error: ClientError) -> RequestID {
        actions.append(.complete(id, .failure(error)))
        return id
    }

    // MARK: What is asked of the node

    /// Sends what may be sent now: first joins and leaves, then look-ups, then messages.
    mutating func pump(_ now: Moment) {
        guard case .ready(_, let leaveAt) = connection else { return }
        isStarved = false
        for name in roomOrder where !enter(name, now) { return }
        for index in lookups.indices where !lookups[index].written && lookups[index].pausedUntil == nil {
            guard take(now) else { return }
            lookups[index].written = true
            silence.asked(now)
            actions.append(
                .write(ClientRequest(ref: Ref(serial: lookups[index].id), body: lookups[index].body)))
        }
        // A draining node refuses messages, so the next node gets them.
        guard leaveAt == nil else { return }
        for name in roomOrder where !pumpSends(name, now) || !exit(name, now) { return }
    }

    /// Joins a room that has not been joined on this connection. Returns false if no request may be sent now.
    private mutating func enter(_ name: RoomName, _ now: Moment) -> Bool {
        guard let room = rooms[name], room.phase == .out, !isPaused(name, now) else { return true }
        if roomInURL == name, room.last == nil, room.history == nil {
            rooms[name]?.phase = .joining(ref: nil)
            return true
        }
        guard take(now) else { return false }
        let ref = nextSerial
        nextSerial += 1
        rooms[name]?.phase = .joining(ref: ref)
        silence.asked(now)
        let body = ClientRequest.Body.join(room: name, after: room.last, history: room.last == nil ? room.history : nil)
        actions.append(.write(ClientRequest(ref: Ref(serial: ref), body: body)))
        return true
    }

    /// Leaves a room that the caller has left, once its sends are answered.
    private mutating func exit(_ name: RoomName, _ now: Moment) -> Bool {
        guard let room = rooms[name], room.phase == .joined, !room.leaveWaiters.isEmpty, room.sends.isEmpty else {
            return true
        }
        guard take(now) else { return false }
        let ref = nextSerial
        nextSerial += 1
        rooms[name]?.phase = .leaving(written: true)
        silence.asked(now)
        actions.append(.write(ClientRequest(ref: Ref(serial: ref), body: .leave(room: name))))
        return true
    }

    private mutating func pumpSends(_ name: RoomName, _ now: Moment) -> Bool {
        guard let room = rooms[name], room.phase == .joined, !room.sends.isEmpty, !isPaused(name, now) else {
            return true
        }
        var inFlight = room.sends.count { $0.inFlight }
        for index in room.sends.indices where !room.sends[index].inFlight {
            guard inFlight < options.sendWindow else { return true }
            var send = room.sends[index]
            // This message was accepted before the node said how long a frame may be. The messages behind it follow.
            if let problem = tooLong(send.request, send.id) {
                settle(send.id, in: name, .failure(.badArgument(problem)), now)
                return true
            }
            guard take(now) else { return false }
            inFlight += 1
            send.inFlight = true
            if send.request.since == nil { send.request.since = room.last }
            rooms[name]?.sends[index] = send
            var request = send.request
            request.again = send.maybeStored
            silence.asked(now, bytes: (request.text?.utf8.count ?? 0) + (request.data?.utf8.count ?? 0))
            actions.append(.write(ClientRequest(ref: Ref(serial: send.id), body: .send(request))))
        }
        return true
    }

    /// Whether one more request may be sent now. If not, the timer fires when it may.
    private mutating func take(_ now: Moment) -> Bool {
        isStarved = !bucket.take(now)
        return !isStarved
    }

    private mutating func isPaused(_ name: RoomName, _ now: Moment) -> Bool {
        guard let until = rooms[name]?.pausedUntil else { return false }
        if now < until { return true }
        rooms[name]?.pausedUntil = nil
        return false
    }

    // MARK: Endings

    /// Fails requests that have waited too long.
    mutating func expire(_ now: Moment) {
        keepReads(now)
        for lookup in lookups where lookup.deadline <= now {
            actions.append(.complete(lookup.id, .failure(.timedOut)))
        }
        lookups.removeAll { $0.deadline <= now }
        for index in lookups.indices where (lookups[index].pausedUntil ?? now) <= now {
            lookups[index].pausedUntil = nil
        }
        for name in roomOrder {
            guard var room = rooms[name] else { continue }
            if let until = room.pausedUntil, until <= now { room.pausedUntil = nil }
            while let send = room.sends.first, send.deadline <= now {
                room.sends.removeFirst()
                roomOfSend[send.id] = nil
                actions.append(.complete(send.id, .failure(.timedOut)))
            }
            for waiter in room.joinWaiters + room.leaveWaiters where waiter.deadline <= now {
                actions.append(.complete(waiter.id, .failure(.timedOut)))
            }
            if room.joinWaiters.contains(where: { $0.deadline <= now }), case .joining = room.phase {
                // The join or its answer was lost (a proxy may drop `?room=` from the URL), so it is sent again if the
                // room is still wanted.
                room.phase = .out
                if roomInURL == name { roomInURL = nil }
            }
            room.joinWaiters.removeAll { $0.deadline <= now }
            room.leaveWaiters.removeAll { $0.deadline <= now }
            rooms[name] = room
        }
    }

    /// Removes a room that is not wanted any more. Requests that still wait in it fail.
    mutating func forget(_ name: RoomName, _ error: ClientError) {
        guard let room = rooms.removeValue(forKey: name) else { return }
        roomOrder.removeAll { $0 == name }
        for send in room.sends {
            roomOfSend[send.id] = nil
            actions.append(.complete(send.id, .failure(error)))
        }
        for waiter in room.joinWaiters + room.leaveWaiters {
            actions.append(.complete(waiter.id, .failure(error)))
        }
    }
}
