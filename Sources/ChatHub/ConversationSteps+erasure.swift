import ChatCore

/// Erases a user part by part: takes the user out of the rooms of the index, with the read positions, and at the end
/// deletes what belongs to the user. Whoever was interrupted begins again, and finds only what is left.
extension ConversationSteps {
    typealias Erased = (Result<ErasureProgress, WireError>) -> Void

    /// The rooms of one part.
    static let erasedAtOnce = 20

    func erase(_ user: UserID, _ answer: @escaping Erased) {
        context.ask(.user(UserRequest(.rooms(cursor: 0, count: Self.erasedAtOnce), of: user))) { [self] result in
            switch result {
            case .success(.user(.rooms(let rooms, _))):
                leave(Array(rooms.prefix(Self.erasedAtOnce)), user) { [self] error in
                    if let error { return answer(.failure(error)) }
                    finish(user, left: min(rooms.count, Self.erasedAtOnce), answer)
                }
            case .success: answer(.failure(BrokerError.malformed("").wireError("erasure")))
            case .failure(let error): answer(.failure(error.wireError("erasure")))
            }
        }
    }

    /// Takes the user out of the rooms, one after the other.
    private func leave(_ rooms: [IndexedRoom], _ user: UserID, _ then: @escaping (WireError?) -> Void) {
        guard let entry = rooms.first else { return then(nil) }
        let request = ConversationRequest(.leave, in: entry.room, by: user)
        context.ask(.conversation(request)) { [self] result in
            switch result {
            case .success(.conversation(let reply)):
                settle(reply.pending, in: entry.room, reply.kind) { [self] in
                    // The index may name rooms that do not know the user.
                    context.ask(.user(UserRequest(.drop(entry.room, version: entry.version), of: user))) { result in
                        if case .failure(let error) = result { return then(error.wireError("erasure")) }
                        leave(Array(rooms.dropFirst()), user, then)
                    }
                }
            case .success: then(BrokerError.malformed("").wireError("erasure"))
            case .failure(let error): then(error.wireError("erasure"))
            }
        }
    }

    private func finish(_ user: UserID, left rooms: Int, _ answer: @escaping Erased) {
        context.ask(.user(UserRequest(.standing(user), of: user))) { [self] result in
            switch result {
            case .success(.user(.standing(let left, _))):
                guard left == 0 else { return answer(.success(ErasureProgress(rooms: rooms, left: left))) }
                context.ask(.user(UserRequest(.forget, of: user))) { result in
                    if case .failure(let error) = result { return answer(.failure(error.wireError("erasure"))) }
                    answer(.success(ErasureProgress(rooms: rooms, left: 0)))
                }
            case .success: answer(.failure(BrokerError.malformed("").wireError("erasure")))
            case .failure(let error): answer(.failure(error.wireError("erasure")))
            }
        }
    }
}
