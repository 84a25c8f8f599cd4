import ChatCore
import RedisSchema
import Testing

@testable import ChatRedis

/// Amendments, over both brokers.
@Suite struct ContractAmendmentTests {
    private let n1: NodeID
    private let n2: NodeID
    private let ana: UserID
    private let bo: UserID
    private let mod: UserID

    init() throws {
        n1 = try NodeID("n1-1")
        n2 = try NodeID("n2-1")
        ana = try UserID("ana")
        bo = try UserID("bo: \"the second\"")
        mod = try UserID("mod")
    }

    private func order(
        _ store: ContractStore, _ operation: AmendRequest.Operation, by user: UserID? = nil, key: String? = nil,
        at: UInt64 = 100, window: UInt64 = 0, any: Bool = false
    ) -> BrokerRequest {
        .amend(
            AmendOrder(
                AmendRequest(room: store.room, operation, key: key), by: user ?? ana, at: at, window: window,
                mayAmendAny: any))
    }

    private func amend(
        _ store: ContractStore, _ operation: AmendRequest.Operation, by user: UserID? = nil, key: String? = nil,
        any: Bool = false
    ) throws -> AmendReply {
        let answer = try store.ask(order(store, operation, by: user, key: key, any: any))
        guard case .amended(let reply) = try answer.result.get() else { throw StoreFailure("amend: \(answer)") }
        return reply
    }

    private func problem(
        _ store: ContractStore, _ operation: AmendRequest.Operation, by user: UserID? = nil, at: UInt64 = 100,
        window: UInt64 = 0, any: Bool = false
    ) throws -> WireError.Code? {
        let answer = try store.ask(order(store, operation, by: user, at: at, window: window, any: any))
        guard case .failure(.forbidden(let error)) = answer.result else { return nil }
        #expect(answer.events.isEmpty)
        return error.code
    }

    private func folded(
        _ store: ContractStore, _ anchor: HistoryQuery.Anchor = .newest, _ limit: Int = 100
    ) throws -> HistoryPage {
        var query = HistoryQuery(anchor: anchor, limit: limit)
        query.isFolded = true
        guard case .history(let page) = try store.reply(.history(room: store.room, query: query)) else {
            throw StoreFailure("no history")
        }
        return page
    }

    private func message(_ store: ContractStore, _ position: Position) throws -> MessageContent {
        try #require(try folded(store, .around(position)).messages.first { $0.position == position }?.content)
    }

    private struct Counts: Equatable {
        var ops: UInt64
        var seqs: [UInt64]
    }

    /// What the store counts: all amendments of the room's life, and the seqs of those in the log.
    private func counts(_ store: ContractStore) throws -> Counts {
        guard store.kind == .redis else {
            var found = Counts(ops: 0, seqs: [])
            var memory = store.memory
            memory.spoil(store.room) { found = Counts(ops: $0.ops, seqs: $0.amendmentSeqs) }
            return found
        }
        let seqs = try store.raw("ZRANGE", store.key(.amendments), "0", "-1")
        let ops = try store.raw("HGET", store.key(.meta), "ops")
        guard case .array(let members) = seqs else { throw StoreFailure("ZRANGE: \(seqs)") }
        return Counts(ops: UInt64(text(ops) ?? "") ?? 0, seqs: members.compactMap { UInt64(text($0) ?? "") })
    }

    private func text(_ tree: Tree) -> String? {
        guard case .string(let bytes) = tree else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: editing

    /// A hundred short messages that were edited into long ones once made a page of megabytes.
    @Test func whatBecameOfMessagesCountsAmongTheBytesOfAPage() async throws {
        let store = try await ContractStore(.redis, historyLength: 1_000)
        let epoch = try store.enter(n1).epoch
        let all = try (1...40).map { try store.append(epoch, "\($0)") }
        let long = String(repeating: "x", count: 5_000)
        for position in all { _ = try amend(store, .edit(of: position, text: long, data: nil)) }
        func page(_ anchor: HistoryQuery.Anchor, _ limit: Int = 100) throws -> HistoryPage {
            var query = HistoryQuery(anchor: anchor, limit: limit, bytes: 40_000)
            query.isFolded = true
            guard case .history(let page) = try store.reply(.history(room: store.room, query: query)) else {
                throw StoreFailure("no history")
            }
            #expect(page.messages.reduce(0) { $0 + $1.content.storedBytes } <= 40_000, "\(anchor)")
            return page
        }
        // The edits behind them have no state of their own, but their text.
        let newer = try page(.after(Position(epoch: 0, seq: 0)))
        #expect(newer.messages.map(\.position) == Array(all.prefix(7)) && newer.hasNewer && !newer.hasOlder)
        #expect(newer.messages.allSatisfy { $0.content.text == long })
        let older = try page(.before(all[20]))
        #expect(older.messages.map(\.position) == Array(all[13..<20]) && older.hasOlder && older.hasNewer)
        let around = try page(.around(all[20]))
        #expect(around.messages.map(\.position) == Array(all[17..<23]) && around.hasOlder && around.hasNewer)
        // Page by page nothing is missing.
        var seen: [UInt64] = []
        var last = Position(epoch: 0, seq: 0)
        repeat {
            let next = try page(.after(last))
            seen += next.messages.map(\.position.seq)
            last = try #require(next.messages.last?.position)
            if !next.hasNewer { break }
        } while seen.count < 100
        #expect(seen == Array(1...80))
    }

    @Test(arguments: StoreKind.allCases)
    func anEditIsAnEntryOfTheLogAndIsFoldedIntoPages(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        let second = try store.append(epoch, "two")
        let answer = try store.ask(order(store, .edit(of: first, text: "uno", data: "[1]"), key: "e"))
        let extra = MessageExtra(amendment: Amendment(.edit, of: first, number: 1))
        let entry = Message(
            position: Position(epoch: epoch, seq: 3),
            content: MessageContent(user: ana, at: 100, text: "uno", data: "[1]", key: "e", extra: extra))
        #expect(answer.result == .success(.amended(AmendReply(entry.position, .stored))))
        #expect(answer.events == [.message(entry, base: nil)])
        #expect(try store.view().entries.last == entry && store.view().last == 3)
        #expect(try store.view().entries.first?.content.text == "one")
        let edited = try message(store, first)
        #expect(edited.text == "uno" && edited.data == "[1]" && edited.user == ana && edited.at == 7)
        #expect(edited.extra?.state?.version == 1 && edited.extra?.state?.edited == Deed(by: "ana", at: 100))
        #expect(try message(store, second).isPlain)
        _ = try amend(store, .edit(of: first, text: "eins", data: nil), by: mod, any: true)
        let again = try message(store, first)
        #expect(again.text == "eins" && again.data == nil && again.extra?.state?.version == 2)
        #expect(again.extra?.state?.edited?.by == "mod")
        #expect(try counts(store) == Counts(ops: 2, seqs: [3, 4]))
        // A node folds the same from what it remembers.
        #expect(MessageFold.folded(try store.view().entries) == (try folded(store).messages))
    }

    /// A reaction to a message that was edited into a long one once read and wrote all of it, 3.5 ms.
    @Test func whatAnEditSaysIsApartFromTheState() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        let long = String(repeating: "x", count: 50_000)
        _ = try amend(store, .edit(of: first, text: long, data: "[1]"))
        _ = try amend(store, .react(of: first, emoji: "👍"), by: bo)
        guard case .integer(let length) = try store.raw("HSTRLEN", store.key(.overlay), "1") else {
            throw StoreFailure("HSTRLEN")
        }
        #expect(length < 500)
        let content = try message(store, first)
        #expect(content.text == long && content.data == "[1]" && content.extra?.state?.reactions.count == 1)
        // Nodes of versions before 23 are told both in the JSON.
        let older = try store.raw("FCALL_RO", "martlet_history", "1", store.key(.log), "newest", "", "9:999999", "fold")
        guard case .array(let parts) = older, parts.count == 5, case .array(let states) = parts[4] else {
            throw StoreFailure("history: \(older)")
        }
        #expect(states.first == .text("1"))
        #expect((states.last.flatMap(text) ?? "").contains(#","text":"xxxx"#), "\(states.count)")
        // An edit that says nothing any more leaves nothing behind, and neither does an erased one.
        _ = try amend(store, .edit(of: first, text: "short", data: nil))
        #expect(try store.raw("HGET", store.key(.overlay), "1.data").text == nil)
        _ = try amend(store, .delete(of: first))
        #expect(try store.raw("HGET", store.key(.overlay), "1.text").text == nil)
    }

    /// Versions before 23 of the library wrote what edits say into the state.
    @Test func theStateOfAnEarlierVersionIsUnderstood() async throws {
        let store = try await ContractStore(.redis)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        _ = try amend(store, .edit(of: first, text: "two", data: nil))
        let old = #"{"v":1,"text":"old","data":"[2]","by":"ana","at":"7","edits":[]}"#
        try store.raw("HDEL", store.key(.overlay), "1.text")
        try store.raw("HSET", store.key(.overlay), "1", old)
        #expect(try message(store, first).text == "old" && message(store, first).data == "[2]")
        _ = try amend(store, .react(of: first, emoji: "x"), by: bo)
        #expect(try message(store, first).text == "old" && message(store, first).extra?.state?.reactions.count == 1)
        _ = try amend(store, .edit(of: first, text: "new", data: nil))
        #expect(try message(store, first).text == "new" && message(store, first).data == nil)
        #expect(!(try store.raw("HGET", store.key(.overlay), "1").text ?? "").contains("old"))
    }

    /// One erasure of a hundred messages with fifty edits each once took 117 ms.
    @Test(arguments: StoreKind.allCases)
    func editsCountAmongWhatIsErasedAtOnce(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind, historyLength: 1_000)
        let epoch = try store.enter(n1).epoch
        let all = try (1...5).map { try store.append(epoch, "m\($0)") }
        for position in all.dropLast() {
            for number in 1...40 { _ = try amend(store, .edit(of: position, text: "e\(number)", data: nil)) }
        }
        let reply = try amend(store, .deleteUser(ana, from: nil), by: mod, any: true)
        #expect(reply.erased == 2 && reply.next == all[2])
        let second = try amend(store, .deleteUser(ana, from: reply.next), by: mod, any: true)
        // The last one was never edited.
        #expect(second.erased == 3 && second.next == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func aKeyAmendsOnce(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.append(try store.enter(n1).epoch, "one", key: "k")
        let edit = try amend(store, .edit(of: first, text: "two", data: nil), key: "e")
        let answer = try store.ask(order(store, .edit(of: first, text: "three", data: nil), key: "e"))
        #expect(answer.result == .success(.amended(AmendReply(edit.position, .repeated))) && answer.events.isEmpty)
        #expect(try message(store, first).text == "two")
    }

    @Test(arguments: StoreKind.allCases)
    func whoMayEditWhatAndForHowLong(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        let edit = AmendRequest.Operation.edit(of: first, text: "x", data: nil)
        #expect(try problem(store, edit, by: bo) == .notAuthor)
        #expect(try problem(store, .delete(of: first), by: bo) == .notAuthor)
        #expect(try problem(store, .pin(of: first)) == .notAuthor)
        #expect(try problem(store, edit, at: 1_008, window: 1_000) == .tooLate)
        #expect(try problem(store, edit, at: 1_007, window: 1_000) == nil)
        #expect(try problem(store, edit, by: mod, at: 9_999, window: 1_000, any: true) == nil)
        let amendment = Position(epoch: epoch, seq: 2)
        #expect(try problem(store, .edit(of: amendment, text: "x", data: nil)) == .notAMessage)
        for position in [
            Position(epoch: epoch, seq: 9), Position(epoch: epoch - 1, seq: 1), Position(epoch: 0, seq: 0),
            Position(epoch: epoch + 5, seq: 1),
        ] {
            #expect(try problem(store, .react(of: position, emoji: "x")) == .noSuchMessage)
        }
        let nowhere = try await ContractStore(kind)
        #expect(try problem(nowhere, edit) == .noSuchMessage)
    }

    @Test(arguments: StoreKind.allCases)
    func aMessageIsEditedFiftyTimes(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        for number in 0..<19 { _ = try amend(store, .edit(of: first, text: "\(number)", data: nil)) }
        #expect(try message(store, first).text == "18")
        // The log of these tests holds twenty entries.
        _ = try amend(store, .edit(of: first, text: "last", data: nil))
        #expect(try problem(store, .edit(of: first, text: "x", data: nil)) == .noSuchMessage)
        #expect(try counts(store).ops == 20)
    }

    // MARK: reactions and pins

    @Test(arguments: StoreKind.allCases)
    func reactionsCountUsersAndNameTheFirst(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.append(try store.enter(n1).epoch, "one")
        let react = AmendRequest.Operation.react(of: first, emoji: "👍")
        #expect(try amend(store, react).outcome == .stored)
        #expect(try amend(store, react).outcome == .unchanged)
        #expect(try amend(store, react, by: bo).outcome == .stored)
        #expect(try amend(store, .react(of: first, emoji: "x"), by: bo).outcome == .stored)
        var reactions = try #require(try message(store, first).extra?.state?.reactions)
        #expect(
            reactions == [
                "👍": MessageState.Reaction(count: 2, users: [ana, bo]),
                "x": MessageState.Reaction(count: 1, users: [bo]),
            ])
        #expect(try amend(store, .unreact(of: first, emoji: "👍")).outcome == .stored)
        #expect(try amend(store, .unreact(of: first, emoji: "👍")).outcome == .unchanged)
        #expect(try amend(store, .unreact(of: first, emoji: "x"), by: bo).outcome == .stored)
        reactions = try #require(try message(store, first).extra?.state?.reactions)
        #expect(reactions == ["👍": MessageState.Reaction(count: 1, users: [bo])])
        #expect(MessageFold.folded(try store.view().entries) == (try folded(store).messages))
    }

    @Test(arguments: StoreKind.allCases)
    func twentyNamesAreKept(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind, historyLength: 3_000)
        let first = try store.append(try store.enter(n1).epoch, "one")
        for number in 0..<1_000 {
            let reply = try amend(store, .react(of: first, emoji: "👍"), by: try UserID("user\(number)"))
            #expect(reply.outcome == .stored)
        }
        #expect(try problem(store, .react(of: first, emoji: "👍"), by: ana) == .tooManyReactions)
        let reaction = try #require(try message(store, first).extra?.state?.reactions["👍"])
        #expect(reaction.count == 1_000 && reaction.users.map(\.text) == (0..<20).map { "user\($0)" })
        #expect(try amend(store, .unreact(of: first, emoji: "👍"), by: try UserID("user7")).outcome == .stored)
        #expect(try message(store, first).extra?.state?.reactions["👍"]?.users.count == 19)
        for kind in 1..<20 { _ = try amend(store, .react(of: first, emoji: "e\(kind)")) }
        #expect(try problem(store, .react(of: first, emoji: "another")) == .tooManyReactions)
        #expect(try problem(store, .react(of: first, emoji: "👍")) == nil)
    }

    @Test(arguments: StoreKind.allCases)
    func pins(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.append(try store.enter(n1).epoch, "one")
        #expect(try amend(store, .unpin(of: first), any: true).outcome == .unchanged)
        #expect(try amend(store, .pin(of: first), by: mod, any: true).outcome == .stored)
        #expect(try amend(store, .pin(of: first), any: true).outcome == .unchanged)
        #expect(try message(store, first).extra?.state?.pinned == Deed(by: "mod", at: 100))
        #expect(try amend(store, .unpin(of: first), any: true).outcome == .stored)
        #expect(try message(store, first).isPlain)
    }

    // MARK: deleting

    @Test(arguments: StoreKind.allCases)
    func aDeletedMessageLeavesATombstoneAndNoGap(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let all = try (1...4).map { try store.append(epoch, "secret \($0)", key: "k\($0)") }
        _ = try amend(store, .edit(of: all[1], text: "secret edit", data: nil), key: "e")
        _ = try amend(store, .react(of: all[1], emoji: "👍"), by: bo)
        let deed = Deed(by: "mod", at: 100)
        let deletion = try amend(store, .delete(of: all[1]), by: mod, any: true)
        let view = try store.view(after: all[0])
        #expect(view.verdict == .ok && view.entries.map(\.position.seq) == [2, 3, 4, 5, 6, 7])
        let stone = MessageContent(user: ana, at: 7, key: "k2", extra: MessageExtra(deleted: deed))
        #expect(view.entries.first == Message(position: all[1], content: stone))
        let edit = MessageExtra(amendment: Amendment(.edit, of: all[1]), deleted: deed)
        #expect(view.entries[3].content == MessageContent(user: ana, at: 100, key: "e", extra: edit))
        #expect(view.entries.last?.position == deletion.position && view.entries.last?.content.erased == [all[1]])
        #expect(try store.view(after: Position(epoch: 0, seq: 0)).entries.map(\.position.seq) == Array(1...7))
        for anchor in [HistoryQuery.Anchor.newest, .after(all[0]), .around(all[1]), .before(deletion.position)] {
            let page = try folded(store, anchor)
            #expect(page.messages.first { $0.position == all[1] }?.content == stone, "\(anchor)")
        }
        #expect(try folded(store, .before(all[2]), 1).messages.map(\.position) == [all[1]])
        #expect(try folded(store, .after(all[0]), 1).messages.map(\.position) == [all[1]])
        #expect(try folded(store, .after(all[0]), 1).hasNewer)
        // Late amendments are refused, and the key is known.
        #expect(try problem(store, .edit(of: all[1], text: "late", data: nil)) == .messageDeleted)
        #expect(try problem(store, .delete(of: all[1]), any: true) == .messageDeleted)
        #expect(try problem(store, .react(of: all[1], emoji: "x")) == .messageDeleted)
        let once = try store.once(n1, epoch, [try send("k2", "secret 2")])
        guard case .once(let reply) = try once.result.get() else { throw StoreFailure("\(once)") }
        #expect(reply.outcomes == [.repeated(all[1], at: 7)])
        let said = BrokerRequest.say(
            room: store.room, content: MessageContent(user: ana, at: 7, text: "secret 2", key: "k2"))
        #expect(try store.reply(said) == .said(all[1], repeated: true))
        #expect(try counts(store) == Counts(ops: 3, seqs: [5, 6, 7]))
        if kind == .redis { try expectNowhere("secret 2", "secret edit", in: store) }
    }

    /// No key of the store holds one of the texts.
    private func expectNowhere(_ texts: String..., in store: ContractStore) throws {
        guard case .array(let names) = try store.raw("KEYS", store.keys.prefix + "*") else {
            throw StoreFailure("KEYS")
        }
        #expect(!names.isEmpty)
        for case .string(let name) in names {
            guard case .string(let dump) = try store.raw(bytes: [Array("DUMP".utf8), name]) else { continue }
            let held = String(decoding: dump, as: UTF8.self)
            // Small values are stored as they are.
            for text in texts { #expect(!held.contains(text), "\(String(decoding: name, as: UTF8.self))") }
        }
        let log = "\(try store.raw("XRANGE", store.key(.log), "-", "+"))"
        for text in texts { #expect(!log.contains(text)) }
    }

    @Test(arguments: StoreKind.allCases)
    func theFirstMessagesOfALogMayBeDeleted(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let all = try (1...5).map { try store.append(epoch, "m\($0)") }
        for place in [0, 1, 3] { _ = try amend(store, .delete(of: all[place])) }
        let start = Position(epoch: 0, seq: 0)
        #expect(try store.view(after: start).verdict == .ok)
        #expect(try store.view(after: start).entries.map(\.position.seq) == Array(1...8))
        #expect(try store.view().entries.map(\.position.seq) == Array(1...8))
        #expect(try store.view(limit: 7).entries.map(\.position.seq) == Array(2...8))
        #expect(try store.view(limit: 7).hasMore && !store.view(limit: 8).hasMore)
        #expect(try store.view(after: all[0], limit: 1).entries.map(\.position.seq) == [2])
        #expect(try folded(store, .before(all[2])).messages.map(\.position.seq) == [1, 2])
        #expect(try folded(store, .before(all[1]), 9).messages.map(\.position.seq) == [1])
        // Trimming makes a gap of what it removes, and tombstones behind it remain.
        for number in 9...24 { _ = try store.append(epoch, "m\(number)") }
        let view = try store.view(after: all[0])
        #expect(view.verdict == .gap(first: 2, last: 3) && view.entries.first?.position.seq == 4)
        #expect(view.entries.map(\.position.seq) == Array(4...24))
    }

    @Test(arguments: StoreKind.allCases)
    func manyMessagesAreErasedAtOnce(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let all = try (1...5).map { try store.append(epoch, "m\($0)") }
        let bos = Message(
            position: Position(epoch: epoch, seq: 6), content: MessageContent(user: bo, at: 7, text: "bo's"))
        _ = try store.ask(.append(room: store.room, epoch: epoch, content: bos.content))
        let range = AmendRequest.Operation.deleteRange(from: all[1], to: all[2])
        #expect(try problem(store, range) == .notAuthor)
        let answer = try store.ask(order(store, range, by: mod, any: true))
        let position = Position(epoch: epoch, seq: 7)
        #expect(answer.result == .success(.amended(AmendReply(position, .stored, erased: 2))))
        guard case .message(let entry, nil)? = answer.events.first else { throw StoreFailure("\(answer)") }
        #expect(entry.content.erased == [all[1], all[2]] && entry.content.amendment?.of == all[1])
        #expect(try amend(store, range, by: mod, any: true) == AmendReply(position, .unchanged, erased: 0))
        let mine = try amend(store, .deleteUser(ana, from: nil), by: mod, any: true)
        #expect(mine.erased == 3 && mine.next == nil)
        let rest = try folded(store).messages.filter { $0.content.deleted == nil && $0.content.amendment == nil }
        #expect(rest == [bos])
        #expect(MessageFold.folded(try store.view().entries) == (try folded(store).messages))
    }

    @Test(arguments: StoreKind.allCases)
    func anErasureGoesOnWhereItEnded(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind, historyLength: 3_000)
        let epoch = try store.enter(n1).epoch
        for number in 1...230 { _ = try store.append(epoch, "m\(number)") }
        var from: Position?
        var counts: [Int] = []
        repeat {
            let reply = try amend(store, .deleteUser(ana, from: from), by: mod, any: true)
            counts.append(reply.erased ?? -1)
            from = reply.next
        } while from != nil && counts.count < 9
        #expect(counts == [100, 100, 30])
        let view = try store.view(after: Position(epoch: 0, seq: 0), limit: 500)
        #expect(view.verdict == .ok && view.entries.map(\.position.seq) == Array(1...233))
        #expect(view.entries.prefix(230).allSatisfy { $0.content.deleted != nil })
    }

    /// The deletion takes the last place in the log, so the message that it is about is trimmed in the same step.
    @Test(arguments: StoreKind.allCases)
    func aDeletionThatTrimsItsMessageErasesItsEdits(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let first = try store.append(epoch, "one")
        _ = try amend(store, .edit(of: first, text: "secret", data: nil))
        for number in 2..<ContractStore.historyLength { _ = try store.append(epoch, "\(number)") }
        #expect(try amend(store, .delete(of: first)).outcome == .stored)
        let entries = try store.view().entries
        #expect(entries.allSatisfy { $0.position != first && $0.content.text != "secret" })
        #expect(try folded(store).messages.allSatisfy { $0.content.text != "secret" })
        guard kind == .redis else { return }
        #expect(!"\(try store.raw("XRANGE", store.key(.log), "-", "+"))".contains("secret"))
        #expect(!"\(try store.raw("HGETALL", store.key(.overlay)))".contains("secret"))
    }

    // MARK: reports

    @Test(arguments: StoreKind.allCases)
    func aReportIsInTheAudit(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let first = try store.append(try store.enter(n1).epoch, "one")
        _ = try store.reply(.moderate(room: store.room, .freeze(true), by: "mod"))
        let report = try store.ask(order(store, .report(of: first, reason: "spam"), by: bo))
        #expect(report.result == .success(.amended(AmendReply(first, .stored))) && report.events.isEmpty)
        #expect(try amend(store, .report(of: first, reason: "again"), by: bo).outcome == .unchanged)
        #expect(try amend(store, .report(of: first, reason: ""), by: ana).outcome == .stored)
        #expect(try problem(store, .report(of: Position(epoch: 1, seq: 1), reason: "")) == .noSuchMessage)
        func audit(_ count: Int, before: Position? = nil) throws -> [AuditEntry] {
            guard case .audit(let entries) = try store.reply(.audit(room: store.room, before: before, count: count))
            else { throw StoreFailure("no audit") }
            return entries
        }
        let all = try audit(9)
        #expect(all.map(\.operation) == ["report", "report", "freeze"] && all.map(\.by) == ["ana", bo.text, "mod"])
        #expect(all[1].user == "ana" && all[1].value == first.description && all[1].reason == "spam")
        #expect(try audit(1) == [all[0]] && audit(9, before: all[0].position) == Array(all.dropFirst()))
        #expect(try audit(9, before: Position(epoch: 0, seq: 0)) == [])
    }

    // MARK: threads

    @Test(arguments: StoreKind.allCases)
    func theRootOfAThreadCountsItsReplies(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let epoch = try store.enter(n1).epoch
        let root = try store.append(epoch, "root")
        func reply(_ text: String, key: String? = nil) -> MessageContent {
            MessageContent(
                user: bo, at: 7, text: text, key: key, extra: MessageExtra(thread: root, mentions: [ana, bo]))
        }
        let alone = try store.ask(.append(room: store.room, epoch: epoch, content: reply("a")))
        #expect(alone.result == .success(.appended(Position(epoch: epoch, seq: 2), isPublished: false)))
        #expect(alone.events.isEmpty)
        let shared = try store.ask(
            .append(
                room: store.room, epoch: epoch, content: reply("b"), others: OtherNodes(known: 2, base: 0)))
        let second = Position(epoch: epoch, seq: 3)
        #expect(shared.result == .success(.appended(second, isPublished: true)))
        #expect(shared.events == [.message(Message(position: second, content: reply("b")), base: 0)])
        _ = try store.once(n1, epoch, [OnceSend(content: reply("c", key: "k"), again: false)])
        guard case .said(let last, _) = try store.reply(.say(room: store.room, content: reply("d"))) else {
            throw StoreFailure("say")
        }
        #expect(
            try store.view().entries.dropFirst().map(\.content) == [
                reply("a"), reply("b"), reply("c", key: "k"), reply("d"),
            ])
        var state = try #require(try message(store, root).extra?.state)
        #expect(state.replies == 4 && state.lastReply == last)
        _ = try amend(store, .delete(of: second), by: bo)
        state = try #require(try message(store, root).extra?.state)
        #expect(state.replies == 3 && state.lastReply == last)
        #expect(MessageFold.folded(try store.view().entries) == (try folded(store).messages))
        // A root that is not there counts nothing.
        let lost = MessageContent(
            user: bo, at: 7, text: "e", extra: MessageExtra(thread: Position(epoch: epoch, seq: 99)))
        _ = try store.ask(.append(room: store.room, epoch: epoch, content: lost))
        #expect(try counts(store) == Counts(ops: 1, seqs: [6]))
    }

    // MARK: failover

    /// A log that lost its end gets back what was amended, and not what was erased.
    @Test(arguments: StoreKind.allCases, [false, true])
    func whatWasErasedStaysErasedWhenTheTailIsPutBack(_ kind: StoreKind, entered: Bool) async throws {
        let source = try await ContractStore(kind)
        let epoch = try source.enter(n1).epoch
        let all = try (1...4).map { try source.append(epoch, "secret \($0)") }
        _ = try amend(source, .edit(of: all[0], text: "secret edit", data: nil))
        _ = try amend(source, .edit(of: all[2], text: "kept", data: nil))
        _ = try amend(source, .react(of: all[2], emoji: "👍"))
        _ = try amend(source, .delete(of: all[0]))
        let tail = try source.view().entries
        let expected = try folded(source).messages
        let last = try #require(tail.last?.position)

        let store = try await ContractStore(kind)
        if entered { _ = try store.enter(n2) }
        let view = try store.enter(n1, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 8)
        #expect(try store.view().entries == tail)
        #expect(try folded(store).messages == expected)
        #expect(try counts(store) == Counts(ops: 4, seqs: [5, 6, 7, 8]))
        #expect(try problem(store, .edit(of: all[0], text: "late", data: nil)) == .messageDeleted)
        #expect(try amend(store, .react(of: all[2], emoji: "👍")).outcome == .unchanged)
        if kind == .redis { try expectNowhere("secret 1", "secret edit", in: store) }
    }

    /// Redis went back to before a deletion, of which a node remembers the tombstone.
    @Test(arguments: StoreKind.allCases)
    func aLostDeletionIsRepeated(_ kind: StoreKind) async throws {
        let source = try await ContractStore(kind)
        let epoch = try source.enter(n1).epoch
        let all = try (1...3).map { try source.append(epoch, "secret \($0)") }
        let before = try source.view().entries
        _ = try amend(source, .edit(of: all[2], text: "secret edit", data: nil))
        _ = try amend(source, .delete(of: all[2]))
        let expected = try folded(source).messages
        let tail = try source.view().entries
        let last = try #require(tail.last?.position)

        // The other store has the log as it was before, without the edit and the deletion.
        let store = try await ContractStore(kind)
        _ = try store.enter(n2, after: all[2], tail: before, seen: epoch, identityChanged: true)
        #expect(try store.view().entries == before)
        let view = try store.enter(n1, after: last, tail: tail, seen: last.epoch, identityChanged: true)
        #expect(view.verdict == .ok && view.last == 5)
        #expect(try store.view().entries == tail)
        #expect(try folded(store).messages == expected)
        #expect(try counts(store) == Counts(ops: 2, seqs: [4, 5]))
        if kind == .redis { try expectNowhere("secret 3", "secret edit", in: store) }
    }

    @Test(arguments: StoreKind.allCases)
    func anAmendmentAtANewRedisBeginsAnEpochLikeAMessage(_ kind: StoreKind) async throws {
        let store = try await ContractStore(kind)
        let said = MessageContent(user: ana, at: 7, text: "x")
        guard case .said(let first, _) = try store.reply(.say(room: store.room, content: said)) else {
            throw StoreFailure("say")
        }
        switch kind {
        case .memory:
            var copy = store.memory
            copy.runID = "ff00"
            store.goBack(to: copy)
        case .redis: try store.raw("HSET", store.key(.meta), "run", "00ff00ff00ff00ff")
        }
        let reply = try amend(store, .edit(of: first, text: "y", data: nil))
        #expect(reply.position.epoch >= first.epoch + 1_000 && reply.position.seq == 2)
        #expect(try message(store, first).text == "y")
    }
}
