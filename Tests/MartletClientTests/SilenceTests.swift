import ChatCore
import Testing

@testable import MartletClient

/// A frozen node or proxy: its sockets stay open, and nothing comes.
@Suite struct SilenceTests {
    /// Lets the time pass from deadline to deadline. Returns what happened, each with the seconds since then.
    private func pass(_ time: Duration, _ harness: inout Harness) -> [String] {
        let began = harness.now
        var log: [String] = []
        while let next = harness.machine.nextDeadline, next <= began + time {
            harness.now = max(next, harness.now)
            harness.machine.timerFired(now: harness.now)
            for action in harness.take() {
                let seconds = Double((harness.now - began).components.attoseconds / 1_000_000_000_000_000) / 1_000
                let at = Double((harness.now - began).components.seconds) + seconds
                switch action {
                case .write(let request): if case .ping = request.body { log.append("\(at) ping") }
                case .emit(.disconnected(let reason, _)): log.append("\(at) \(reason)")
                case .connect: log.append("connect")
                case .disconnect, .complete, .emit: break
                }
            }
            if log.last == "connect" { return log }
        }
        harness.now = began + time
        return log
    }

    private let pong = #"{"type":"pong"}"#

    @Test func aRequestWithoutAnAnswerIsAskedForAndTheNodeIsLeftWithinTenSeconds() throws {
        for what in ["send", "history", "roster", "join", "leave"] {
            var harness = try Harness.inLobby(addresses: 2)
            _ = pass(.seconds(12), &harness)
            let lobby = try RoomName("lobby")
            switch what {
            case "send": _ = try harness.send("hello")
            case "history":
                let query = HistoryQuery(anchor: .newest, limit: 5)
                _ = harness.machine.history(lobby, query, now: harness.now)
            case "roster": _ = harness.machine.roster(lobby, now: harness.now)
            case "join": _ = harness.machine.join(try RoomName("other"), now: harness.now)
            default: _ = harness.machine.leave(lobby, now: harness.now)
            }
            _ = harness.take()
            let log = pass(.seconds(20), &harness)
            #expect(log == ["4.0 ping", "8.0 silent", "connect"], "\(what)")
        }
    }

    @Test func theUnansweredSendGoesToTheNextNodeWithItsKey() throws {
        var harness = try Harness.inLobby(addresses: 2)
        _ = try harness.send("hello")
        let first = try #require(harness.written().first)
        _ = pass(.seconds(20), &harness)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        _ = harness.take()
        try harness.hear(
            #"{"type":"joined","ref":\#(ref),"room":"lobby","position":"5-10","messages":[],"count":1,"resumed":true}"#)
        let second = try #require(harness.written().first)
        #expect(first.contains(#""again":false"#) && second.contains(#""again":true"#))
        let key = try #require(first.split(separator: ",").first { $0.hasPrefix(#""key""#) })
        #expect(second.contains(key))
    }

    @Test func aNodeThatSaysAnythingIsThere() throws {
        var harness = try Harness.inLobby()
        _ = try harness.send("hello")
        _ = harness.take()
        for number in 0..<5 {
            #expect(pass(.milliseconds(4_100), &harness) == ["4.0 ping"], "\(number)")
            try harness.hear(pong)
            _ = harness.take()
        }
        for number in 11..<16 {
            try harness.message("5-\(number)")
            _ = harness.take()
            #expect(pass(.seconds(3), &harness).isEmpty)
        }
    }

    @Test func aQuietConnectionIsAskedOnceAHeartbeat() throws {
        var harness = try Harness.inLobby()
        #expect(pass(.seconds(31), &harness) == ["30.0 ping"])
        try harness.hear(pong)
        #expect(pass(.seconds(29), &harness).isEmpty)
        // The node's own ping also proves that it is alive.
        harness.machine.heard(now: harness.now)
        #expect(pass(.seconds(29), &harness).isEmpty)
        #expect(pass(.seconds(20), &harness) == ["1.0 ping", "5.0 silent", "connect"])
    }

    @Test func aSlowLineIsNotTakenForADeadNode() throws {
        var harness = try Harness.inLobby()
        _ = try harness.send(String(repeating: "x", count: 64_000))
        _ = harness.take()
        #expect(pass(.seconds(30), &harness) == ["8.0 ping", "12.0 silent", "connect"])
        // Each further attempt gets twice the time, up to a heartbeat interval.
        for expected in [["8.0 ping", "16.0 silent", "connect"], ["16.0 ping", "32.0 silent", "connect"]] {
            try harness.welcome()
            _ = harness.take()
            #expect(pass(.seconds(60), &harness) == expected)
        }
        // A connection that has lasted long is judged like the first one.
        try harness.welcome()
        for _ in 0..<4 {
            _ = pass(.seconds(20), &harness)
            harness.machine.heard(now: harness.now)
        }
        #expect(pass(.seconds(20), &harness) == ["4.0 ping", "8.0 silent", "connect"])
    }

    @Test func whoeverDoesNotReadDoesNotBlameTheNode() throws {
        var harness = try Harness.inLobby()
        _ = try harness.send("hello")
        _ = harness.take()
        harness.machine.readingChanged(false, now: harness.now)
        #expect(pass(.seconds(50), &harness).isEmpty)
        harness.machine.readingChanged(true, now: harness.now)
        #expect(pass(.seconds(5), &harness) == ["4.0 ping"])
    }

    @Test func aClientThatWasHeldUpFirstReadsWhatCameMeanwhile() throws {
        var harness = try Harness.inLobby()
        _ = try harness.send("hello")
        _ = harness.take()
        harness.wait(.seconds(8))
        #expect(harness.take().isEmpty, "the timer came four seconds late")
        #expect(pass(.seconds(20), &harness) == ["4.0 ping", "8.0 silent", "connect"])
    }

    @Test func presenceIsToldAsItChangesWhoIsHere() throws {
        var harness = Harness()
        harness.machine.start(now: harness.now)
        _ = harness.machine.join(try RoomName("lobby"), now: harness.now)
        try harness.welcome()
        let ref = try #require(try harness.joinRef())
        try harness.hear(
            """
            {"type":"joined","ref":\(ref),"room":"lobby","position":"5-10","messages":[],"count":1,\
            "roster":[{"user":"ana","devices":["d"]}]}
            """)
        _ = harness.take()
        func told(_ joined: String, _ left: String, _ count: Int, _ harness: inout Harness) throws -> [String] {
            try harness.hear(
                #"{"type":"presence","room":"lobby","joined":[\#(joined)],"left":[\#(left)],"count":\#(count)}"#)
            return harness.take().compactMap { action in
                guard case .emit(.presence(_, let joined, let left, let count)) = action else { return nil }
                return "+\(joined.map(\.text)) -\(left.map(\.text)) \(count)"
            }
        }
        // An older node tells a session of its own arrival.
        #expect(try told(#""ana""#, "", 1, &harness) == [])
        #expect(try told(#""bo""#, "", 2, &harness) == [#"+["bo"] -[] 2"#])
        #expect(try told(#""bo","che""#, #""dan""#, 3, &harness) == [#"+["che"] -[] 3"#])
        #expect(try told("", #""bo""#, 2, &harness) == [#"+[] -["bo"] 2"#])
        // From here on only the count is known.
        #expect(try told("", "", 900, &harness) == ["+[] -[] 900"])
        #expect(try told(#""eva""#, "", 901, &harness) == [#"+["eva"] -[] 901"#])
    }
}
