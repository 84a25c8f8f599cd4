import ChatCore
import ChatGateway
import ChatHub
import NIOCore

/// Conversations, for programs without a session.
extension Hub {
    func converse(
        _ order: ConversationOrder, by user: UserID?, grant: Grant?
    ) async throws(WireError) -> ConversationAnswer {
        let isServer = grant?.permissions.actsForOthers ?? false
        guard let room = order.room(of: user) else {
            guard order.needsNoRoom else {
                throw WireError(.badField, "user must name somebody else, and by who asks")
            }
            try refuseBanned(grant)
            let answer = try await carryOut(order, on: loops.first, by: user, grant: grant, mayDoAll: false)
            guard isServer, case .stars(let stars, let before) = answer else { return answer }
            // Users see all that they keep. A server sees what is of rooms that its key lets it read.
            let readable = stars.filter { AccessDecision.refusal(of: .read, in: $0.room, by: grant) == nil }
            return .stars(readable, before: before)
        }
        let right: Rights =
            if case .direct = order { .send } else if isServer, !order.isRead { .moderate } else { order.right }
        try allow(right, in: room, by: grant)
        if order.readsRoom, !isServer { try await refuseOutsider(user, of: room) }
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
    /// Tells the participants whom a message mentions that was said over HTTP. (Those whom a session's message mentions
    /// are told by the room's home.)
    func tellMentioned(by content: MessageContent, at position: Position, in room: RoomName) async {
        let mentioned = content.mentioned.filter { $0 != content.user }
        guard !mentioned.isEmpty else { return }
        let home = home(of: room)
        let list = BrokerRequest.conversation(ConversationRequest(.list, in: room, by: nil))
        guard case .success(.participants(let known?)) = await home.ask(list) else { return }
        for user in mentioned where known.participants[user] != nil {
            let notice = UserNotice(.mentioned, room, by: content.user.text, position: position)
            _ = await home.ask(.publish(on: .user(user), event: .notice(notice)))
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
