import ChatCore

/// What the sessions' tokens allow, until when, and what follows from new and revoked ones.
extension SessionHost {
    /// Whether the session may make the request; if not, it is told so. Rights in a room that it is in, or has asked to
    /// join, were evaluated then.
    func isAllowed(_ body: ClientRequest.Body, _ ref: Ref?, _ session: LocalSession) -> Bool {
        guard let grant = session.grant else { return true }
        if grant.isExpired(at: context.wallClock, grace: settings.tokenGrace) {
            end(session, .expired)
            return false
        }
        guard let (room, right) = body.requirement(of: session.user) else { return true }
        let rights = session.rooms[room]?.rights ?? grant.rights(in: room)
        guard let error = AccessDecision.refusal(of: right, by: rights) else { return true }
        context.forbade(right)
        session.outlet.send(.error(ref: ref, error))
        return false
    }

    /// The session's client has sent a new token, and the authenticator has answered.
    public func renew(_ id: SessionID, _ answer: Result<Identity, WireError>, ref: Ref?) {
        guard let session = sessions[id] else { return }
        session.rate.charge(RequestCost.verification, now: context.now)
        switch answer {
        case .failure(let error): session.outlet.send(.error(ref: ref, error))
        case .success(let identity):
            guard identity.user == session.user else {
                let error = WireError(.forbidden, "the token is of another user than the session")
                return session.outlet.send(.error(ref: ref, error))
            }
            session.grant = identity.grant
            expiries.add(identity.grant, of: id)
            expiries.compact(sessions: sessions.count) { isWanted($0) }
            session.outlet.send(
                .renewed(ref: ref, expiresIn: identity.grant?.expires(after: context.wallClock)))
            applyRights(to: session)
        }
    }

    /// Evaluates the session's rights in its rooms anew; it leaves those that it may no longer read, and does not watch
    /// them any more.
    private func applyRights(to session: LocalSession) {
        let id = session.id
        for room in session.watched where AccessDecision.refusal(of: .read, in: room, by: session.grant) != nil {
            session.watched.remove(room)
            atHome(of: room) { $0.unwatch(room, id) }
        }
        for (room, membership) in session.rooms {
            let rights = session.grant?.rights(in: room) ?? .all
            if rights.contains(.read) {
                session.rooms[room]?.rights = rights
            } else {
                remove(session, from: room, membership, Removal(.forbidden))
            }
        }
    }

    /// Makes the session leave the room.
    private func remove(
        _ session: LocalSession, from room: RoomName, _ membership: LocalMembership, _ removal: Removal
    ) {
        session.rooms[room] = nil
        context.noted(.removed(room, removal.reason), by: session.id)
        stopDelivering(membership, session)
        if let unanswered = membership.standing.unanswered {
            session.outlet.send(.error(ref: unanswered, Self.error(of: removal)))
        }
        leaveHome(room, session)
        session.outlet.send(.removed(room: room, removal))
    }

    private static func error(of removal: Removal) -> WireError {
        switch removal.reason {
        case .forbidden: return WireError(.forbidden, "join: the session's rights no longer include this room")
        case .kicked, .banned:
            var error = WireError(
                removal.reason == .banned ? .banned : .forbidden, "join: a moderator made the session leave")
            error.until = removal.until
            return error
        case .removed: return ConversationRefusal.notParticipant.error
        }
    }

    /// The room does not have the session any more. (The home loop is told as well: the session may have asked to join
    /// again meanwhile, which it is not told to have done.)
    func removed(_ id: SessionID, from room: RoomName, _ removal: Removal) {
        guard let session = sessions[id], let membership = session.rooms[room] else { return }
        remove(session, from: room, membership, removal)
    }

    /// Tells sessions whose tokens have expired to send new ones, and closes those that did not. To be called about
    /// twice a second.
    public func endExpired() {
        let now = context.wallClock
        while let entry = expiries.popDue(now) {
            guard let session = sessions[entry.session], let expiresAt = session.grant?.expiresAt, expiresAt <= now
            else { continue }
            let end = expiresAt + settings.tokenGrace
            if now >= end {
                self.end(session, .expired)
            } else if entry.at == expiresAt {
                session.outlet.send(.expiring(closesIn: end - now))
                expiries.add(Expiries.Entry(at: end, session: entry.session))
            }
        }
    }

    private func isWanted(_ entry: Expiries.Entry) -> Bool {
        guard let expiresAt = sessions[entry.session]?.grant?.expiresAt else { return false }
        return entry.at == expiresAt || entry.at == expiresAt + settings.tokenGrace
    }

    /// Closes the sessions whose tokens are revoked. Returns their number.
    @discardableResult
    public func endRevoked(_ isRevoked: (Grant) -> Bool) -> Int {
        var count = 0
        for session in sessions.values {
            guard let grant = session.grant, isRevoked(grant) else { continue }
            count += 1
            end(session, .revoked)
        }
        return count
    }

    /// From now on these sanctions of users hold in all rooms. Closes the sessions of banned users; returns how many.
    @discardableResult
    public func apply(_ sanctions: UserSanctions) -> Int {
        userSanctions = sanctions
        let now = context.wallClock
        var count = 0
        for session in sessions.values where sanctions.refusalOfPresence(of: session.user, now: now) != nil {
            count += 1
            end(session, .banned)
        }
        return count
    }

    private func end(_ session: LocalSession, _ reason: CloseReason) { session.outlet.close(reason) }
}
