import ChatCore
import ChatGateway
import Glibc
import NIOConcurrencyHelpers
import NIOCore
import Testing

/// A loop that gathers what its sessions say.
@Suite struct GatheringTests {
    /// What the service does for the loop while that gathers.
    private final class Urgent: Sendable {
        let pipe: (read: CInt, write: CInt)
        private let state = NIOLockedValueBox((waits: 0, log: [String]()))

        init() throws {
            var ends: [CInt] = [0, 0]
            guard Glibc.pipe(&ends) == 0 else { throw TestFailure(text: "no pipe") }
            pipe = (ends[0], ends[1])
        }

        deinit {
            close(pipe.read)
            close(pipe.write)
        }

        /// How often the loop was about to wait.
        var waits: Int { state.withLockedValue { $0.waits } }
        var log: [String] { state.withLockedValue { $0.log } }
        func waited() { state.withLockedValue { $0.waits += 1 } }
        func note(_ line: String) { state.withLockedValue { $0.log.append(line) } }

        func happen() {
            var byte: UInt8 = 1
            write(pipe.write, &byte, 1)
        }

        func take() {
            var byte: UInt8 = 0
            read(pipe.read, &byte, 1)
        }
    }

    private let room = "busy"

    /// Many sessions on one loop talk until it gathers, for a second at most each time.
    private func gathering(
        _ urgent: Urgent, isHandled: Bool = true, _ body: (FakeService, [TestWebSocket]) async throws -> Void
    ) async throws {
        let service = FakeService()
        service.attend(
            FakeService.Attention(
                descriptors: {
                    urgent.waited()
                    return [urgent.pipe.read]
                },
                read: {
                    urgent.take()
                    urgent.note("urgent")
                    return isHandled
                },
                performed: { body in
                    if case .send(let send) = body, send.text == "late" { urgent.note("late") }
                }))
        try await withGateway(service: service, loops: 1) {
            $0.gatherTime = .seconds(1)
        } _: { port, service, _ in
            var clients: [TestWebSocket] = []
            for number in 0..<32 {
                clients.append(try await TestWebSocket.connect(port: port, "user=u\(number)&room=\(room)"))
            }
            let name = try RoomName(room)
            try await until("all are in the room") { service.members(of: name) == 32 }
            try await until("the loop gathers") {
                for client in clients { try? await client.send(#"{"type":"signal","room":"\#(room)","name":"x"}"#) }
                return urgent.waits > 0
            }
            try await body(service, clients)
        }
    }

    @Test func whatIsUrgentIsDoneBeforeWhatASessionSaidMeanwhile() async throws {
        let urgent = try Urgent()
        try await gathering(urgent) { _, clients in
            try await clients[0].send(#"{"type":"send","ref":1,"room":"\#(room)","text":"late"}"#)
            let waits = urgent.waits
            urgent.happen()
            try await until("it waits on") { urgent.waits > waits }
            try await until("the session is heard") { urgent.log.contains("late") }
            #expect(urgent.log == ["urgent", "late"])
        }
    }

    @Test func theLoopLooksForItselfAtWhatTheServiceCannotRead() async throws {
        let urgent = try Urgent()
        try await gathering(urgent, isHandled: false) { _, clients in
            try await clients[0].send(#"{"type":"send","ref":1,"room":"\#(room)","text":"late"}"#)
            urgent.happen()
            try await until("the session is heard") { urgent.log.contains("late") }
            #expect(urgent.log == ["urgent", "late"])
        }
    }
}
