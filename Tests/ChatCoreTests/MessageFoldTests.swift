import Testing

@testable import ChatCore

@Suite struct MessageFoldTests {
    private let ana: UserID
    private let bo: UserID

    init() throws {
        ana = try UserID("ana")
        bo = try UserID("bo")
    }

    private func at(_ seq: UInt64) -> Position { Position(epoch: 1, seq: seq) }

    private func message(_ seq: UInt64, _ text: String, key: String? = nil, thread: UInt64? = nil) -> Message {
        let extra = thread.map { MessageExtra(thread: at($0), mentions: [bo]) }
        return Message(
            position: at(seq), content: MessageContent(user: ana, at: seq, text: text, key: key, extra: extra))
    }

    private func amendment(
        _ seq: UInt64, _ operation: Amendment.Operation, of: UInt64, by user: UserID? = nil, text: String? = nil,
        data: String? = nil, number: UInt64 = 0
    ) -> Message {
        let extra = MessageExtra(amendment: Amendment(operation, of: at(of), number: number))
        return Message(
            position: at(seq), content: MessageContent(user: user ?? ana, at: seq, text: text, data: data, extra: extra)
        )
    }

    private func recent(_ entries: [Message]) -> RecentMessages {
        var recent = RecentMessages(capacity: 100, costLimit: 1_000_000)
        for entry in entries { recent.append(entry) }
        return recent
    }

    @Test func plainMessagesAreWhatTheyWere() {
        let entries = [message(1, "one"), message(2, "two")]
        #expect(MessageFold.folded(entries) == entries)
        #expect(entries.allSatisfy { $0.content.isPlain })
    }

    /// A page is bounded by this, and twenty kinds of reactions with twenty names each are longer than most messages.
    @Test func reactionsCountInTheCostOfAMessage() {
        let names = (0..<20).map { "\"\($0)\(String(repeating: "n", count: 100))\"" }.joined(separator: ",")
        let folded = MessageFold.folded([
            message(1, "one"), amendment(2, .react, of: 1, text: "👍", data: "[\(names)]", number: 20),
        ])
        #expect(folded[0].content.extra?.state?.reactions["👍"]?.users.count == 20)
        #expect(folded[0].content.cost > message(1, "one").content.cost + 2_000)
    }

    @Test func theLastStateOfAMessageCounts() {
        let folded = MessageFold.folded([
            message(1, "one"), message(2, "two"),
            amendment(3, .edit, of: 1, text: "uno", number: 1),
            amendment(4, .react, of: 1, by: bo, text: "👍", data: #"["bo"]"#, number: 1),
            amendment(5, .react, of: 1, text: "x", data: #"["ana"]"#, number: 1),
            amendment(6, .unreact, of: 1, text: "x", data: "[]", number: 0),
            amendment(7, .pin, of: 1, by: bo), amendment(8, .edit, of: 1, text: "eins", data: "[1]", number: 2),
            amendment(9, .edit, of: 77, text: "lost", number: 1),
        ])
        let first = folded[0].content
        #expect(first.text == "eins" && first.data == "[1]" && first.user == ana && first.at == 1)
        let state = first.extra?.state
        #expect(
            state?.version == 2 && state?.edited == Deed(by: "ana", at: 8) && state?.pinned == Deed(by: "bo", at: 7))
        #expect(state?.reactions == ["👍": MessageState.Reaction(count: 1, users: [bo])])
        #expect(folded[1] == message(2, "two") && folded.count == 9)
        let unpinned = MessageFold.folded([message(1, "one"), amendment(2, .pin, of: 1), amendment(3, .unpin, of: 1)])
        #expect(unpinned[0] == message(1, "one"))
    }

    @Test func aPositionOfAnotherEpochIsAnotherMessage() {
        let other = MessageExtra(amendment: Amendment(.edit, of: Position(epoch: 2, seq: 1), number: 1))
        let entry = Message(position: at(2), content: MessageContent(user: ana, at: 2, text: "x", extra: other))
        #expect(MessageFold.folded([message(1, "one"), entry])[0] == message(1, "one"))
    }

    @Test func deletionsEraseMemory() {
        let deed = Deed(by: "bo", at: 5)
        let recent = recent([
            message(1, "secret", key: "k"), message(2, "other"), amendment(3, .edit, of: 1, text: "secret", number: 1),
            amendment(4, .react, of: 1, by: bo, text: "👍", data: #"["bo"]"#, number: 1),
            amendment(5, .delete, of: 1, by: bo),
        ])
        let kept = recent.messages(after: 0)
        #expect(kept.map(\.position.seq) == [1, 2, 3, 4, 5])
        #expect(!kept.contains { $0.content.text == "secret" })
        #expect(kept[0].content == MessageContent(user: ana, at: 1, key: "k", extra: MessageExtra(deleted: deed)))
        #expect(kept[2].content.deleted == deed && kept[2].content.amendment == Amendment(.edit, of: at(1)))
        #expect(recent.position(of: "k", by: ana)?.position == at(1))
        #expect(recent.cost == kept.reduce(0) { $0 + $1.content.cost })
        let folded = recent.folded(kept)
        #expect(folded[0] == kept[0] && folded[1] == message(2, "other"))
    }

    @Test func severalMessagesAreErasedByOneEntry() {
        let list = StringList.write([at(1), at(3)].map(\.description))
        let recent = recent([
            message(1, "a"), message(2, "b"), message(3, "c"), amendment(4, .delete, of: 1, data: list),
        ])
        #expect(recent.messages(after: 0).map(\.content.text) == [nil, "b", nil, nil])
        #expect(recent.messages(after: 0).last?.content.erased == [at(1), at(3)])
    }

    @Test func theRootOfAThreadCountsItsReplies() {
        let recent = recent([
            message(1, "root"), message(2, "a", thread: 1), message(3, "b", thread: 1), message(4, "c", thread: 9),
            amendment(5, .delete, of: 2),
        ])
        let state = recent.folded(recent.messages(after: 0))[0].content.extra?.state
        #expect(state?.replies == 1 && state?.lastReply == at(3))
    }

    @Test func memoryAtRestKeepsAmendments() {
        let full = recent([
            message(1, "one"), message(2, "a", thread: 1), amendment(3, .edit, of: 1, text: "uno", number: 7),
            message(4, "gone", key: "k"), amendment(5, .delete, of: 4, by: bo),
        ])
        var writer = PackedBytesWriter(known: "")
        full.pack(into: &writer)
        var reader = PackedBytesReader(writer.bytes, known: "")
        let woken = RecentMessages(&reader, into: RecentMessages(capacity: 100, costLimit: 1_000_000))
        #expect(woken.messages(after: 0) == full.messages(after: 0) && woken.cost == full.cost)
        #expect(woken.folded(woken.messages(after: 0)) == full.folded(full.messages(after: 0)))
    }

    @Test func listsOfStringsAreReadAsTheyWereWritten() {
        for list in [[], ["a"], ["a \"q\" \\", "줄\n", "", "😀/"]] as [[String]] {
            #expect(StringList.read(StringList.write(list)) == list)
        }
        #expect(StringList.read(#" [ "a" , "\u00e9\ud83d\ude00\/" ] "#) == ["a", "é😀/"])
        for broken in ["", "[", "[1]", #"["a"#, #"["a", 1]"#, "{}", #"["\u12"]"#, #"["\u12"#] {
            #expect(StringList.read(broken).isEmpty)
        }
    }
}
