import ChatCore
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

@testable import MartletClient

/// Fails if the body takes longer; there are no other waits in these tests.
func within<T: Sendable>(_ limit: Duration = .seconds(20), _ body: @escaping @Sendable () async throws -> T)
    async throws -> T
{
    try await withThrowingTaskGroup(of: T?.self) { group in
        group.addTask { try await body() }
        group.addTask {
            try? await Task.sleep(for: limit)
            return nil
        }
        defer { group.cancelAll() }
        while let first = try await group.next() {
            return try #require(first, "not within \(limit)")
        }
        throw CancellationError()
    }
}

extension MartletClient {
    /// Reads events until `enough` returns true, and returns the messages' texts.
    func texts(of room: RoomName, until enough: @escaping @Sendable ([String]) -> Bool) async throws -> [String] {
        try await within {
            var texts: [String] = []
            for await event in self.events {
                if case .message(room, let message) = event { texts.append(message.content.text ?? "") }
                if enough(texts) { break }
            }
            return texts
        }
    }
}

@Suite struct MartletClientTests {
    private let lobby: RoomName
    private let rooms = FakeRooms()

    init() throws {
        lobby = try RoomName("lobby")
    }

    private func client(
        _ urls: [String], _ user: String, _ change: (inout ClientOptions) -> Void = { _ in }
    ) throws -> MartletClient {
        var options = ClientOptions()
        options.backoffBase = .milliseconds(5)
        options.backoffCap = .milliseconds(50)
        change(&options)
        return try MartletClient(urls: urls, identity: ClientIdentity(user: user), options: options)
    }

    @Test func twoClientsOnTwoNodesTalk() async throws {
        let (one, two) = (try await FakeNode(rooms), try await FakeNode(rooms))
        let (ana, bob) = (try client([one.url], "ana"), try client([two.url], "bob"))
        let lobby = lobby
        let welcome = try await within { try await ana.connect() }
        #expect(welcome.user.text == "ana")
        _ = try await within { try await bob.connect() }
        _ = try await within { try await ana.join(lobby) }
        _ = try await within { try await bob.join(lobby) }
        let sent = try await within { try await ana.send("안녕 \"bob\"\n", to: lobby) }
        #expect(sent.position.seq == 1 && !sent.repeated)
        let again = try await within { try await bob.send("hi", data: #"{"a":[1,2]}"#, to: lobby) }
        #expect(again.position.seq == 2)
        for client in [ana, bob] {
            #expect(try await client.texts(of: lobby) { $0.count == 2 } == ["안녕 \"bob\"\n", "hi"])
        }
        let page = try await within { try await bob.history(lobby, HistoryQuery(anchor: .newest, limit: 1)) }
        #expect(page.messages.map(\.content.data) == [#"{"a":[1,2]}"#])
        await ana.close()
        await bob.close()
        await one.close()
        await two.close()
    }

    @Test func aClientThatIsCutAgainAndAgainSeesEachMessageOnceAndInOrder() async throws {
        let (one, two) = (try await FakeNode(rooms), try await FakeNode(rooms))
        let reader = try client([one.url, two.url], "reader")
        let talker = try client([two.url, one.url], "talker") { $0.sendWindow = 1 }
        let lobby = lobby
        _ = try await within { try await reader.connect() }
        _ = try await within { try await talker.connect() }
        _ = try await within { try await reader.join(lobby) }
        _ = try await within { try await talker.join(lobby) }
        let rooms = rooms
        let count = 300
        let sending = Task {
            for number in 0..<count {
                if number % 7 == 3 { await rooms.swallowNext(1) }
                if number % 10 == 5 { await rooms.cutAll() }
                try await talker.send("\(number)", to: lobby)
            }
        }
        let seen = try await reader.texts(of: lobby) { $0.count == count }
        try await sending.value
        #expect(seen == (0..<count).map(String.init))
        #expect(await rooms.log(lobby).count == count, "something was stored twice")
        await reader.close()
        await talker.close()
        await one.close()
        await two.close()
    }

    @Test func aNodeThatIsGoneIsLeftForTheNextOne() async throws {
        let (one, two) = (try await FakeNode(rooms), try await FakeNode(rooms))
        let dead = one.url
        await one.close()
        let ana = try client([dead, two.url], "ana")
        let welcome = try await within { try await ana.connect() }
        #expect(welcome.node == "fake")
        await ana.close()
        await two.close()
    }

    @Test func aNodeThatDoesNotWantTheClientIsNotAskedAgain() async throws {
        let node = try await FakeNode(rooms, status: .unauthorized)
        let ana = try client([node.url], "ana")
        await #expect(throws: ClientError.self) { _ = try await within { try await ana.connect() } }
        let lobby = lobby
        await #expect(throws: ClientError.closed) { _ = try await within { try await ana.join(lobby) } }
        await node.close()
    }

    @Test func drainingMovesTheSessionToTheNextNode() async throws {
        let (one, two) = (try await FakeNode(rooms), try await FakeNode(rooms))
        let ana = try client([one.url, two.url], "ana")
        let lobby = lobby
        _ = try await within { try await ana.connect() }
        _ = try await within { try await ana.join(lobby) }
        await rooms.sayToAll(.draining(reconnectAfter: 20))
        let rooms = rooms
        try await within {
            for await event in ana.events {
                if case .disconnected(.draining, _) = event { break }
            }
        }
        _ = try await within { try await ana.send("after", to: lobby) }
        #expect(await rooms.log(lobby).count == 1)
        await ana.close()
        await one.close()
        await two.close()
    }

    @Test func aReaderThatIsBehindSlowsTheConnectionDownAndLosesNothing() async throws {
        let node = try await FakeNode(rooms)
        let slow = try client([node.url], "slow") { $0.eventBuffer = 16 }
        let talker = try client([node.url], "talker")
        let lobby = lobby
        _ = try await within { try await slow.connect() }
        _ = try await within { try await talker.connect() }
        _ = try await within { try await slow.join(lobby) }
        _ = try await within { try await talker.join(lobby) }
        for number in 0..<500 { try await talker.send("\(number)", to: lobby) }
        let seen = try await slow.texts(of: lobby) { $0.count == 500 }
        #expect(seen == (0..<500).map(String.init))
        await slow.close()
        await talker.close()
        await node.close()
    }

    @Test func fragmentsAreJoinedAndPingsBetweenThemAnswered() async throws {
        let node = try await FakeNode(rooms)
        let ana = try client([node.url], "ana")
        let lobby = lobby
        _ = try await within { try await ana.connect() }
        _ = try await within { try await ana.join(lobby) }
        let content = MessageContent(user: try UserID("bob"), at: 1, text: "조각조각")
        await rooms.sayInFragments(
            .message(room: lobby, Message(position: Position(epoch: 7, seq: 1), content: content), showKey: false))
        #expect(try await ana.texts(of: lobby) { $0.count == 1 } == ["조각조각"])
        await ana.close()
        await node.close()
    }

    @Test func aSessionThatJoinsBeforeItStartsNamesTheRoomForTheProxy() async throws {
        let node = try await FakeNode(rooms)
        let lobby = lobby
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let address = try ClientURL(node.url)
        let session = ClientSession(
            addresses: [address], identity: ClientIdentity(user: "안나"), loop: loop, onEvent: { _ in })
        try await loop.submit {
            session.join(lobby) { _ in }
            session.start()
        }.get()
        let rooms = rooms
        let uri = try await within {
            while true {
                if let uri = await rooms.seenURIs().first { return uri }
                await Task.yield()
            }
        }
        #expect(uri == "/ws?user=%EC%95%88%EB%82%98&room=lobby")
        try await loop.submit { session.close() }.get()
        await node.close()
    }

    @Test func closingEndsTheEvents() async throws {
        let node = try await FakeNode(rooms)
        let ana = try client([node.url], "ana")
        _ = try await within { try await ana.connect() }
        await ana.close()
        let last = try await within {
            var last: ClientEvent?
            for await event in ana.events { last = event }
            return last
        }
        #expect(last == .disconnected(.closed, retryIn: nil))
        await node.close()
    }
}
