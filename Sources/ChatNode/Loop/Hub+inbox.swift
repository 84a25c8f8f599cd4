import ChatCore
import ChatGateway
import ChatHub

/// The conversations of users over HTTP.
extension Hub {
    func read(
        room: RoomName, position: Position, user: UserID, by grant: Grant?
    ) async throws(WireError) -> ReadOutcome {
        try allow(.read, in: room, by: grant)
        _ = try take(RequestCost.request + RequestCost.mark, by: grant)
        return try await home(of: room).read(room, position, by: user).get()
    }

    func inbox(
        of user: UserID, limit: Int, cursor: InboxCursor, by grant: Grant?
    ) async throws(WireError) -> InboxList {
        if let error = AccessDecision.refusalOfReadingAnything(by: grant) { throw error }
        try refuseBanned(grant)
        let rate = try take(RequestCost.request + RequestCost.read, by: grant)
        let mayRead = { @Sendable (room: RoomName) in AccessDecision.refusal(of: .read, in: room, by: grant) == nil }
        let (result, cost) = await home(of: user).inbox(of: user, paidBy: rate, mayRead: mayRead)
        switch result {
        case .success(let all): return InboxList(page: InboxPage(of: all, known: cursor, limit: limit), cost: cost)
        case .failure(let error): throw error.wireError("inbox")
        }
    }

    func online(_ users: [UserID], by grant: Grant?) async throws(WireError) -> OnlineUsers {
        if let error = AccessDecision.refusalOfReadingAnything(by: grant) { throw error }
        try refuseBanned(grant)
        _ = try take(RequestCost.request + UInt64(users.count) * RequestCost.online, by: grant)
        guard let first = users.first else { return OnlineUsers(online: []) }
        switch await home(of: first).online(users, for: grant?.user) {
        case .success(let online): return online
        case .failure(let error): throw error.wireError("online")
        }
    }

    func showLastSeen(_ isShown: Bool?, of user: UserID, by grant: Grant?) async throws(WireError) -> Bool {
        if let error = AccessDecision.refusalOfReadingAnything(by: grant) { throw error }
        try refuseBanned(grant)
        _ = try take(RequestCost.request + RequestCost.indexedUser, by: grant)
        let request = BrokerRequest.user(UserRequest(.showLastSeen(isShown), of: user))
        switch await home(of: user).ask(request) {
        case .success(.user(.shown(let isShown))): return isShown
        case .success: throw BrokerError.malformed("").wireError("lastSeen")
        case .failure(let error): throw error.wireError("lastSeen")
        }
    }

    private func home(of user: UserID) -> Loop { loops[UserHost.home(of: user, among: loops.count)] }
}
