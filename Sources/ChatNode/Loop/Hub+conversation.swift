import ChatCore
import ChatGateway
import ChatHub
import NIOCore

/// Conversations, for programs without a session.
extension Hub {
    func converse(
        _ order: ConversationOrder, by user: UserID?, grant: Grant?
    ) async throws(WireError) -> ConversationAnswer {
        guard let room = order.room(of: user) else {
            switch order {
            case .blocked, .stars: break
            default: throw WireError(.badField, "user must name somebody else, and by who asks")
            }
            return try await carryOut(order, on: loops.first, by: user, grant: grant, mayDoAll: false)
        }
        let isServer = grant?.permissions.actsForOthers ?? false
        let right: Rights =
            if case .direct = order { .send } else if isServer, !order.isRead { .moderate } else { order.right }
        try allow(right, in: room, by: grant)
        switch order {
        case .participants, .star: if !isServer { try await refuseOutsider(user, of: room) }
        default: break
        }
        let mayDoAll = grant.map { $0.rights(in: room).contains(.moderate) } ?? false
        return try await carryOut(order, on: home(of: room), by: user, grant: grant, mayDoAll: mayDoAll)
    }

    private func carryOut(
        _ order: ConversationOrder, on loop: Loop?, by user: UserID?, grant: Grant?, mayDoAll: Bool
    ) async throws(WireError) -> ConversationAnswer {
        guard let loop else { throw WireError(.unavailable, "the node is starting") }
        let rate = try take(RequestCost.request + RequestCost.cost(of: order), by: grant)
        switch await loop.converse(order, by: user, mayDoAll: mayDoAll) {
        case .success(let answer):
            rate?.charge(RequestCost.cost(of: answer), now: .now)
            return answer
        case .failure(let error):
            if let limit = HubLimit(ofConversations: error.code) {
                metrics.limitRefusals[LimitLabel(limit)].increment()
            }
            throw error
        }
    }
}

extension Hub {
    func erase(_ user: UserID) async throws(WireError) -> ErasureProgress {
        guard let loop = loops.first else { throw WireError(.unavailable, "the node is starting") }
        return try await loop.erase(user).get()
    }
}

extension Loop {
    func erase(_ user: UserID) async -> Result<ErasureProgress, WireError> {
        await withCheckedContinuation { continuation in
            run { [self] in sessions.erase(user) { continuation.resume(returning: $0) } }
        }
    }

    /// Carries out what somebody without a session asks.
    func converse(
        _ order: ConversationOrder, by user: UserID?, mayDoAll: Bool
    ) async -> Result<ConversationAnswer, WireError> {
        await withCheckedContinuation { continuation in
            run { [self] in
                sessions.converse(order, by: user, mayDoAll: mayDoAll) { continuation.resume(returning: $0) }
            }
        }
    }
}
