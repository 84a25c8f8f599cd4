/// Amendments of a room's messages: the counterpart of `amend.lua` and `04-overlay.lua`.
extension MemoryRoom {
    /// What amendments made of a message.
    struct Overlay: Sendable {
        var state = MessageState()
        var text: String?
        var data: String?
        var edits: [Position] = []
        /// Who has reacted, by emoji.
        var reacted: [String: Set<UserID>] = [:]
    }

    private enum Most {
        static let edits = 50
        static let kinds = 20
        static let reactions = 1_000
        /// What one call of `deleteUser` and `deleteRange` reads and erases.
        static let piece = PageBounds(count: 256, bytes: 262_144)
        static let erased = 100
    }

    /// The seqs of the amendments that the log still holds.
    package var amendmentSeqs: [UInt64] {
        let first = log?.first ?? 0
        return amendments.filter { $0 >= first }.sorted()
    }

    mutating func forgetAmendments() {
        overlay = [:]
        amendments = []
        ops = 0
    }

    /// The message of a page with what was made of it.
    func takeState(of message: inout Message) {
        guard let overlay = overlay[message.position.seq] else { return }
        message.content.take(overlay.state, text: overlay.text, data: overlay.data)
    }

    // MARK: the request

    mutating func amend(
        _ order: AmendOrder, limit: Int, runID: String, now: UInt64, expires: UInt64
    ) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        guard var log else { return (.failure(.forbidden(AmendProblem.noSuchMessage.error)), []) }
        let request = order.request
        if case .report(let of, let reason) = request.operation { return report(of, reason, order, log, now: now) }
        if let key = request.key, let known = UserKey(MessageContent(user: order.user, at: 0, key: key)),
            let earlier = log.entries.last(where: { UserKey($0.content) == known })
        {
            return (.success(.amended(AmendReply(earlier.position, .repeated))), [])
        }
        if awaitsReturns(runID: runID, now: now) { return (.failure(.refused), []) }
        var erased: Piece?
        let content: MessageContent
        switch plan(order, log) {
        case .failure(let problem): return (.failure(.forbidden(problem.error)), [])
        case .success(.nothing(let piece)):
            let reply = AmendReply(log.last, .unchanged, erased: piece.map { _ in 0 }, next: piece?.next)
            return (.success(.amended(reply)), [])
        case .success(.entry(let planned, let piece)): (content, erased) = (planned, piece)
        }
        self.log = nil
        let events = beginForeignEpoch(&log, runID: runID, now: now)
        let appended = log.append(content, epoch: log.last.epoch, limit: limit)
        let message = Message(position: appended ?? log.last, content: content)
        if appended != nil { fold(message, &log) }
        amendments = amendments.filter { $0 >= log.first ?? 0 }
        self.log = log
        if logExpires != nil {
            logExpires = expires
            rulesExpire = expires
        }
        let reply = AmendReply(message.position, .stored, erased: erased?.targets.count, next: erased?.next)
        return (.success(.amended(reply)), events + [.message(message, base: nil)])
    }

    private mutating func report(
        _ of: Position, _ reason: String, _ order: AmendOrder, _ log: MemoryLog, now: UInt64
    ) -> (Result<BrokerReply, BrokerError>, [ChannelEvent]) {
        if let problem = problem(order, of, log) { return (.failure(.forbidden(problem.error)), []) }
        let isKnown = audit.suffix(32).contains {
            $0.operation == "report" && $0.by == order.user.text && $0.value == of.description
        }
        guard !isKnown else { return (.success(.amended(AmendReply(of, .unchanged))), []) }
        note(
            "report", user: log.entry(at: of)?.content.user.text ?? "", value: of.description, reason: reason,
            by: order.user.text, now: now)
        return (.success(.amended(AmendReply(of, .stored))), [])
    }

    private struct Piece {
        var targets: [Position]
        var next: Position?
    }

    private enum Plan {
        /// The message is as wanted already.
        case nothing(Piece?)
        case entry(MessageContent, Piece?)
    }

    private func plan(_ order: AmendOrder, _ log: MemoryLog) -> Result<Plan, AmendFailure> {
        let request = order.request
        func entry(
            _ operation: Amendment.Operation, of: Position, text: String? = nil, data: String? = nil,
            number: UInt64 = 0, _ piece: Piece? = nil
        ) -> Result<Plan, AmendFailure> {
            let extra = MessageExtra(amendment: Amendment(operation, of: of, number: number))
            return .success(
                .entry(
                    MessageContent(
                        user: order.user, at: order.at, text: text, data: data, key: request.key, extra: extra), piece))
        }
        switch request.operation {
        case .deleteUser, .deleteRange:
            guard order.mayAmendAny else { return .failure(AmendFailure(.notAuthor)) }
            let piece = piece(of: request.operation, log)
            guard let first = piece.targets.first else { return .success(.nothing(piece)) }
            return entry(.delete, of: first, data: StringList.write(piece.targets.map(\.description)), piece)
        case .edit, .delete, .react, .unreact, .pin, .unpin, .report: break
        }
        guard let of = request.operation.of else { return .failure(AmendFailure(.noSuchMessage)) }
        if let problem = problem(order, of, log) { return .failure(AmendFailure(problem)) }
        let known = overlay[of.seq] ?? Overlay()
        switch request.operation {
        case .edit(_, let text, let data):
            guard known.edits.count < Most.edits else { return .failure(AmendFailure(.tooManyEdits)) }
            // An empty text counts as none.
            let words = text == "" ? nil : text
            return entry(.edit, of: of, text: words, data: data, number: known.state.version + 1)
        case .delete: return entry(.delete, of: of)
        case .pin: return known.state.pinned == nil ? entry(.pin, of: of) : .success(.nothing(nil))
        case .unpin: return known.state.pinned != nil ? entry(.unpin, of: of) : .success(.nothing(nil))
        case .react(_, let emoji):
            let reacted = known.reacted[emoji] ?? []
            guard !reacted.contains(order.user) else { return .success(.nothing(nil)) }
            guard !reacted.isEmpty || known.state.reactions.count < Most.kinds, reacted.count < Most.reactions else {
                return .failure(AmendFailure(.tooManyReactions))
            }
            var users = known.state.reactions[emoji]?.users ?? []
            if users.count < MessageState.Reaction.mostNames { users.append(order.user) }
            return entry(
                .react, of: of, text: emoji, data: StringList.write(users.map(\.text)),
                number: UInt64(reacted.count) + 1)
        case .unreact(_, let emoji):
            let reacted = known.reacted[emoji] ?? []
            guard reacted.contains(order.user) else { return .success(.nothing(nil)) }
            let users = (known.state.reactions[emoji]?.users ?? []).filter { $0 != order.user }
            return entry(
                .unreact, of: of, text: emoji, data: StringList.write(users.map(\.text)),
                number: UInt64(reacted.count) - 1)
        case .deleteUser, .deleteRange, .report: return .failure(AmendFailure(.noSuchMessage))
        }
    }

    private func problem(_ order: AmendOrder, _ of: Position, _ log: MemoryLog) -> AmendProblem? {
        guard let target = log.entry(at: of) else { return .noSuchMessage }
        if target.content.amendment != nil { return .notAMessage }
        if target.content.deleted != nil { return .messageDeleted }
        guard !order.mayAmendAny else { return nil }
        switch order.request.operation {
        case .pin, .unpin: return .notAuthor
        case .edit, .delete:
            if target.content.user != order.user { return .notAuthor }
            let age = order.at - min(order.at, target.content.at)
            return order.window > 0 && age > order.window ? .tooLate : nil
        case .react, .unreact, .deleteUser, .deleteRange, .report: return nil
        }
    }

    /// The targets in the next piece of the log, and where to go on.
    private func piece(of operation: AmendRequest.Operation, _ log: MemoryLog) -> Piece {
        let from = operation.of ?? Self.nowhere
        var entries = log.entries[log.entries.endIndex...]
        let before = from.seq > 0 ? Position(epoch: from.epoch, seq: from.seq - 1) : Self.nowhere
        entries = from == Self.nowhere ? log.entries : log.entries(after: before)
        var wanted: (Message) -> Bool = { _ in false }
        switch operation {
        case .deleteUser(let user, _): wanted = { $0.content.user == user }
        case .deleteRange(_, let to):
            entries = entries.prefix { $0.position <= to }
            wanted = { _ in true }
        case .edit, .delete, .react, .unreact, .pin, .unpin, .report: break
        }
        let live = entries.filter { $0.content.deleted == nil }
        let read = live.prefix(live.fitting(Most.piece))
        var piece = Piece(targets: [], next: nil)
        var left = Most.erased
        for message in read where message.content.amendment == nil && wanted(message) {
            let count = 1 + (overlay[message.position.seq]?.edits.count ?? 0)
            guard piece.targets.isEmpty || count <= left else {
                piece.next = message.position
                return piece
            }
            piece.targets.append(message.position)
            left -= count
        }
        if read.count < live.count, let last = read.last {
            piece.next = Position(epoch: last.position.epoch, seq: last.position.seq + 1)
        }
        return piece
    }

    // MARK: folding

    /// Folds an entry that is in the log into the state of the message that it is about.
    mutating func fold(_ entry: Message, _ log: inout MemoryLog) {
        let content = entry.content
        guard let amendment = content.amendment else {
            guard let root = content.extra?.thread, content.deleted == nil else { return }
            return count(entry.position, in: root, by: 1, log)
        }
        amendments.insert(entry.position.seq)
        ops += 1
        guard content.deleted == nil else { return }
        if amendment.operation == .delete {
            let deed = Deed(by: content.user.text, at: content.at)
            for target in content.erased { erase(target, deed, &log) }
            return
        }
        guard let target = log.entry(at: amendment.of), target.content.deleted == nil else { return }
        var known = overlay[amendment.of.seq] ?? Overlay()
        var message = target
        message.content.take(known.state, text: known.text, data: known.data)
        message.content.fold(content)
        known.state = message.content.extra?.state ?? MessageState()
        switch amendment.operation {
        case .edit:
            (known.text, known.data) = (content.text, content.data)
            known.edits.append(entry.position)
        case .react: if let emoji = content.text { known.reacted[emoji, default: []].insert(content.user) }
        case .unreact: if let emoji = content.text { known.reacted[emoji]?.remove(content.user) }
        case .delete, .pin, .unpin: break
        }
        overlay[amendment.of.seq] = known
    }

    private mutating func count(_ reply: Position, in root: Position, by change: Int, _ log: MemoryLog) {
        guard let entry = log.entry(at: root), entry.content.deleted == nil, entry.content.amendment == nil else {
            return
        }
        var known = overlay[root.seq] ?? Overlay()
        if change > 0 {
            known.state.replies += 1
            known.state.lastReply = reply
        } else {
            known.state.replies -= min(1, known.state.replies)
        }
        overlay[root.seq] = known
    }

    /// Erases a message and its edits.
    private mutating func erase(_ position: Position, _ deed: Deed, _ log: inout MemoryLog) {
        let entry = log.entry(at: position)
        if let entry {
            guard entry.content.deleted == nil, entry.content.amendment == nil else { return }
        } else {
            // The append of a deletion may trim the message that it is about; its edits may still be there.
            guard log.first.map({ position.seq < $0 }) ?? false else { return }
        }
        for edit in overlay[position.seq]?.edits ?? []
        where log.entry(at: edit)?.content.amendment?.of == position { log.erase(at: edit, deed) }
        overlay[position.seq] = nil
        guard let entry else { return }
        log.erase(at: position, deed)
        if let root = entry.content.extra?.thread { count(position, in: root, by: -1, log) }
    }
}

/// Why a message cannot be amended, as an error.
struct AmendFailure: Error {
    let problem: AmendProblem

    init(_ problem: AmendProblem) { self.problem = problem }

    var error: WireError { problem.error }
}
