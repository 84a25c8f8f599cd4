import ChatCore

/// Stars. The copy of a message belongs to who has starred it, and the message's author keeps a list of who has one: so
/// whoever erases a message, or a user, finds the copies, also those of messages that the log holds no longer. The list
/// is written before the copy is made, and shortened after the copy is gone. A copy that outlives its message
/// nevertheless, because a node died in between, goes when its owner next looks, if the log reaches back that far.
extension ConversationSteps {
    /// Copies that are removed at once.
    private static let copiesAtOnce = 100

    func star(_ position: Position, in room: RoomName, by user: UserID?, _ answer: @escaping Answer) {
        guard let user else { return answer(.failure(.nobody)) }
        ask(.history(room: room, query: Self.query(position)), "star", \.history, answer) { [self] page in
            guard let message = page.messages.first, message.position == position, message.content.deleted == nil else {
                return answer(.failure(WireError(.badField, "star: the log has no message at this position")))
            }
            let (author, starrer) = (message.content.user, Starrer(room, position, by: user))
            ask(.user(UserRequest(.note(starrer), of: author)), "star", \.isDone, answer) { [self] _ in
                let star = UserRequest(.star(Star(message, in: room)), of: user)
                ask(.user(star), "star", \.isChanged) { [self] result in
                    if case .failure(let error) = result {
                        if error.code == .tooManyEntries { strike([starrer], of: author) }
                        return answer(.failure(error))
                    }
                    answer(.success(.starred(room, position, true)))
                }
            }
        }
    }

    func unstar(_ position: Position, in room: RoomName, by user: UserID?, _ answer: @escaping Answer) {
        guard let user else { return answer(.failure(.nobody)) }
        ask(.user(UserRequest(.unstar(room, position), of: user)), "unstar", \.unstarred, answer) { [self] author in
            if let author { strike([Starrer(room, position, by: user)], of: author) }
            answer(.success(.starred(room, position, false)))
        }
    }

    private func strike(_ starrers: [Starrer], of author: UserID) {
        context.ask(.user(UserRequest(.strike(starrers), of: author))) { _ in }
    }

    /// A page of stars. Those of messages that were erased meanwhile are removed, if the log reaches back that far.
    func stars(of user: UserID?, limit: Int, before: UInt64?, _ answer: @escaping Answer) {
        guard let user else { return answer(.failure(.nobody)) }
        let page = PageBounds(count: limit, bytes: pageBytes)
        let request = UserRequest(.stars(before: before, page), of: user)
        ask(.user(request), "stars", \.stars, answer) { [self] stars, hasMore in
            let next = hasMore ? stars.last?.starred : nil
            guard !stars.isEmpty else { return answer(.success(.stars([], before: nil))) }
            var (waiting, erased) = (stars.count, Set<UInt64>())
            for star in stars {
                context.ask(.history(room: star.room, query: Self.query(star.position))) { [self] result in
                    if case .success(.history(let page)) = result, page.lacks(star.position) {
                        erased.insert(star.starred)
                        unstar(star.position, in: star.room, by: user) { _ in }
                    }
                    waiting -= 1
                    guard waiting == 0 else { return }
                    answer(.success(.stars(stars.filter { !erased.contains($0.starred) }, before: next)))
                }
            }
        }
    }

    /// The message at the position, or the next one.
    private static func query(_ position: Position) -> HistoryQuery {
        // A star keeps the message as it reads now.
        var query = HistoryQuery(anchor: .around(position), limit: 1, bytes: 1)
        query.isFolded = true
        return query
    }

    // MARK: erasing

    /// Removes the copies of what an amendment has erased. Nobody waits for it.
    func eraseCopies(after operation: AmendRequest.Operation, _ reply: AmendReply, in room: RoomName) {
        switch operation {
        case .delete(let position): eraseCopies(ofErased: position, in: room)
        case .deleteRange(let first, let last):
            // A range of which nothing is left costs no more than to find that out.
            guard let erased = reply.erased, erased > 0 else { return }
            eraseCopies(ofErasedAfter: first.previous, to: reply.next?.previous ?? last, in: room)
        case .deleteUser(let author, _):
            // There is more to erase, and whoever goes on with it comes here again.
            guard reply.next == nil else { return }
            let isErased = { [self] (starrer: Starrer, then: @escaping (Bool) -> Void) in
                context.ask(.history(room: room, query: Self.query(starrer.position))) { result in
                    guard case .success(.history(let page)) = result else { return then(false) }
                    then(page.lacks(starrer.position))
                }
            }
            eraseCopies(of: author, in: room, isErased: isErased) { _ in }
        case .edit, .react, .unreact, .pin, .unpin, .report: break
        }
    }

    /// The tombstone says whose message it was.
    private func eraseCopies(ofErased position: Position, in room: RoomName) {
        context.ask(.history(room: room, query: Self.query(position))) { [self] result in
            guard case .success(.history(let page)) = result, let message = page.messages.first,
                message.position == position, message.content.deleted != nil
            else { return }
            eraseCopies(of: message.content.user, in: room, at: position) { _ in }
        }
    }

    private func eraseCopies(ofErasedAfter position: Position, to last: Position, in room: RoomName) {
        var query = HistoryQuery(anchor: .after(position), limit: Self.copiesAtOnce, bytes: pageBytes)
        query.isFolded = true
        context.ask(.history(room: room, query: query)) { [self] result in
            guard case .success(.history(let page)) = result else { return }
            for message in page.messages where message.position <= last && message.content.deleted != nil {
                eraseCopies(of: message.content.user, in: room, at: message.position) { _ in }
            }
            guard page.hasNewer, let end = page.messages.last?.position, end > position, end < last else { return }
            eraseCopies(ofErasedAfter: end, to: last, in: room)
        }
    }

    /// Removes the copies that others have of an author's messages: in that room (nil: in all rooms), or of that
    /// message alone. `isErased`: whether the message of a copy is erased. `then` gets the error of the first copy that
    /// could not be removed, after the others were tried.
    func eraseCopies(
        of author: UserID, in room: RoomName?, at position: Position? = nil, after: Starrer? = nil,
        isErased: @escaping (Starrer, @escaping (Bool) -> Void) -> Void = { $1(true) },
        _ then: @escaping (WireError?) -> Void
    ) {
        let request = UserRequest(.starrers(in: room, at: position, after: after, count: Self.copiesAtOnce), of: author)
        ask(.user(request), "erasure", \.starrers) { [self] result in
            guard case .success(let (starrers, hasMore)) = result else { return then(result.error) }
            erase(starrers, of: author, isErased: isErased) { [self] error in
                guard hasMore, let last = starrers.last else { return then(error) }
                eraseCopies(of: author, in: room, at: position, after: last, isErased: isErased) { then(error ?? $0) }
            }
        }
    }

    private func erase(
        _ starrers: [Starrer], of author: UserID, isErased: (Starrer, @escaping (Bool) -> Void) -> Void,
        _ then: @escaping (WireError?) -> Void
    ) {
        guard !starrers.isEmpty else { return then(nil) }
        var (waiting, gone, failure) = (starrers.count, [Starrer](), WireError?.none)
        let ended = { [self] in
            waiting -= 1
            guard waiting == 0 else { return }
            if !gone.isEmpty { strike(gone, of: author) }
            then(failure)
        }
        for starrer in starrers {
            isErased(starrer) { [self] isErased in
                guard isErased else { return ended() }
                let request = UserRequest(.unstar(starrer.room, starrer.position), of: starrer.user)
                ask(.user(request), "erasure", \.unstarred) { result in
                    if let error = result.error { failure = failure ?? error } else { gone.append(starrer) }
                    ended()
                }
            }
        }
    }
}

/// The parts of replies about stars.
extension BrokerReply {
    fileprivate var stars: ([Star], hasMore: Bool)? {
        if case .user(.stars(let stars, let hasMore)) = self { (stars, hasMore) } else { nil }
    }
    fileprivate var starrers: ([Starrer], hasMore: Bool)? {
        if case .user(.starrers(let starrers, let hasMore)) = self { (starrers, hasMore) } else { nil }
    }
    /// The author of the message that was starred.
    fileprivate var unstarred: UserID?? {
        if case .user(.unstarred(_, let author)) = self { .some(author) } else { nil }
    }
    fileprivate var isDone: Bool? { if case .user(.done) = self { true } else { nil } }
}

extension HistoryPage {
    /// Whether this page about the position shows that there is no message any more: a tombstone, or nothing although
    /// the log has older and newer ones. (A log that was trimmed shows nothing.)
    fileprivate func lacks(_ position: Position) -> Bool {
        guard let message = messages.first else { return false }
        guard message.position != position else { return message.content.deleted != nil }
        return message.position > position ? hasOlder : hasNewer
    }
}
