import ChatCore
import ChatWire
import NIOCore

/// The session of one socket of Socket.IO: a client's connection to one namespace, over a connection of Engine.IO that
/// several of them may share.
///
/// Calls into the service are never made from within `send` or `close`, but at the end of the tick.
final class SocketSession: ClientSession {
    // The fields that a delivery touches come first.
    private let connection: EngineSession
    let gateway: GatewayLoop
    let protocolID: ProtocolID
    private var isEnding = false
    private var isRemoved = false
    var core: SessionCore
    let namespace: String
    var place: (slot: UInt32, index: UInt32)?
    private let application: SocketIOApplication
    /// The service waits until a page can be sent.
    private var isPageWanted = false
    /// The newest counts of rooms whose presence changes were dropped.
    private var owed: [RoomName: Int]?

    init(
        gateway: GatewayLoop, application: SocketIOApplication, identity: SessionIdentity,
        speaking spoken: SpokenProtocol, reader: SocketIOReader
    ) {
        self.gateway = gateway
        self.application = application
        connection = application.connection
        namespace = reader.handshake.namespace
        protocolID = spoken.id
        core = SessionCore(identity: identity, speaking: spoken, reader: reader, rules: gateway.sessionRules)
    }

    var mayReceive: Bool { !isEnding && connection.isOpen }

    // MARK: Out

    func enqueue(_ frame: SharedFrame) {
        guard !isEnding, !connection.enqueue(frame), let presence = frame.presence else { return }
        owed = (owed ?? [:]).merging([presence.room: presence.count]) { $1 }
        application.wishes()
    }

    func forgetOwed(_ room: RoomName) { owed?[room] = nil }

    func takesPage() -> Bool {
        guard core.machine.isOpen, !isEnding else { return false }
        if connection.hasRoomForPage { return true }
        isPageWanted = true
        application.wishes()
        return false
    }

    func pauseReading(for time: Duration) { connection.pauseReading(for: time) }

    // MARK: The end

    func end(with farewell: ProtocolFarewell, reason: String) {
        guard !isEnding else { return }
        if !farewell.payload.isEmpty { enqueue(SharedFrame(farewell.payload, as: .webSocket(.text))) }
        finish(reason)
        application.sessionEnded(self, comesBack: farewell.payload.isEmpty)
    }

    /// The client has left the namespace, or its connection is gone.
    func leave(_ reason: String) {
        guard !isEnding else { return }
        finish(reason)
        application.sessionLeft(self)
    }

    private func finish(_ reason: String) {
        isEnding = true
        core.endReason = core.endReason ?? reason
        core.machine.closed()
        owed = nil
    }

    func tickEnded() {
        guard isEnding else { return caughtUp() }
        guard !isRemoved else { return }
        isRemoved = true
        gateway.remove(self, reason: core.endReason ?? "gone")
        leaveService()
    }

    private func caughtUp() {
        guard core.machine.isOpen else { return }
        defer { if owed != nil || isPageWanted { application.wishes() } }
        guard !connection.isBehind else { return }
        if let counts = owed {
            owed = nil
            for (room, count) in counts { encode(.presence(room: room, joined: [], left: [], count: count)) }
        }
        guard isPageWanted, connection.hasRoomForPage, let id = core.id else { return }
        isPageWanted = false
        gateway.service.sessionDrained(id, on: gateway.eventLoop)
    }

    func heartbeatDue(now: Moment) { connection.checkStalled() }

    func cut() { connection.cut() }
}
