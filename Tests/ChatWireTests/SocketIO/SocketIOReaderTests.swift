import ChatCore
import ChatJSON
import Testing

@testable import ChatWire

struct SocketIOReaderTests {
    /// A socket of a profile, with what it was sent and asked for.
    private final class Socket {
        let spoken: SocketIO
        let reader: SocketIOReader
        var machine: SocketStateMachine
        let user: UserID

        init(_ profile: String, auth: String? = nil, query: [String: String] = [:], namespace: String = "/") throws {
            let profile = try SocketIOProfile(Array((SocketIOProfile.shipped[profile] ?? profile).utf8))
            spoken = SocketIO(profile, isMain: namespace == "/", limits: Limits())
            reader = SocketIOReader(
                spoken,
                SocketHandshake(
                    namespace: namespace, id: "id", auth: auth.flatMap { SocketValue(Array($0.utf8)) },
                    query: query.map { ($0.key, $0.value) }))
            machine = SocketStateMachine(limits: .init(), now: Moment(nanoseconds: 0))
            _ = machine.received(Array("0\(namespace)".utf8), isText: true)
            _ = machine.connected(namespace)
            user = try UserID("ana")
        }

        /// The inputs for a packet of the client.
        func inputs(_ packet: String) -> [ClientInput] {
            guard case .event(let event) = machine.received(Array(packet.utf8), isText: true) else { return [] }
            var inputs: [ClientInput] = []
            reader.prepare(event)
            reader.read(event.text, isText: true) { inputs.append($0) }
            return inputs
        }

        func request(_ packet: String) -> ClientRequest? {
            for input in inputs(packet) { if case .request(let request) = input { return request } }
            return nil
        }

        func error(_ packet: String) -> WireError? {
            for input in inputs(packet) { if case .failure(let failure) = input { return failure.error } }
            return nil
        }

        /// What it is sent for an event that is for it alone.
        func sent(_ event: ServerEvent) -> [String] {
            var sent: [String] = []
            reader.write(event, viewer: user) { bytes, _ in sent.append(String(decoding: bytes, as: UTF8.self)) }
            return sent
        }

        /// The bytes that all sockets share.
        func shared(_ event: ServerEvent) -> String {
            var bytes = ByteWriter()
            spoken.encode(event, viewer: nil, into: &bytes)
            return String(decoding: bytes.array, as: UTF8.self)
        }
    }

    private let lobby: RoomName
    private let message: Message

    init() throws {
        lobby = try RoomName("lobby")
        message = Message(
            position: Position(epoch: 7, seq: 3),
            content: MessageContent(user: try UserID("bob"), at: 1_795_230_114_073, text: "hi", data: "[1]", key: "k"))
    }

    // MARK: martlet

    @Test func martletClientsSayWhatANodeCanDo() throws {
        let socket = try Socket("martlet", auth: #"{"user":"ana","device":"phone"}"#)
        let hello = try #require(try socket.reader.hello(Credentials(user: nil, token: nil)))
        #expect(hello.credentials.user == "ana" && hello.device?.text == "phone")
        #expect(socket.request(#"2["join","lobby"]"#)?.body == .join(room: lobby, after: nil, history: nil))
        #expect(
            socket.request(#"2["join",{"room":"lobby","after":"7-3","history":9}]"#)?.body
                == .join(room: lobby, after: Position(epoch: 7, seq: 3), history: nil))
        #expect(
            socket.request(#"2["send",{"room":"lobby","text":"hi","data":{"a": 1},"key":"k"}]"#)?.body
                == .send(SendRequest(room: lobby, text: "hi", data: #"{"a": 1}"#, key: "k")))
        #expect(socket.request(#"2["typing","lobby"]"#)?.body == .signal(room: lobby, name: "typing", data: nil))
        #expect(
            socket.request(#"2["history",{"room":"lobby","before":"7-3","limit":5}]"#)?.body
                == .history(room: lobby, query: HistoryQuery(anchor: .before(Position(epoch: 7, seq: 3)), limit: 5)))
        #expect(socket.request(#"2["roster","lobby"]"#)?.body == .roster(room: lobby, cursor: nil))
        #expect(socket.request(#"2["leave","lobby"]"#)?.body == .leave(room: lobby))
        #expect(socket.request(#"2["token","t"]"#)?.body == .token("t"))
    }

    @Test func acknowledgementsAreAnswersOfTheNode() throws {
        let socket = try Socket("martlet")
        let request = try #require(socket.request(#"212["send",{"room":"lobby","text":"hi"}]"#))
        let sent = ServerEvent.sent(
            ref: request.ref, room: lobby, position: Position(epoch: 7, seq: 4), at: 0, repeated: false)
        #expect(socket.sent(sent) == [#"4312[{"position":"7-4","at":"1970-01-01T00:00:00.000Z"}]"#])
        // Once.
        #expect(socket.sent(sent) == [])
        let joining = try #require(socket.request(#"21["join","lobby"]"#))
        let joined = Joined(
            ref: joining.ref, room: lobby, position: message.position, messages: [message], members: nil, count: 2,
            resumption: .gap(Gap(after: Position(epoch: 7, seq: 1), before: Position(epoch: 7, seq: 3))))
        #expect(
            socket.sent(.joined(joined)) == [
                #"431[{"room":"lobby","position":"7-3","resumed":false,"count":2}]"#,
                #"42["gap",{"room":"lobby","after":"7-1","before":"7-3"}]"#,
                #"42["message",{"room":"lobby","position":"7-3","user":"bob","at":"2026-11-21T03:01:54.073Z","text":"hi","data":[1]},"lobby~7-3"]"#,
            ])
        let failing = try #require(socket.request(#"22["send",{"room":"lobby","text":"hi"}]"#))
        #expect(
            socket.sent(.error(ref: failing.ref, WireError(.muted, "not now"))) == [
                #"432[{"error":{"code":303,"name":"muted","message":"not now","retry":false}}]"#
            ])
        #expect(socket.inputs(#"23["typing","lobby"]"#).last == .say(Array("433[]".utf8), isText: true))
    }

    // MARK: A state that is restored

    /// A socket whose state was restored, the state's name, and the joins that follow from it.
    private func restored(_ rooms: [String: Position], offset: String) throws -> (Socket, [ClientRequest]) {
        let socket = try Socket("martlet", auth: #"{"user":"ana","pid":"p","offset":"\#(offset)"}"#)
        var state = SocketRecovery()
        for (room, position) in rooms { state.joined(try RoomName(room), at: position) }
        #expect(socket.reader.restore(state.record(of: socket.user), for: socket.user))
        socket.reader.privateID = "p"
        _ = socket.sent(.welcome(try welcome(socket)))
        let joins = socket.reader.opening().compactMap { input -> ClientRequest? in
            if case .request(let request) = input { request } else { nil }
        }
        return (socket, joins)
    }

    private func joined(_ request: ClientRequest) -> ServerEvent {
        .joined(
            Joined(
                ref: request.ref, room: lobby, position: message.position, messages: [message], members: nil, count: 2,
                resumption: .complete))
    }

    private func ending(_ socket: Socket) -> [ClientInput] {
        var inputs: [ClientInput] = []
        let now = Moment(nanoseconds: 1)
        guard socket.reader.deadline.map({ $0 <= now }) ?? false else { return [] }
        socket.reader.timePassed(now: now, lastWritten: now) { inputs.append($0) }
        return inputs
    }

    @Test func aRoomThatIsJoinedAgainIsAnEvent() throws {
        let position = Position(epoch: 7, seq: 2)
        let (socket, joins) = try restored(["lobby": position], offset: "lobby~7-2")
        #expect(joins.map(\.body) == [.join(room: lobby, after: position, history: nil)])
        let sent = socket.sent(joined(try #require(joins.first)))
        #expect(sent.count == 2 && sent[0].hasPrefix(#"42["joined",{"room":"lobby","position":"7-3""#))
        #expect(ending(socket) == [])
        #expect(
            SocketRecovery(socket.reader.record(of: socket.user) ?? "")?.positions(of: socket.user, after: "7-3") != nil
        )
    }

    /// The client believes to be in the room, so it must not keep a connection on which it is not.
    @Test func aRoomThatCannotBeJoinedAgainEndsTheConnection() throws {
        let (socket, joins) = try restored(["lobby": Position(epoch: 7, seq: 2)], offset: "lobby~7-2")
        let error = ServerEvent.error(ref: joins.first?.ref, WireError(.rateLimited, "too many joins"))
        #expect(socket.sent(error) == [])
        #expect(ending(socket) == [.restart(reason: "notRestored")])
        #expect(socket.reader.record(of: socket.user) == nil)
    }

    @Test func aJoinOfTheClientReplacesTheOneOfTheNode() throws {
        for packet in [#"21["join",{"room":"lobby","after":"7-2"}]"#, #"21["leave","lobby"]"#] {
            let (socket, joins) = try restored(["lobby": Position(epoch: 7, seq: 2)], offset: "lobby~7-2")
            #expect(socket.request(packet) != nil)
            let replaced = WireError(.tooManyWaiting, "join: a later join of the same room has replaced it")
            #expect(socket.sent(.error(ref: joins.first?.ref, replaced)) == [])
            #expect(ending(socket) == [])
        }
    }

    @Test func aStateThatIsLostBeforeItsRoomsAreJoinedIsKept() throws {
        let rooms = ["a": Position(epoch: 7, seq: 2), "b": Position(epoch: 9, seq: 5)]
        let (socket, joins) = try restored(rooms, offset: "b~9-5")
        #expect(joins.count == 2)
        let again = SocketRecovery(try #require(socket.reader.record(of: socket.user)))
        let positions = again?.positions(of: socket.user, after: "b~9-5")
        #expect(
            positions == [try RoomName("a"): Position(epoch: 7, seq: 2), try RoomName("b"): Position(epoch: 9, seq: 5)])
    }

    @Test func errorsWithoutAcknowledgementAreEvents() throws {
        let socket = try Socket("martlet")
        #expect(
            socket.sent(.error(ref: nil, WireError(.muted, "not now"))) == [
                #"42["error",{"code":303,"name":"muted","message":"not now","retry":false}]"#
            ])
    }

    @Test func faultyEventsAreErrors() throws {
        let socket = try Socket("martlet")
        for (packet, code) in [
            (#"2["join"]"#, WireError.Code.missingField), (#"2["join",7]"#, .missingField),
            (#"2["join","a{b"]"#, .badName), (#"2["join",{"room":"a","after":"x"}]"#, .badField),
            (#"2["join",{"room":"a","history":101}]"#, .badField), (#"2["send",{"room":"a"}]"#, .missingField),
            (#"2["send",{"room":"a","text":""}]"#, .missingField),
            (#"2["send",{"room":"a","text":"b","key":"~k"}]"#, .badField),
            (#"2["send",{"room":"a","data":{"_placeholder":true,"num":0}}]"#, .binaryFrame),
            (#"2["signal",{"room":"a"}]"#, .missingField), (#"2["dance"]"#, .unknownType),
            (#"2["history",{"room":"a","after":"1-1","before":"1-2"}]"#, .badField),
        ] {
            #expect(socket.error(packet)?.code == code, "\(packet)")
        }
    }

    @Test func theSharedBytesAreThoseOfTheMainNamespace() throws {
        let main = try Socket("martlet")
        let event = ServerEvent.message(room: lobby, message, showKey: false)
        let text =
            #"["message",{"room":"lobby","position":"7-3","user":"bob","at":"2026-11-21T03:01:54.073Z","text":"hi","data":[1]},"lobby~7-3"]"#
        #expect(main.shared(event) == "42" + text)
        guard case .whole = main.reader.form(of: event) else {
            Issue.record("not whole")
            return
        }
        let other = try Socket("martlet", namespace: "/a")
        #expect(other.shared(event) == text)
        guard case .prefixed(let prefix) = other.reader.form(of: event) else {
            Issue.record("no prefix")
            return
        }
        #expect(prefix.bytes == Array("42/a,".utf8))
    }

    // MARK: chat

    @Test func theChatExampleIsSpoken() throws {
        let socket = try Socket("chat", namespace: "/games")
        #expect(try socket.reader.hello(Credentials(user: nil, token: nil)) == nil)
        let inputs = socket.inputs(#"2/games,["add user","ana"]"#)
        let games = try RoomName("games")
        #expect(
            inputs == [
                .hello(ClientHello(credentials: Credentials(user: "ana", token: nil))),
                .request(ClientRequest(ref: nil, body: .join(room: games, after: nil, history: nil))),
            ])
        let joined = Joined(
            ref: nil, room: games, position: Position(epoch: 1, seq: 0), messages: [], members: nil, count: 3,
            resumption: .fresh)
        #expect(socket.sent(.joined(joined)) == [#"42/games,["login",{"numUsers":3}]"#])
        guard case .send(let send) = socket.request(#"2/games,["new message","hi"]"#)?.body else {
            Issue.record("no send")
            return
        }
        #expect(send.text == "hi" && send.again == false && send.room == games)
        #expect(
            socket.request(#"2/games,["stop typing"]"#)?.body == .signal(room: games, name: "stop typing", data: nil))
        let (ana, bob, cleo) = (try UserID("ana"), try UserID("bob"), try UserID("cleo"))
        #expect(
            socket.sent(.presence(room: games, joined: [ana, bob], left: [cleo], count: 5)) == [
                #"42/games,["user joined",{"username":"bob","numUsers":5}]"#,
                #"42/games,["user left",{"username":"cleo","numUsers":5}]"#,
            ])
        #expect(
            socket.shared(.signal(room: games, user: bob, name: "typing", data: nil))
                == #"["typing",{"username":"bob"}]"#)
        // The sender's own message is not shown to it, and other devices of the same user are shown it.
        let own = Message(
            position: message.position, content: MessageContent(user: ana, at: 1, text: "hi", key: send.key))
        let foreign = Message(
            position: message.position, content: MessageContent(user: ana, at: 1, text: "hi", key: "other.1"))
        guard case .nothing = socket.reader.form(of: .message(room: games, own, showKey: true)) else {
            Issue.record("an echo")
            return
        }
        guard case .prefixed = socket.reader.form(of: .message(room: games, foreign, showKey: true)) else {
            Issue.record("a message of another device is missing")
            return
        }
    }

    // MARK: tutorial

    @Test func theTutorialIsSpoken() throws {
        let socket = try Socket("tutorial", auth: #"{"serverOffset":0}"#)
        #expect(try socket.reader.hello(Credentials(user: nil, token: nil))?.credentials.user == "guest-id")
        let room = try RoomName("tutorial")
        #expect(
            socket.reader.opening() == [
                .request(ClientRequest(ref: nil, body: .join(room: room, after: nil, history: 100)))
            ]
        )
        let later = try Socket("tutorial", auth: #"{"serverOffset":"7-3"}"#)
        #expect(
            later.reader.opening() == [
                .request(
                    ClientRequest(ref: nil, body: .join(room: room, after: Position(epoch: 7, seq: 3), history: nil)))
            ])
        let request = try #require(socket.request(#"21["chat message","hi","id-0"]"#))
        #expect(request.body == .send(SendRequest(room: room, text: "hi", key: "id-0")))
        let sent = ServerEvent.sent(ref: request.ref, room: room, position: message.position, at: 0, repeated: false)
        #expect(socket.sent(sent) == ["431[]"])
        // A failure is not acknowledged, so that the client tries again.
        let failing = try #require(socket.request(#"22["chat message","hi","id-1"]"#))
        #expect(
            socket.sent(.error(ref: failing.ref, WireError(.unavailable, "later"))) == [
                #"42["error",{"code":\#(WireError.Code.unavailable.rawValue),"name":"unavailable","message":"later","retry":true}]"#
            ])
        #expect(
            socket.shared(.message(room: room, message, showKey: false)) == #"42["chat message","hi","7-3"]"#)
    }

    // MARK: The end

    @Test func aClientThatMustNotComeBackIsDisconnected() throws {
        let socket = try Socket("martlet")
        #expect(socket.reader.farewell(.banned)?.payload.starts(with: Array("44{".utf8)) == true)
        #expect(try socket.sent(.welcome(welcome(socket))) == [#"40{"sid":"id"}"#])
        #expect(socket.reader.farewell(.banned)?.payload == Array("41".utf8))
        #expect(socket.reader.farewell(.draining)?.payload == [])
    }

    private func welcome(_ socket: Socket) throws -> Welcome {
        Welcome(
            session: "s", user: socket.user, device: try DeviceName("d"), node: "n", heartbeat: 25, limits: Limits())
    }
}
