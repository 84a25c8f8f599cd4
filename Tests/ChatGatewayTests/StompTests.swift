import ChatCore
import ChatGateway
import ChatJSON
import ChatWire
import NIOSSL
import TestSupport
import Testing

/// STOMP through the shipped gateway and a whole node: over WebSockets, SockJS and a TCP port.
@Suite struct StompTests {
    private static let node = ["MARTLET_STOMP_PORT": "0"]

    @Test(arguments: ["/stomp", "/ws-stomp", "/stomp/chat", "/stomp/websocket", "/ws/websocket"])
    func theUsualPathsSpeakSTOMP(path: String) async throws {
        try await withMemoryNode(Self.node) { port, _ in
            let client = try await StompClient.webSocket(port, path)
            try await client.connect("ana")
            try await client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
            #expect(try await client.frame().hasPrefix("RECEIPT\nreceipt-id:r\n"))
            try await client.send("SEND\ndestination:/topic/a\n\nhi\0")
            let message = try await client.frame()
            #expect(message.hasPrefix("MESSAGE\nsubscription:1\ndestination:/topic/a\nmessage-id:"))
            #expect(message.hasSuffix("\ncontent-length:2\n\nhi\0"))
        }
    }

    @Test(arguments: [
        "v12.stomp", "v11.stomp", "v10.stomp", "v12.stomp, v11.stomp, v10.stomp", "martlet.v9, v10.stomp",
    ])
    func atTheCommonPathTheSubprotocolDecides(offer: String) async throws {
        try await withMemoryNode(Self.node) { port, _ in
            let client = try await StompClient.webSocket(port, "/ws", extra: "Sec-WebSocket-Protocol: \(offer)\r\n")
            try await client.connect("ana")
        }
    }

    @Test func atTheCommonPathTheFirstFrameDecidesToo() async throws {
        for environment in [[:], ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret]] {
            try await withMemoryNode(Self.node.merging(environment) { $1 }) { port, _ in
                let token = try TestTokens.make("ana")
                for command in ["CONNECT\n", "STOMP\r\n"] {
                    let client = try await StompClient.webSocket(port, "/ws")
                    try await client.send("\(command)accept-version:1.2\nlogin:ana\npasscode:\(token)\n\n\0")
                    #expect(try await client.frame().contains("\nuser-name:ana\n"))
                }
                // Whatever begins otherwise is refused as a client of the path's own protocol that names nobody.
                for first in [#"{"type":"join","room":"a"}"#, "CONNEC", "SEND\n\n\0"] {
                    let client = try await TestWebSocket.connect(port: port, "")
                    try await client.send(first)
                    #expect(
                        await client.next() == .close(WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated"))
                }
                let offers = try await TestWebSocket.connect(
                    port: port, "", extra: "Sec-WebSocket-Protocol: martlet.v1\r\n")
                #expect(await offers.next() == .close(WebSocketCloseCode(rawValue: 4002), reason: "unauthenticated"))
            }
        }
        // A guest is welcomed before it has said anything.
        let guests = ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret, "MARTLET_ANONYMOUS": "chat"]
        try await withMemoryNode(Self.node.merging(guests) { $1 }) { port, _ in
            let guest = try await TestWebSocket.connect(port: port, "")
            _ = try await guest.json("welcome")
        }
    }

    @Test func offMeansOff() async throws {
        try await withMemoryNode(Self.node.merging(["MARTLET_STOMP": "off"]) { $1 }) { port, ports in
            #expect(ports.isEmpty)
            await #expect(throws: (any Error).self) { _ = try await StompClient.webSocket(port, "/stomp") }
        }
    }

    @Test func aFrameInManyMessagesAndManyFramesInOne() async throws {
        try await withMemoryNode(Self.node) { port, _ in
            let client = try await StompClient.webSocket(port, "/stomp")
            try await client.connect("ana")
            let frame = "SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\nx:\(String(repeating: "y", count: 50))\n\n\0"
            for byte in frame.utf8 { try await client.send(String(decoding: [byte], as: UTF8.self)) }
            #expect(try await client.frame().hasPrefix("RECEIPT\n"))
            let many = (0..<50).map { "SEND\ndestination:/topic/a\n\n\($0)\0\n" }.joined()
            try await client.send(many)
            for number in 0..<50 { #expect(try await client.frame().hasSuffix("\n\n\(number)\0")) }
        }
    }

    @Test func aRoomIsOneForAllProtocolsAndTransports() async throws {
        try await withMemoryNode(Self.node) { port, ports in
            let stompPort = try #require(ports["stomp"])
            let native = try await TestWebSocket.connect(port: port, "user=nat&room=a")
            _ = try await native.json("joined")
            let clients = [
                try await StompClient.webSocket(port, "/stomp"), try await StompClient.tcp(stompPort),
                try await StompClient.sockJS(port, "/ws-stomp"),
            ]
            for (index, client) in clients.enumerated() {
                try await client.connect("user\(index)", index == 1 ? "1.0" : "1.2")
                try await client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:r\n\n\0")
                #expect(try await client.frame().hasPrefix("RECEIPT\n"))
            }
            for round in 0..<20 {
                try await native.send(#"{"type":"send","room":"a","text":"n\#(round)"}"#)
                for (index, client) in clients.enumerated() {
                    try await client.send("SEND\ndestination:/topic/a\n\ns\(index)-\(round)\0")
                }
            }
            var order: [String] = []
            while order.count < 80 {
                let message = try await native.json("message")
                order.append("\(message["position"]?.string ?? "") \(message["text"]?.string ?? "")")
            }
            for client in clients {
                var seen: [String] = []
                while seen.count < 80 {
                    let frame = try await client.frame()
                    #expect(frame.hasPrefix("MESSAGE\n"))
                    let lines = frame.split(separator: "\n", omittingEmptySubsequences: false)
                    let position = lines.first { $0.hasPrefix("message-id:") }?.dropFirst("message-id:".count) ?? ""
                    seen.append("\(position) \(lines.last?.dropLast() ?? "")")
                }
                #expect(seen == order)
            }
        }
    }

    @Test func aSubscriptionResumesOnAnotherConnection() async throws {
        try await withMemoryNode(Self.node) { port, ports in
            let first = try await StompClient.webSocket(port, "/stomp")
            try await first.connect("ana")
            try await first.send("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0")
            for number in 0..<300 { try await first.send("SEND\ndestination:/topic/a\n\n\(number)\0") }
            var positions: [String] = []
            for _ in 0..<300 {
                let frame = try await first.frame()
                positions.append(frame.split(separator: "\n")[3].dropFirst("message-id:".count).description)
            }
            let second = try await StompClient.tcp(try #require(ports["stomp"]))
            try await second.connect("bo")
            try await second.send(
                "SUBSCRIBE\nid:1\ndestination:/topic/a\nx-stream-offset:offset=\(positions[9])\n\n\0")
            for number in 10..<300 { #expect(try await second.frame().hasSuffix("\n\n\(number)\0")) }
            let third = try await StompClient.webSocket(port, "/stomp")
            try await third.connect("cy")
            try await third.send("SUBSCRIBE\nid:1\ndestination:/topic/a\nx-stream-offset:first\n\n\0")
            for number in 0..<300 { #expect(try await third.frame().hasSuffix("\n\n\(number)\0")) }
        }
    }

    @Test func disconnectWithAReceiptEndsTheConnection() async throws {
        try await withMemoryNode(Self.node) { port, ports in
            let socket = try await StompClient.tcp(try #require(ports["stomp"]))
            try await socket.connect("ana")
            try await socket.send("SEND\ndestination:/topic/a\nreceipt:1\n\nx\0DISCONNECT\nreceipt:2\n\n\0")
            #expect(try await socket.frame() == "RECEIPT\nreceipt-id:1\n\n\0")
            #expect(try await socket.frame() == "RECEIPT\nreceipt-id:2\n\n\0")
            #expect(await socket.isOver())
            let web = try await StompClient.webSocket(port, "/stomp")
            try await web.connect("ana")
            try await web.send("DISCONNECT\nreceipt:2\n\n\0")
            #expect(try await web.frame() == "RECEIPT\nreceipt-id:2\n\n\0")
            #expect(await web.isOver())
        }
    }

    @Test func whatIsWrongIsAnErrorAndTheEnd() async throws {
        try await withMemoryNode(Self.node) { port, ports in
            for bytes in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SEND\ndestination:/topic/a\n\n\0", "bad\nheader\n\n\0"]
            {
                let socket = try await StompClient.tcp(try #require(ports["stomp"]))
                if bytes.hasPrefix("GET") {
                    try await socket.send(bytes + "\0")
                } else {
                    try await socket.send(bytes)
                }
                #expect(try await socket.frame().hasPrefix("ERROR\n"))
                #expect(await socket.isOver())
            }
            let web = try await StompClient.webSocket(port, "/stomp")
            try await web.connect("ana")
            try await web.send("SUBSCRIBE\nid:1\ndestination:/queue/a\nreceipt:r\n\n\0")
            let error = try await web.frame()
            #expect(error.hasPrefix("ERROR\nmessage:Invalid destination\n"))
            #expect(error.contains("\nreceipt-id:r\n"))
            #expect(await web.isOver())
        }
    }

    @Test func withTokensTheTokenSaysWhoTheClientIs() async throws {
        let secret = ["MARTLET_TOKEN_HMAC_SECRET": TestTokens.secret]
        try await withMemoryNode(Self.node.merging(secret) { $1 }) { port, ports in
            let stompPort = try #require(ports["stomp"])
            let token = try TestTokens.make("ana")
            for headers in ["login:ana\npasscode:\(token)\n", "passcode:\(token)\n", "Authorization:Bearer \(token)\n"]
            {
                let client = try await StompClient.tcp(stompPort)
                try await client.send("CONNECT\naccept-version:1.2\n\(headers)\n\0")
                #expect(try await client.frame().contains("\nuser-name:ana\n"))
            }
            let web = try await StompClient.webSocket(port, "/stomp", query: "token=\(token)")
            try await web.send("CONNECT\naccept-version:1.2\n\n\0")
            #expect(try await web.frame().contains("\nuser-name:ana\n"))
            for headers in ["login:ana\n", "login:ana\npasscode:no\n", "login:bo\npasscode:\(token)\n", ""] {
                for client in [
                    try await StompClient.tcp(stompPort), try await StompClient.webSocket(port, "/stomp"),
                    try await StompClient.sockJS(port, "/stomp"),
                ] {
                    try await client.send("CONNECT\naccept-version:1.2\n\(headers)\n\0")
                    let error = try await client.frame()
                    #expect(error.hasPrefix("ERROR\nmessage:Bad CONNECT\n"))
                    #expect(error.contains("\n\nAccess refused"))
                    #expect(await client.isOver())
                }
            }
        }
    }

    @Test func heartBeatsComeAndAreMissed() async throws {
        try await withMemoryNode(Self.node) { _, ports in
            let client = try await StompClient.tcp(try #require(ports["stomp"]))
            try await client.send("CONNECT\naccept-version:1.2\nheart-beat:1000,1000\n\n\0")
            #expect(try await client.frame().contains("\nheart-beat:1000,1000\n"))
            // Nothing is sent any more.
            #expect(try await client.frame().hasPrefix("ERROR\nmessage:No heart-beat\n"))
            #expect(client.beats > 0)
            #expect(await client.isOver())
        }
    }

    @Test func aClientThatSaysNothingIsClosedInTime() async throws {
        try await withMemoryNode(Self.node.merging(["MARTLET_HANDSHAKE_TIMEOUT": "300ms"]) { $1 }) { port, ports in
            let silent = try await StompClient.tcp(try #require(ports["stomp"]))
            #expect(await silent.isOver())
            let half = try await StompClient.tcp(try #require(ports["stomp"]))
            try await half.send("CONN")
            #expect(try await half.frame().hasPrefix("ERROR\nmessage:unauthenticated\n"))
            #expect(await half.isOver())
        }
    }

    // MARK: the port

    @Test func thePortSpeaksTLSIfTheNodeHasACertificate() async throws {
        let own = try PrivateCertificate.make()
        try await withGateway {
            $0.certificate = own.files
            $0.protocolPorts = [ProtocolRegistry.stompPort: 0]
        } _: { _, _, server in
            let port = try #require(server.boundPort(of: ProtocolRegistry.stompPort))
            let client = try await StompClient.tcp(port, tls: try own.client())
            try await client.connect("ana")
            try await client.send("DISCONNECT\nreceipt:r\n\n\0")
            #expect(try await client.frame().hasPrefix("RECEIPT\n"))
            #expect(await client.isOver())
            let plain = try await StompClient.tcp(port)
            try await plain.send("CONNECT\n\n\0")
            #expect(await plain.isOver())
            #expect(await server.counters().refusals == [.notTLS: 1])
        }
    }

    @Test func aLeavingNodeSaysSoAndTakesNobody() async throws {
        try await withGateway {
            $0.protocolPorts = [ProtocolRegistry.stompPort: 0]
        } _: { port, service, server in
            let stompPort = try #require(server.boundPort(of: ProtocolRegistry.stompPort))
            let clients = [
                try await StompClient.tcp(stompPort), try await StompClient.webSocket(port, "/stomp"),
            ]
            for client in clients { try await client.connect("ana") }
            #expect(service.sessions == 2)
            await server.stopAccepting()
            await #expect(throws: (any Error).self) { _ = try await StompClient.tcp(stompPort) }
            await server.closeAll(.draining, spread: .milliseconds(50))
            for client in clients {
                #expect(try await client.frame().hasPrefix("ERROR\nmessage:draining\n"))
                #expect(await client.isOver())
            }
            try await eventually("they have left") { service.sessions == 0 }
        }
    }

    @Test func aFullNodeClosesConnectionsToThePort() async throws {
        try await withGateway {
            $0.protocolPorts = [ProtocolRegistry.stompPort: 0]
            $0.maxConnections = 1
        } _: { _, _, server in
            let port = try #require(server.boundPort(of: ProtocolRegistry.stompPort))
            let first = try await StompClient.tcp(port)
            try await first.connect("ana")
            let second = try await StompClient.tcp(port)
            // It may be closed before it has sent anything.
            try? await second.send("CONNECT\n\n\0")
            #expect(await second.isOver())
            try await first.send("DISCONNECT\nreceipt:r\n\n\0")
            #expect(try await first.frame().hasPrefix("RECEIPT\n"))
        }
    }

    // MARK: SockJS

    @Test func sockJSTellsWhatItCanDo() async throws {
        try await withMemoryNode(Self.node) { port, _ in
            func ask(_ request: String, hasBody: Bool = true) async throws -> (head: String, body: String) {
                let socket = try await TestSocket.connect(port: port)
                try await socket.write(request + "Host: x\r\n\r\n")
                guard let answer = await socket.readAnswer(hasBody: hasBody) else { throw TestFailure("no answer") }
                return answer
            }
            for base in ["/stomp", "/ws-stomp", "/stomp/chat", "/ws"] {
                let (head, body) = try await ask("GET \(base)/info HTTP/1.1\r\nOrigin: http://a\r\n")
                #expect(head.hasPrefix("HTTP/1.1 200 "))
                #expect(head.lowercased().contains("access-control-allow-origin: http://a\r\n"))
                #expect(head.lowercased().contains("access-control-allow-credentials: true\r\n"))
                #expect(head.lowercased().contains("cache-control: no-store, no-cache"))
                let info = try JSONValue(parsing: body)
                #expect(info["websocket"]?.bool == true)
                #expect(info["cookie_needed"]?.bool == false)
                #expect(info["entropy"] != nil)
            }
            for path in ["/stomp", "/stomp/"] {
                #expect(try await ask("GET \(path) HTTP/1.1\r\n").body == "Welcome to SockJS!\n")
            }
            for path in ["/stomp/a", "/stomp//", "/stomp/a/a", "/stomp/a./b/websocket", "/stomp/a/b/c/websocket"] {
                #expect(try await ask("GET \(path) HTTP/1.1\r\n").head.hasPrefix("HTTP/1.1 404 "), "\(path)")
            }
            #expect(try await ask("GET /stomp/0/0/websocket HTTP/1.1\r\n").head.hasPrefix("HTTP/1.1 400 "))
            #expect(
                try await ask("POST /stomp/0/0/websocket HTTP/1.1\r\n", hasBody: false).head.hasPrefix("HTTP/1.1 405 "))
            #expect(
                try await ask("OPTIONS /stomp/info HTTP/1.1\r\nOrigin: null\r\n", hasBody: false).head.hasPrefix(
                    "HTTP/1.1 204 "))
            #expect(try await ask("GET /ws HTTP/1.1\r\n").head.hasPrefix("HTTP/1.1 426 "))
        }
    }

    @Test func brokenJSONEndsASockJSSessionAndNothingElse() async throws {
        try await withMemoryNode(Self.node) { port, _ in
            let other = try await StompClient.sockJS(port, "/stomp")
            try await other.connect("ana")
            let client = try await StompClient.sockJS(port, "/stomp")
            try await client.connect("bo")
            try await client.web?.send("[\"a")
            #expect(await client.isOver())
            try await other.send("SEND\ndestination:/topic/a\nreceipt:r\n\nx\0")
            #expect(try await other.frame().hasPrefix("RECEIPT\n"))
        }
    }
}

/// A STOMP client over any of the transports.
final class StompClient {
    let web: TestWebSocket?
    private let socket: TestSocket?
    private let isSockJS: Bool
    private var bytes: [UInt8] = []
    private(set) var beats = 0

    private init(web: TestWebSocket? = nil, socket: TestSocket? = nil, isSockJS: Bool = false) {
        self.web = web
        self.socket = socket
        self.isSockJS = isSockJS
    }

    static func webSocket(
        _ port: Int, _ path: String, query: String = "", extra: String = ""
    ) async throws -> StompClient {
        StompClient(web: try await TestWebSocket.connect(port: port, query, extra: extra, path: path))
    }

    static func sockJS(_ port: Int, _ base: String) async throws -> StompClient {
        let web = try await TestWebSocket.connect(port: port, "", path: base + "/123/abcdefgh/websocket")
        guard await web.next() == .text([UInt8(ascii: "o")]) else { throw TestFailure("no o") }
        return StompClient(web: web, isSockJS: true)
    }

    static func tcp(_ port: Int, tls: NIOSSLContext? = nil) async throws -> StompClient {
        StompClient(socket: try await TestSocket.connect(port: port, tls: tls))
    }

    func connect(_ user: String, _ version: String = "1.2") async throws {
        try await send("CONNECT\naccept-version:\(version)\nlogin:\(user)\n\n\0")
        let connected = try await frame()
        guard connected.hasPrefix("CONNECTED\n"), connected.contains("\nversion:\(version)\n") else {
            throw TestFailure(connected)
        }
    }

    func send(_ text: String) async throws {
        if isSockJS { return try await web?.send(JSONValue.array([.string(text)]).text) ?? () }
        try await web?.send(text)
        try await socket?.write(Array(text.utf8))
    }

    /// The next frame, with its NUL.
    func frame() async throws -> String {
        while true {
            while bytes.first == 0x0A {
                bytes.removeFirst()
                beats += 1
            }
            if let end = bytes.firstIndex(of: 0) {
                defer { bytes.removeFirst(end + 1) }
                return String(decoding: bytes[...end], as: UTF8.self)
            }
            guard let more = await read() else { throw TestFailure("the connection has gone") }
            bytes += more
        }
    }

    private func read() async -> [UInt8]? {
        guard let web else { return await socket?.read() }
        while let event = await web.next() {
            guard case .text(let text) = event else {
                if case .close = event { return nil }
                continue
            }
            guard isSockJS else { return text }
            guard text.first == UInt8(ascii: "a") else { continue }
            let value = try? JSONValue(parsing: Array(text.dropFirst()))
            return (value?.array ?? []).flatMap { Array(($0.string ?? "").utf8) }
        }
        return nil
    }

    /// Whether the node ends the connection, without another frame.
    func isOver() async -> Bool {
        guard bytes.isEmpty else { return false }
        return await read() == nil
    }
}
