import ChatCore

/// Sessions that are told what is new in a room without being in it. While there are any, the node is in the room like
/// for a session, so what is said there costs no read of Redis.
extension RoomHost {
    /// From now on the session is told what is new in the room.
    func watch(_ name: RoomName, _ session: SessionID, _ user: UserID, _ rate: UserRate) {
        let isNew = room(named: name) == nil
        let room = openRoom(name)
        awaken(room)
        if isNew {
            rate.charge(RequestCost.newRoom, now: context.now)
            room.payer = rate
        }
        let wasWatched = room.isWatched
        let reading = room.reading ?? RoomReading()
        room.reading = reading
        reading.watch.add(session, user)
        if wasWatched { tellNewWatchers(room, reading) } else { happen(.watched(true), in: room) }
    }

    /// The session is not told any more.
    func unwatch(_ name: RoomName, _ session: SessionID) {
        guard let room = room(named: name), let reading = room.reading, reading.watch.remove(session) else { return }
        if reading.isEmpty { room.reading = nil }
        if !room.isWatched { happen(.watched(false), in: room) }
    }

    /// Something happened to a room with watchers.
    func settleWatchers(_ room: HomeRoom) {
        guard let reading = room.reading, !reading.watch.isEmpty else { return }
        tellNewWatchers(room, reading)
    }

    private func tellNewWatchers(_ room: HomeRoom, _ reading: RoomReading) {
        guard room.look({ $0.isLive }) ?? false else { return }
        let new = reading.watch.takeNew()
        if !new.isEmpty { tell(new, room, reading) }
    }

    /// The room has another newest message, or somebody has read.
    func headChanged(_ room: HomeRoom, _ reading: RoomReading) {
        guard !reading.watch.isEmpty, reading.watch.changed(now: context.now) else { return }
        _ = reading.watch.takeNew()
        tellAll(room, reading)
    }

    func pauseEnded(_ name: RoomName, now: Moment) {
        guard let room = room(named: name), let reading = room.reading, reading.watch.timePassed(now: now) else {
            return
        }
        tellAll(room, reading)
    }

    private func tellAll(_ room: HomeRoom, _ reading: RoomReading) {
        awaken(room)
        tell(reading.watch.watchers.keys.sorted(), room, reading)
        let ends = context.now + HeadWatch.pause
        self.reading.paused(room.name, until: ends)
        context.wake(at: ends)
    }

    private func tell(_ sessions: [SessionID], _ room: HomeRoom, _ reading: RoomReading) {
        let last = (room.look { $0.newestMessage } ?? nil).map { MessagePreview($0) }
        for session in sessions {
            guard let user = reading.watch.watchers[session], room.look({ $0.refusalOfReading(by: user) }) == .some(nil)
            else { continue }
            let unread = reading.receipts.flatMap { $0.isParticipant(user) ? $0.unread(of: user) : nil }
            let head = InboxHead(room: room.name, last: last, unread: unread)
            post(.answer(session, .inbox(.head(head))), to: session.loop)
        }
    }
}
