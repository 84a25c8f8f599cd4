import ChatCore
import ChatGateway
import ChatJSON
import ChatWire

/// Sends back each message of a WebSocket.
final class EchoProtocol: ClientProtocol, ClientReader {
    let name = "echo"
    var framing: ProtocolFraming { ProtocolFraming(takesBinary: true) }

    func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        ClientHello(credentials: Credentials(user: "echo", token: nil))
    }

    func makeReader() -> any ClientReader { self }

    func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) { body(.say(bytes, isText: isText)) }

    func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {}
}

/// Sends back each message of Engine.IO.
final class EngineEcho: EngineApplication {
    private weak var connection: (any EngineConnection)?

    init(_ connection: any EngineConnection) { self.connection = connection }

    func received(_ bytes: [UInt8], isText: Bool) { connection?.send(bytes, isText: isText) }

    func closed(_ end: EngineStateMachine.End) {}
}

/// What the suite of the Socket.IO protocol expects: `auth` with what the client sent when it connected, `message` that
/// comes back as `message-back`, and `message-with-ack` that is acknowledged with its arguments; in the main namespace
/// and in `/custom`.
final class SocketEcho: EngineApplication {
    private weak var connection: (any EngineConnection)?
    private var machine: SocketStateMachine
    private var sockets = 0

    init(_ connection: any EngineConnection, _ limits: SocketStateMachine.Limits) {
        self.connection = connection
        machine = SocketStateMachine(limits: limits, now: .now)
    }

    var deadline: Moment? { machine.deadline }

    func timePassed(now: Moment) { run(machine.timePassed(now: now)) }

    func received(_ bytes: [UInt8], isText: Bool) { run(machine.received(bytes, isText: isText)) }

    func closed(_ end: EngineStateMachine.End) {}

    private func run(_ action: SocketStateMachine.Action) {
        switch action {
        case .doNothing, .acknowledged, .disconnect: break
        case .connect(let namespace, let auth): connect(namespace, auth)
        case .refuse(let namespace): refuse(namespace)
        case .event(let event): received(event)
        case .end: connection?.close()
        }
    }

    private func connect(_ namespace: String, _ auth: SocketValue?) {
        guard [SocketPacket.mainNamespace, "/custom"].contains(namespace) else {
            machine.refused(namespace, now: .now)
            return refuse(namespace)
        }
        guard machine.connected(namespace) else { return }
        sockets += 1
        send(SocketPacket(.connect, namespace: namespace, payload: Array(#"{"sid":"socket-\#(sockets)"}"#.utf8)))
        let payload = "[\"auth\",\(auth?.json ?? "{}")]"
        send(SocketPacket(.event, namespace: namespace, payload: Array(payload.utf8)))
    }

    private func refuse(_ namespace: String) {
        send(
            SocketPacket(
                .connectError, namespace: namespace, payload: Array(#"{"message":"Invalid namespace"}"#.utf8)))
    }

    private func received(_ event: SocketStateMachine.Event) {
        let isBinary = !event.attachments.isEmpty
        let arguments = (1..<max(1, event.arguments.count)).compactMap { event.arguments[$0]?.json }
        switch (event.name, event.id) {
        case ("message", _):
            let payload = "[" + (["\"message-back\""] + arguments).joined(separator: ",") + "]"
            send(
                SocketPacket(
                    isBinary ? .binaryEvent : .event, namespace: event.namespace,
                    attachments: event.attachments.count, payload: Array(payload.utf8)), event.attachments)
        case ("message-with-ack", let id?):
            let payload = "[" + arguments.joined(separator: ",") + "]"
            send(
                SocketPacket(
                    isBinary ? .binaryAck : .ack, namespace: event.namespace, id: id,
                    attachments: event.attachments.count, payload: Array(payload.utf8)), event.attachments)
        default: break
        }
    }

    private func send(_ packet: SocketPacket, _ attachments: [[UInt8]] = []) {
        connection?.send(packet.content, isText: true)
        for attachment in attachments { connection?.send(attachment, isText: false) }
    }
}
