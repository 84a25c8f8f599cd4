import ChatCore

/// Erases a user part by part: what the user has said in the rooms of the index, then the user out of these rooms, with
/// the read positions, and at the end what belongs to the user. In this order, so that whoever was interrupted begins
/// again, and finds what is left.
extension ConversationSteps {
    typealias Erased = (Result<ErasureProgress, WireError>) -> Void

    /// The rooms of one part.
    static let erasedAtOnce = 20
    /// The calls of one part that erase messages. Each erases at most a hundred, or reads a piece of a log.
    static let erasingCalls = 20
    /// Who is said to have erased the messages.
    private static let eraser = try? UserID("martlet")

    func erase(_ user: UserID, _ answer: @escaping Erased) {
        let request = UserRequest(.rooms(cursor: 0, count: Self.erasedAtOnce), of: user)
        ask(.user(request), "erasure", \.rooms, answer) { [self] rooms in
            leave(rooms.prefix(Self.erasedAtOnce), user, calls: Self.erasingCalls, ErasureProgress()) { [self] result in
                switch result {
                case .success(let progress): finish(user, progress, answer)
                case .failure(let error): answer(.failure(error))
                }
            }
        }
    }

    /// Takes the user out of the rooms, one after the other, as long as there are calls left for the messages. A room
    /// that refuses stays, and does not keep the user in the others. `refusal`: of the first one.
    private func leave(
        _ rooms: ArraySlice<IndexedRoom>, _ user: UserID, calls: Int, _ progress: ErasureProgress,
        refusal: WireError? = nil, _ then: @escaping Erased
    ) {
        guard let entry = rooms.first, calls > 0 else {
            let isStuck = progress.rooms == 0 && progress.messages == 0
            return then(refusal.map { isStuck ? .failure($0) : .success(progress) } ?? .success(progress))
        }
        let goOn = { [self] (calls: Int, progress: ErasureProgress, error: WireError?) in
            leave(rooms.dropFirst(), user, calls: calls, progress, refusal: refusal ?? error, then)
        }
        eraseMessages(of: user, in: entry.room, from: nil, calls: calls, progress) { [self] result, left in
            guard case .success(var reached) = result else { return goOn(calls - 1, progress, result.error) }
            guard let left else { return then(.success(reached)) }
            take(user, outOf: entry) { error in
                if error == nil { reached.rooms += 1 }
                goOn(left, reached, error)
            }
        }
    }

    private func take(_ user: UserID, outOf entry: IndexedRoom, _ then: @escaping (WireError?) -> Void) {
        let request = ConversationRequest(.leave, in: entry.room, by: user)
        ask(.conversation(request), "erasure", \.conversation) { [self] result in
            guard case .success(let reply) = result else { return then(result.error) }
            settle(reply.pending, in: entry.room, reply.kind) { [self] in
                // The index may name rooms that do not know the user.
                let drop = UserRequest(.drop(entry.room, version: entry.version), of: user)
                context.ask(.user(drop)) { then($0.mapError { $0.wireError("erasure") }.error) }
            }
        }
    }

    /// Erases what the user has said in the room. `then` gets the number of calls that are left; nil if there is more
    /// to erase.
    private func eraseMessages(
        of user: UserID, in room: RoomName, from: Position?, calls: Int, _ progress: ErasureProgress,
        _ then: @escaping (Result<ErasureProgress, WireError>, _ calls: Int?) -> Void
    ) {
        guard let eraser = Self.eraser, calls > 0 else { return then(.success(progress), nil) }
        let request = AmendRequest(room: room, .deleteUser(user, from: from))
        let order = AmendOrder(request, by: eraser, at: context.wallClock, mayAmendAny: true, obeysRules: false)
        context.ask(.amend(order)) { [self] result in
            var progress = progress
            switch result {
            case .success(.amended(let reply)):
                progress.messages += reply.erased ?? 0
                guard let next = reply.next else { return then(.success(progress), calls - 1) }
                eraseMessages(of: user, in: room, from: next, calls: calls - 1, progress, then)
            case .success: then(.failure(BrokerError.malformed("").wireError("erasure")), nil)
            // More of the log has to be read first: the same call reads on.
            case .failure(.again):
                eraseMessages(of: user, in: room, from: from, calls: calls - 1, progress, then)
            // The room has no log any more.
            case .failure(.forbidden(let error)) where error.code == .noSuchMessage:
                then(.success(progress), calls - 1)
            case .failure(let error): then(.failure(error.wireError("erasure")), nil)
            }
        }
    }

    private func finish(_ user: UserID, _ progress: ErasureProgress, _ answer: @escaping Erased) {
        ask(.user(UserRequest(.standing(user), of: user)), "erasure", \.standing, answer) { [self] standing in
            var progress = progress
            progress.left = standing.rooms
            guard progress.isDone else { return answer(.success(progress)) }
            // The user's own keys say where the copies are, so they go last.
            eraseCopies(of: user, in: nil) { [self] error in
                if let error { return answer(.failure(error)) }
                context.ask(.user(UserRequest(.forget, of: user))) { result in
                    if case .failure(let error) = result { return answer(.failure(error.wireError("erasure"))) }
                    answer(.success(progress))
                }
            }
        }
    }
}

extension Result where Failure == WireError {
    var error: WireError? {
        if case .failure(let error) = self { error } else { nil }
    }
}
