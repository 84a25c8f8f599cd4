import ChatCore
import Testing

@testable import martlet

@Suite struct ReplayTests {
    /// `users` people in two rooms, who send `count` messages in turn; one leaves in between and joins again, one only
    /// listens.
    private func trace(users: Int = 6, count: Int = 120) throws -> ReplayTrace {
        var lines: [String] = []
        var at = 0
        func add(_ user: String, _ room: String, _ event: String, _ text: String? = nil) {
            at += 1
            let said = text.map { ",\"text\":\"\($0)\"" } ?? ""
            lines.append(#"{"at":\#(at),"room":"\#(room)","user":"\#(user)","event":"\#(event)"\#(said)}"#)
        }
        for room in ["lobby", "방"] { for user in 0..<users { add("u\(user)", room, "join") } }
        for number in 0..<count {
            let room = number % 3 == 0 ? "방" : "lobby"
            add("u\(number % (users - 1))", room, "message", "#\(number) in \(room)")
            if number == count / 3 { add("u0", "lobby", "leave") }
            if number == count / 3 { add("u0", "lobby", "join") }
        }
        return try ReplayTrace(text: lines.joined(separator: "\n"), file: "trace")
    }

    private func play(_ fault: FakeRooms.Fault, ahead: Int = ReplayOptions().ahead) async throws -> ReplayVerdict {
        let rooms = FakeRooms()
        await rooms.commit(fault)
        let (one, two) = (try await FakeNode(rooms), try await FakeNode(rooms))
        var options = ReplayOptions()
        options.settling = .milliseconds(300)
        options.ahead = ahead
        let proof = ReplayProof(urls: [one.url, two.url], options: options)
        let trace = try trace()
        let verdict = try await within { try await proof.verdict(trace) }
        await one.close()
        await two.close()
        return verdict
    }

    @Test func aFaultlessNodeIsFoundFaultless() async throws {
        // One event at a time: a message sent before somebody's slow join is complete would not be delivered to them.
        let verdict = try await play(.none, ahead: 1)
        #expect(verdict.isGood, "\(verdict.text)")
        #expect(verdict.messages == 120)
        #expect(verdict.sessions == 6)
        #expect(verdict.rooms.map(\.logged).reduce(0, +) == 120)
        #expect(verdict.deliveries > 600)
    }

    @Test func aMessageThatOneSessionWasNotShownIsMissing() async throws {
        let verdict = try await play(.dropped(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.missing) == 2, "one in each room: \(verdict.text)")
        #expect(verdict.total(\.swapped) + verdict.total(\.repeated) == 0)
        #expect(verdict.text.contains("lobby: 1 missing"))
    }

    @Test func theLastMessageMissingIsFoundToo() async throws {
        let verdict = try await play(.dropped(80))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.missing) == 1, "\(verdict.text)")
        #expect(verdict.behind == 1)
    }

    @Test func aMessageShownAgainIsRepeated() async throws {
        let verdict = try await play(.repeated(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.repeated) == 2, "\(verdict.text)")
    }

    @Test func aMessageShownAfterItsFollowerIsSwapped() async throws {
        let verdict = try await play(.swapped(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.swapped) == 2, "\(verdict.text)")
        #expect(verdict.total(\.missing) == 0)
    }

    @Test func aChangedTextIsFound() async throws {
        let verdict = try await play(.changed(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.differs) > 0, "\(verdict.text)")
    }

    @Test func anAckedMessageThatTheLogDoesNotHaveIsFound() async throws {
        let verdict = try await play(.forgotten(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.lostAcks) == 2, "\(verdict.text)")
    }

    @Test func aMessageStoredTwiceIsFound() async throws {
        let verdict = try await play(.storedTwice(20))
        #expect(!verdict.isGood)
        #expect(verdict.total(\.stored) == 2, "\(verdict.text)")
    }

    @Test func aTrimmedLogIsSaidAndTheRestIsProven() async throws {
        let verdict = try await play(.trimmed(to: 15))
        #expect(verdict.isGood, "\(verdict.text)")
        #expect(verdict.text.contains("were trimmed"))
    }

    @Test func theSummaryForMachinesIsOneObject() async throws {
        let verdict = try await play(.none)
        #expect(verdict.json.hasPrefix("{"))
        #expect(verdict.json.contains("\"ok\":true"))
        #expect(verdict.json.contains("\"missing\":0"))
        #expect(!verdict.json.contains("\n"))
    }

    @Test(arguments: [
        ("{", "t:1: not JSON"), ("[]", "t:1: not a JSON object"),
        (#"{"at":-1,"room":"r","user":"u","event":"join"}"#, "t:1: 'at'"),
        (#"{"at":1,"room":"r","user":"u","event":"wave"}"#, "t:1: 'event'"),
        (#"{"at":1,"room":"","user":"u","event":"join"}"#, "t:1: room name is empty"),
        (#"{"at":1,"room":"r","event":"join"}"#, "t:1: user is empty"),
        (#"{"at":1,"room":"r","user":"u","event":"message","text":"x"}"#, "t:1: sends a message to a room"),
        (#"{"at":1,"room":"r","user":"u","event":"leave"}"#, "t:1: leaves a room"),
        ("\n" + #"{"at":1,"room":"r","user":"u","event":"join"}"# + "\n\n{\"at\":0}", "t:4: 'event'"),
    ])
    func aBadLineIsNamed(text: String, problem: String) throws {
        let error = try #require(throws: ReplayError.self) { try ReplayTrace(text: text, file: "t") }
        #expect(error.message.hasPrefix(problem), "\(error.message)")
    }

    @Test func aMissingFileIsNamed() throws {
        let error = try #require(throws: ReplayError.self) { try ReplayTrace(files: ["/nowhere/trace.ndjson"]) }
        #expect(error.message == "/nowhere/trace.ndjson: No such file or directory")
    }

    @Test func comingAndGoingAtOnceIsPlayedToItsEnd() async throws {
        var lines: [String] = []
        for round in 0..<40 {
            for event in ["join", "message", "leave"] {
                let text = event == "message" ? #","text":"\#(round)""# : ""
                lines.append(#"{"at":\#(round),"room":"r","user":"u\#(round % 4)","event":"\#(event)"\#(text)}"#)
            }
        }
        let trace = try ReplayTrace(text: lines.joined(separator: "\n"), file: "t")
        let node = try await FakeNode(FakeRooms())
        let proof = ReplayProof(urls: [node.url])
        let verdict = try await within { try await proof.verdict(trace) }
        #expect(verdict.isGood, "\(verdict.text)")
        #expect(verdict.messages == 40)
        await node.close()
    }

    @Test func nobodyThereIsSaid() async throws {
        // A port that the kernel gives to nobody.
        let proof = ReplayProof(urls: ["ws://127.0.0.1:1/ws"], options: ReplayOptions(reaching: .milliseconds(500)))
        let trace = try trace()
        let error = try await #require(throws: ReplayError.self) {
            try await within(.seconds(30)) { _ = try await proof.verdict(trace) }
        }
        #expect(error.message.hasPrefix("no node could be reached"))
    }

    @Test func rangesKnowWhatIsMissingRepeatedAndSwapped() {
        var range = SeenRange(user: 0, room: 0, start: 10)
        for seq in [11, 12, 15, 14, 14, 16, 13, 11] as [UInt64] { range.show(seq) }
        #expect(range.swapped == 2)
        #expect(range.repeated == 2)
        #expect(range.missing == 0)
        range.ended(at: 20)
        #expect(range.missing == 4)
    }
}
