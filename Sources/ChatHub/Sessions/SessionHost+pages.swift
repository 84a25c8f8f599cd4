import ChatCore

/// Sends long answers one at a time for each session, each when the session has read what was sent before. So whatever
/// a client asks for at once, or has missed, costs the node one page of memory, however slowly the client reads.
extension SessionHost {
    /// Bytes of messages in one answer.
    var pageBytes: Int { settings.rooms.limits.historyPageBytes }
    /// Messages in one `joined`. Further missed messages follow as `message` frames.
    static let joinedPage = 100
    /// The number of `history` and `roster` requests of one session that may wait for their turn.
    static let maxWaitingPages = 64

    func page(_ request: PageRequest, ref: Ref?, _ session: LocalSession) {
        guard session.pages.count < Self.maxWaitingPages + session.rooms.count else {
            return refuse(.waitingPages, ref, session)
        }
        session.pages.append(request)
        sendPages(session)
    }

    /// The session has read most of what was sent to it.
    public func drained(_ id: SessionID) {
        guard let session = sessions[id] else { return }
        sendPages(session)
    }

    /// Begins the next page, if the session may have one now; otherwise ``drained(_:)`` is called later.
    func sendPages(_ session: LocalSession) {
        while !session.isPaging, !session.pages.isEmpty, session.outlet.takesPage() {
            switch session.pages.removeFirst() {
            case .missed(let room):
                // It is nil if the session has left or joined anew in the meantime.
                guard let next = session.rooms[room]?.standing.nextPage() else { continue }
                session.isPaging = true
                askToJoin(room, after: next.after, history: 0, ref: next.ref, session)
            case .history(let room, let query, let ref):
                guard maySpend(session, ref) else { continue }
                session.isPaging = true
                unlessBanned(room, "history", ref: ref, session) { [self] in
                    readHistory(room, query, ref: ref, $0)
                }
            case .roster(let room, let cursor, let ref):
                guard maySpend(session, ref) else { continue }
                session.isPaging = true
                unlessBanned(room, "roster", ref: ref, session) { [self] in
                    readRoster(room, cursor, ref: ref, $0)
                }
            case .conversation(let order, let ref):
                guard maySpend(session, ref) else { continue }
                session.isPaging = true
                guard let room = order.room(of: session.user) else {
                    read(order, ref: ref, session)
                    continue
                }
                unlessBanned(room, "participants", ref: ref, session) { [self] in read(order, ref: ref, $0) }
            }
        }
    }

    /// The cost of a page is known only after it has been read. So the next page waits until then, and is refused if
    /// the cost was too high.
    private func maySpend(_ session: LocalSession, _ ref: Ref?) -> Bool {
        if session.rate.spend(0, now: context.now) { return true }
        refuse(.costPerSecond, ref, session)
        return false
    }

    /// Banned users may not read the room, nor may who is no participant of one that is for participants. Redis knows
    /// that of a room that the session is not in.
    /// (A member is not banned, as a ban makes it leave.)
    private func unlessBanned(
        _ room: RoomName, _ what: String, ref: Ref?, _ session: LocalSession, _ then: @escaping (LocalSession) -> Void
    ) {
        guard session.rooms[room]?.local == nil else { return then(session) }
        let id = session.id
        context.ask(.rules(room: room, of: session.user)) { [self] result in
            guard let session = sessions[id] else { return }
            let error: WireError?
            switch result {
            case .success(.rules(let rules)):
                error = rules.refusal(ofJoinBy: session.user, in: room, now: context.wallClock)
            case .success: error = BrokerError.malformed("").wireError(what)
            case .failure(let failure): error = failure.wireError(what)
            }
            guard let error else { return then(session) }
            session.isPaging = false
            session.outlet.send(.error(ref: ref, error))
            sendPages(session)
        }
    }

    private func readHistory(_ room: RoomName, _ query: HistoryQuery, ref: Ref?, _ session: LocalSession) {
        var query = query
        query.limit = min(query.limit, settings.rooms.limits.historyPage)
        query.bytes = pageBytes
        query.isFolded = true
        let id = session.id
        let rate = session.rate
        context.ask(.history(room: room, query: query)) { [self] result in
            if case .success(.history(let page)) = result {
                rate.charge(RequestCost.page(page, of: query), now: context.now)
            }
            guard let session = sessions[id] else { return }
            session.isPaging = false
            switch result {
            case .success(.history(let page)):
                let bounded = page.limited(toBytes: pageBytes, anchor: query.anchor)
                session.outlet.send(.history(ref: ref, room: room, bounded))
            case .success: session.outlet.send(.error(ref: ref, BrokerError.malformed("").wireError("history")))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("history")))
            }
            sendPages(session)
        }
    }

    /// Reads the roster of a room that the session is not in.
    private func readRoster(_ room: RoomName, _ cursor: String?, ref: Ref?, _ session: LocalSession) {
        let (id, rate, limit) = (session.id, session.rate, settings.rooms.limits.rosterPage)
        let place = RosterCursor(cursor)
        context.ask(.reading(.people(room: room, cursor: place.part))) { [self] result in
            if case .success(.reading(.people(let part))) = result {
                rate.charge(RequestCost.roster(part.members.count, read: true), now: context.now)
            }
            guard let session = sessions[id] else { return }
            session.isPaging = false
            switch result {
            case .success(.reading(.people(let part))):
                session.outlet.send(.roster(ref: ref, room: room, part.page(at: place, limit: limit)))
            case .success: session.outlet.send(.error(ref: ref, BrokerError.malformed("").wireError("roster")))
            case .failure(let error): session.outlet.send(.error(ref: ref, error.wireError("roster")))
            }
            sendPages(session)
        }
    }
}
