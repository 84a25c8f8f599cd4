import Testing

@testable import ChatWire

struct WebSocketHandshakeTests {
    private func head(_ fields: [String: String?] = [:], method: String = "GET") throws -> RequestHead {
        var all: [String: String?] = [
            "Host": "a", "Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        ]
        for (name, value) in fields { all[name] = .some(value) }
        var text = "\(method) /ws HTTP/1.1\r\n"
        for (name, value) in all { if let value { text += "\(name): \(value)\r\n" } }
        return try RequestHead(Array((text + "\r\n").utf8))
    }

    private func status(_ head: RequestHead, origins: Set<String>? = nil) -> Int {
        do throws(WebSocketHandshake.Refusal) {
            _ = try WebSocketHandshake(subprotocols: ["martlet.v1"], allowedOrigins: origins).judge(head)
            return 101
        } catch {
            return error.status
        }
    }

    /// RFC 6455 §1.3 gives this key and answer.
    @Test func section1_3_theExampleOfTheRFC() throws {
        let acceptance = try WebSocketHandshake(subprotocols: ["martlet.v1"]).judge(try head())
        #expect(acceptance.accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(acceptance.subprotocol == nil)
    }

    @Test func sha1GivesTheStandardsExamples() {
        func hex(_ text: String) -> String {
            WebSocketAccept.sha1(Array(text.utf8)).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        #expect(hex("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(hex("") == "da39a3ee5e6b4b0d3255bfef95601890afd80709")
        #expect(
            hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
                == "84983e441c3bd26ebaae4aa1f95129e5e54670f1")
        #expect(hex(String(repeating: "a", count: 1_000)) == "291e9a6c66994949b57ba5e650361e98fc36b1ba")
    }

    @Test func section4_2_1_eachConditionHasItsStatus() throws {
        #expect(status(try head()) == 101)
        #expect(status(try head(method: "PUT")) == 405)
        #expect(status(try head(["Upgrade": nil])) == 426)
        #expect(status(try head(["Connection": "close"])) == 426)
        #expect(status(try head(["Sec-WebSocket-Version": nil])) == 426)
        #expect(status(try head(["Sec-WebSocket-Version": "12"])) == 426)
        #expect(status(try head(["Sec-WebSocket-Key": nil])) == 400)
        #expect(status(try head(["Sec-WebSocket-Key": "AAAA"])) == 400)
        #expect(status(try head(["Content-Length": "1"])) == 400)
        #expect(status(try head(["Content-Length": "0"])) == 101)
        #expect(status(try head(["Sec-WebSocket-Protocol": "martlet.v1"])) == 101)
        #expect(status(try head(["Sec-WebSocket-Protocol": "other"])) == 400)
        #expect(status(try head(["Origin": "https://a"]), origins: ["https://b"]) == 403)
        #expect(status(try head(["Origin": "https://b"]), origins: ["https://b"]) == 101)
    }
}
