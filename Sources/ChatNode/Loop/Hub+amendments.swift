import ChatCore
import ChatGateway
import ChatHub

/// Amendments over HTTP.
extension Hub {
    func amend(_ request: AmendRequest, by user: UserID, grant: Grant?) async throws(WireError) -> Amended {
        let room = request.room
        try allow(request.operation.requirement, in: room, by: grant)
        let now = wallClock
        if let error = sanctions.refusalOfSending(by: user, now: now) { throw error }
        let home = home(of: room)
        let cost = await home.call { $0.rooms.cost(ofAmending: request) } &+ RequestCost.before(.amend(request))
        try charge(user, bytes: request.byteCount, cost, now: home.now)
        // Who may moderate is bound by sanctions, but not by the room's rules.
        let rights = grant?.rights(in: room)
        let order = AmendOrder(
            request, by: user, at: now, window: editWindow,
            mayAmendAny: rights?.contains(.amendAny) ?? true || request.operation.requirement == .moderate,
            obeysRules: !(rights?.contains(.moderate) ?? false))
        let reply = try await home.amend(order).get()
        guard await home.isReplicated(in: room) else {
            throw .notReplicated(reply.position, replicas: replicas)
        }
        return Amended(reply, cost: cost &+ RequestCost.erasure &* UInt64(max(0, reply.erased ?? 0)))
    }
}

extension Hub {
    func audit(
        room: RoomName, before: Position?, limit: Int, by grant: Grant?
    ) async throws(WireError) -> [AuditEntry] {
        try allow(.moderate, in: room, by: grant)
        let rate = try takeRead(by: grant)
        switch await home(of: room).ask(.audit(room: room, before: before, count: limit)) {
        case .success(.audit(let entries)):
            rate?.charge(RequestCost.roster(entries.count, read: true), now: .now)
            return entries
        case .success: throw BrokerError.malformed("").wireError("audit")
        case .failure(let error): throw error.wireError("audit")
        }
    }
}

extension Loop {
    /// Carries out an amendment of somebody who need not be in the room.
    func amend(_ order: AmendOrder) async -> Result<AmendReply, WireError> {
        await withCheckedContinuation { continuation in
            run { [self] in rooms.amend(order) { continuation.resume(returning: $0) } }
        }
    }
}
