import ChatCore
import MartletClient
import Testing

@testable import martlet

/// What the protocols of a replay make of frames.
@Suite struct ReplayWireTests {
    private let user: UserID
    private let room: RoomName

    init() throws {
        user = try UserID("ana")
        room = try RoomName("방 1")
    }

    private func message(_ position: String, _ text: String) throws -> ReplayWireEvent {
        let place = try #require(Position(position))
        return .message(room, Message(position: place, content: MessageContent(user: user, at: 0, text: text)))
    }

    @Test func stompAnswersASendWithReceiptAndMessageInEitherOrder() throws {
        var wire = ReplayStomp(user: user, keys: "replay")
        #expect(wire.opening?.hasPrefix("CONNECT\n") == true)
        #expect(wire.received("CONNECTED\nversion:1.2\n\n\0").last == .ready)
        let join = wire.join(room, after: Position("5-3"), serial: 1)
        #expect(join.contains("destination:/topic/%EB%B0%A9%201\n"))
        #expect(join.contains("x-stream-offset:offset=5-3\n"))
        #expect(wire.received("RECEIPT\nreceipt-id:1\n\n\0") == [.answered(serial: 1, position: nil)])
        for serial in [2, 3] { _ = wire.send("hi", in: room, serial: serial, isRepeated: false) }
        let shown = "MESSAGE\nsubscription:1\nmessage-id:5-4\nuser:ana\nmartlet-key:replay-2\n\nhi\0"
        #expect(wire.received(shown) == [try message("5-4", "hi")])
        #expect(wire.received("RECEIPT\nreceipt-id:2\n\n\0") == [.answered(serial: 2, position: Position("5-4"))])
        #expect(wire.received("RECEIPT\nreceipt-id:3\n\n\0") == [])
        let late = "MESSAGE\nsubscription:1\nmessage-id:5-5\nuser:ana\nmartlet-key:replay-3\n\nhi\0"
        #expect(wire.received(late) == [try message("5-5", "hi"), .answered(serial: 3, position: Position("5-5"))])
    }

    @Test func stompReadsWhatIsEscapedAndWhatIsRefused() throws {
        var wire = ReplayStomp(user: user, keys: "replay")
        _ = wire.join(room, after: nil, serial: 1)
        let shown = "MESSAGE\nsubscription:1\nmessage-id:5-1\nuser:a\\cb\\\\c\n\na\n\nb\0"
        let place = try #require(Position("5-1"))
        let content = MessageContent(user: try UserID(#"a:b\c"#), at: 0, text: "a\n\nb")
        #expect(wire.received(shown) == [.message(room, Message(position: place, content: content))])
        let refused = "MESSAGE\nsubscription:errors\nreceipt-id:7\ncode:201\nretry:true\nmessage:rateLimited\n\nslow\0"
        let fault = ServerFault(code: 201, name: "rateLimited", message: "slow", retry: true)
        #expect(wire.received(refused) == [.refused(serial: 7, fault)])
        #expect(wire.received("\n") == [])
        for bad in ["ERROR\nmessage:x\n\n\0", "MESSAGE\nsubscription:1\nmessage-id:x\nuser:ana\n\n\0", "what\n\n"] {
            guard case .failed = wire.received(bad).first else { throw Unexpected(bad) }
        }
        let gap = "MESSAGE\nsubscription:1\nmartlet-event:gap\n\n{\"after\":\"5-1\",\"before\":\"5-9\"}\0"
        let before = try #require(Position("5-9"))
        #expect(wire.received(gap) == [.gap(room, Gap(after: place, before: before))])
    }

    @Test func socketIOAnswersByTheNumberOfTheAcknowledgement() throws {
        var wire = ReplaySocketIO(user: user, keys: "replay")
        #expect(wire.received("0{\"sid\":\"x\"}") == [.reply(#"40{"user":"ana","device":"replay"}"#)])
        #expect(wire.received("40{\"sid\":\"y\"}") == [.ready])
        #expect(wire.received("2") == [.reply("3")])
        #expect(wire.join(room, after: nil, serial: 1) == #"421["join",{"room":"방 1","history":0}]"#)
        let send = wire.send("a\"b", in: room, serial: 2, isRepeated: true)
        #expect(send == #"422["send",{"room":"방 1","text":"a\"b","key":"replay-2","again":true}]"#)
        #expect(
            wire.received(#"432[{"position":"5-4","repeated":false}]"#)
                == [.answered(serial: 2, position: Position("5-4"))])
        let shown = #"42["message",{"room":"방 1","position":"5-4","user":"ana","text":"hi"},"offset"]"#
        #expect(wire.received(shown) == [try message("5-4", "hi")])
        let fault = ServerFault(code: 303, name: "muted", message: "no", retry: false)
        let refused = #"433[{"error":{"code":303,"name":"muted","message":"no","retry":false}}]"#
        #expect(wire.received(refused) == [.refused(serial: 3, fault)])
        #expect(wire.received(#"42["presence",{"room":"방 1","joined":[]}]"#) == [])
        for bad in ["41", "44{}", "42[", "43x", #"42["message",{"room":"방 1","position":"x"}]"#] {
            guard case .failed = wire.received(bad).first else { throw Unexpected(bad) }
        }
    }

    private struct Unexpected: Error {
        let frame: String
        init(_ frame: String) { self.frame = frame }
    }
}
