import ChatAccess
import ChatCore
import ChatGateway
import ChatJSON
import ChatNode
import ChatWire
import Logging
import TestSupport

/// A whole node with its rooms in memory, in this process.
func withMemoryNode(
    _ environment: [String: String] = [:], protocols: (@Sendable (Limits) -> ProtocolRegistry)? = nil,
    _ body: (_ port: Int) async throws -> Void
) async throws {
    try await withMemoryNode(environment, protocols: protocols) { port, _ in try await body(port) }
}

/// The same, with the ports of protocols by their names.
func withMemoryNode(
    _ environment: [String: String] = [:], protocols: (@Sendable (Limits) -> ProtocolRegistry)? = nil,
    _ body: (_ port: Int, _ ports: [String: Int]) async throws -> Void
) async throws {
    let configuration = try NodeConfiguration.load(
        environment: [
            "MARTLET_REDIS_URL": "memory:", "MARTLET_PORT": "0", "MARTLET_EVENT_LOOPS": "2",
            "MARTLET_DRAIN_TIME": "500ms",
        ].merging(environment) { $1 })
    let (numbers, continuation) = AsyncStream.makeStream(of: Int.self)
    let (ports, portsContinuation) = AsyncStream.makeStream(of: [String: Int].self)
    let node = Node(
        configuration: configuration, metrics: NodeMetrics(version: "1", node: "n"),
        logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
        protocols: protocols, onListeningToPorts: { portsContinuation.yield($0) },
        onListening: { continuation.yield($0) })
    let running = Task { try await node.run() }
    var iterator = numbers.makeAsyncIterator()
    var portsIterator = ports.makeAsyncIterator()
    guard let named = await portsIterator.next(), let port = await iterator.next() else {
        throw TestFailure("the node does not listen")
    }
    do {
        try await body(port, named)
    } catch {
        running.cancel()
        _ = try? await running.value
        throw error
    }
    running.cancel()
    try await running.value
}

/// Tokens for tests, signed with one secret.
enum TestTokens {
    static let secret = "a secret of tests, which is long enough"

    /// A token of that user. `rooms`: patterns, each with the names of rights.
    static func make(
        _ user: String, _ rooms: [String: [String]] = ["**": ["read", "send", "signal"]], id: String? = nil,
        lives seconds: Int = 3_600, secret: String = secret
    ) throws -> String {
        let now = Int(WallClock.milliseconds / 1_000)
        var claims: [String: JSONValue] = [
            "sub": .string(user), "iat": .number("\(now)"), "exp": .number("\(now + seconds)"),
            "martlet": .object([
                "rooms": .object(rooms.mapValues { .array($0.map { .string($0) }) })
            ]),
        ]
        if let id { claims["jti"] = .string(id) }
        return try TokenSigner(secret: Array(secret.utf8)).sign(claims)
    }
}
