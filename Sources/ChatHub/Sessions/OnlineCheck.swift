import ChatCore

/// Asks the broker which users are online: each user's channel has a listener on each node with a session of the user.
/// Of the others it is asked when they were last here.
public final class OnlineCheck {
    private let users: [UserID]
    /// Who asks.
    private let asker: UserID?
    private let context: any HostContext
    private var found: Set<UserID> = []
    private var seen: [UserID: UInt64] = [:]
    private var open: Int
    private var failure: BrokerError?
    private let then: (Result<OnlineUsers, BrokerError>) -> Void

    private init(
        _ users: [UserID], for asker: UserID?, by context: any HostContext,
        _ then: @escaping (Result<OnlineUsers, BrokerError>) -> Void
    ) {
        self.users = users
        self.asker = asker
        self.context = context
        self.open = users.count
        self.then = then
    }

    /// `asker`: who is told; nil for a server, which is told all that users let others see. `then` is called once,
    /// later, on the context's loop, with those who are online in the order of `users`.
    public static func begin(
        _ users: [UserID], for asker: UserID?, by context: any HostContext,
        _ then: @escaping (Result<OnlineUsers, BrokerError>) -> Void
    ) {
        let check = OnlineCheck(users, for: asker, by: context, then)
        for user in users {
            context.ask(.reading(.listeners(of: user))) { check.counted($0, of: user) }
        }
    }

    private func counted(_ result: Result<BrokerReply, BrokerError>, of user: UserID) {
        switch result {
        case .success(.reading(.listeners(let count))):
            if count > 0 {
                found.insert(user)
            } else {
                return context.ask(.user(UserRequest(.lastSeen(by: asker), of: user))) { [self] in looked($0, user) }
            }
        case .success: failure = .malformed("")
        case .failure(let error): failure = error
        }
        settle()
    }

    private func looked(_ result: Result<BrokerReply, BrokerError>, _ user: UserID) {
        switch result {
        case .success(.user(.lastSeen(let at))): seen[user] = at
        case .success: failure = .malformed("")
        // A key that cannot be read hides the time, and nothing else.
        case .failure(.notStored(let text)) where text.hasPrefix("WRONGTYPE"): break
        case .failure(let error): failure = error
        }
        settle()
    }

    private func settle() {
        open -= 1
        guard open == 0 else { return }
        if let failure { return then(.failure(failure)) }
        var told: Set<UserID> = []
        let online = users.filter { found.contains($0) && told.insert($0).inserted }
        then(.success(OnlineUsers(online: online, seen: seen)))
    }
}
