import ChatCore
import Testing

@testable import ChatWire

struct SocketPacketTests {
    private func read(_ text: String, attachments: Int = 10) -> SocketPacket? {
        SocketPacket(Array(text.utf8), maxAttachments: attachments)
    }

    private static let valid: [(String, SocketPacket)] = [
        ("0", SocketPacket(.connect)),
        ("0{\"token\":\"123\"}", SocketPacket(.connect, payload: Array("{\"token\":\"123\"}".utf8))),
        ("0/admin,", SocketPacket(.connect, namespace: "/admin")),
        ("0/admin", SocketPacket(.connect, namespace: "/admin")),
        ("1/admin", SocketPacket(.disconnect, namespace: "/admin")),
        ("1", SocketPacket(.disconnect)),
        ("2[\"hello\",1]", SocketPacket(.event, payload: Array("[\"hello\",1]".utf8))),
        ("2/admin,456[\"a\"]", SocketPacket(.event, namespace: "/admin", id: 456, payload: Array("[\"a\"]".utf8))),
        ("3/admin,456[]", SocketPacket(.ack, namespace: "/admin", id: 456, payload: Array("[]".utf8))),
        (
            "52-/admin,7[\"a\",{\"_placeholder\":true,\"num\":0}]",
            SocketPacket(
                .binaryEvent, namespace: "/admin", id: 7, attachments: 2,
                payload: Array("[\"a\",{\"_placeholder\":true,\"num\":0}]".utf8))
        ),
        ("61-789[{}]", SocketPacket(.binaryAck, id: 789, attachments: 1, payload: Array("[{}]".utf8))),
    ]

    @Test func packetsAreReadAsTheProtocolDescribesThem() {
        for (text, packet) in Self.valid { #expect(read(text) == packet, "\(text)") }
        #expect(read("0/admin?x=1,")?.namespace == "/admin")
    }

    @Test func packetsAreWrittenAsTheyAreRead() {
        for (_, packet) in Self.valid { #expect(SocketPacket(packet.content, maxAttachments: 10) == packet) }
    }

    @Test(arguments: [
        "", "abc", "7", "4{}", "2", "2{}", "2[]", "2[{}]", "2[\"a\"", "2[\"a\"]x", "2abc[\"a\"]", "3[]", "31{}", "31",
        "0[]", "0{", "01", "1x", "5[\"a\"]", "5-[\"a\"]", "511-[\"a\"]", "52", "5-1-[\"a\"]", "6-1[]",
        "2[\"connect\"]", "2[\"disconnect\",1]", "2[\"newListener\"]", "2[\"connect_error\"]", "2[\"disconnecting\"]",
        "2[\"removeListener\"]", "299999999999999999999[\"a\"]", "2-1[\"a\"]", "2[\"\u{0}\"]", "2\u{feff}[\"a\"]",
    ])
    func packetsThatBreakTheProtocolAreRefused(_ text: String) {
        #expect(read(text) == nil)
    }

    @Test func tooManyAttachmentsAreRefused() {
        #expect(read("52-[\"a\"]", attachments: 1) == nil)
        #expect(read("50-[\"a\"]", attachments: 0)?.attachments == 0)
    }

    @Test func bytesThatAreNoTextAreRefused() {
        #expect(SocketPacket([0x32, 0x5B, 0x22, 0xFF, 0x22, 0x5D], maxAttachments: 1) == nil)
        #expect(SocketPacket([0x30, 0x2F, 0xFF], maxAttachments: 1) == nil)
    }

    @Test func argumentsAreFound() throws {
        let arguments = try #require(
            SocketArguments(Array(#"["s\u0061y", {"a":{"b":[1, 2]},"a":{"b":"c"}}, 7, null]"#.utf8)))
        #expect(arguments.event == "say" && arguments.count == 4)
        #expect(arguments[1]?["a"]?["b"]?.string == "c")
        #expect(arguments[2]?.integer == 7 && arguments[2]?.string == nil)
        #expect(arguments[1]?["x"] == nil && arguments[4] == nil && arguments[2]?["a"] == nil)
        #expect(arguments[1]?.json == #"{"a":{"b":[1, 2]},"a":{"b":"c"}}"#)
        #expect(SocketArguments(Array("[7]".utf8))?.event == "7")
        #expect(SocketValue(Array(#" {"_placeholder":true,"num":0} "#.utf8))?.holdsPlaceholder == true)
        #expect(SocketValue(Array("[1]".utf8))?.holdsPlaceholder == false)
    }
}
