import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOCore
import TestSupport
import Testing

struct WebSocketEchoTests {
    @Test func twoSessionsTalkInARoom() async throws {
        try await withGateway { port, service, server in
            let ana = try await TestWebSocket.connect(port: port, "user=ana&device=phone&room=caf%C3%A9")
            let welcome = try await ana.json("welcome")
            #expect(welcome["user"]?.string == "ana")
            #expect(welcome["device"]?.string == "phone")
            #expect(welcome["session"]?.string?.hasPrefix("test-1-") == true)
            #expect(try await ana.json("joined")["room"]?.string == "café")
            let bob = try await TestWebSocket.connect(port: port, "user=bob")
            try await bob.send(#"{"type":"join","ref":"j","room":"café"}"#)
            #expect(try await bob.json("joined")["ref"]?.string == "j")
            try await ana.send(#"{"type":"send","ref":7,"room":"café","text":"hi"}"#)
            let sent = try await ana.json("sent")
            #expect(sent["ref"]?.integer == 7)
            for client in [ana, bob] {
                let message = try await client.json("message")
                #expect(message["text"]?.string == "hi")
                #expect(message["position"]?.string == "1-1")
            }
            try await ana.send(#"{"type":"signal","room":"café","name":"typing"}"#)
            #expect(try await bob.json("signal")["user"]?.string == "ana")
            let counters = await server.counters()
            #expect(counters.sessions == 2)
            #expect(counters.framesReceived[.send] == 1)
            ana.socket.channel.close(promise: nil)
            try await eventually("ana is gone") { service.sessions == 1 }
            try await bob.sendFrame(.close, [0x03, 0xE8])
            #expect(await bob.next() == .close(.normal, reason: ""))
            #expect(await bob.next() == nil)
            try await eventually("bob is gone") { service.sessions == 0 }
            let after = await server.counters()
            #expect(after.sessionsClosed == ["gone": 1, "peer": 1])
            #expect(after.connections == 0)
            #expect(after.queuedBytes == 0)
        }
    }
}
