import Foundation
import MartletClient
import NIOConcurrencyHelpers
import TestSupport

/// A client that records everything that it is shown, exactly as it came (repeats, wrong order and holes included).
final class Watcher: Sendable {
    let client: MartletClient
    let user: String
    private let seen = NIOLockedValueBox<[RoomName: Seen]>([:])
    private let reader = NIOLockedValueBox<Task<Void, Never>?>(nil)

    struct Seen: Sendable {
        var messages: [Message] = []
        var gaps: [Gap] = []
        var resets: [Reset] = []
        var joined: [UserID: Int] = [:]
        var left: [UserID: Int] = [:]
        var signals: [String] = []
        var position: Position?
    }

    private init(_ client: MartletClient, user: String) {
        self.client = client
        self.user = user
    }

    /// Connects to one of the nodes.
    static func connect(_ user: String, _ nodes: TestNode..., device: String? = nil) async throws -> Watcher {
        var options = ClientOptions()
        options.showsAll = true
        options.backoffBase = .milliseconds(50)
        options.backoffCap = .milliseconds(500)
        let client = try MartletClient(
            urls: nodes.map(\.url), identity: ClientIdentity(user: user, device: device), options: options)
        let watcher = Watcher(client, user: user)
        watcher.reader.withLockedValue { reader in
            reader = Task { for await event in client.events { watcher.note(event) } }
        }
        try await client.connect()
        return watcher
    }

    private func note(_ event: ClientEvent) {
        seen.withLockedValue { seen in
            switch event {
            case .message(let room, let message): seen[room, default: Seen()].messages.append(message)
            case .gap(let room, let gap): seen[room, default: Seen()].gaps.append(gap)
            case .reset(let room, let reset): seen[room, default: Seen()].resets.append(reset)
            case .joined(let joined): seen[joined.room, default: Seen()].position = joined.position
            case .presence(let room, let joined, let left, _):
                for user in joined { seen[room, default: Seen()].joined[user, default: 0] += 1 }
                for user in left { seen[room, default: Seen()].left[user, default: 0] += 1 }
            case .signal(let room, let user, let name, _): seen[room, default: Seen()].signals.append("\(user) \(name)")
            case .connected, .disconnected, .left, .changed, .receipts, .participants, .head, .notice, .draining,
                .fault:
                break
            }
        }
    }

    func seen(_ room: RoomName) -> Seen { seen.withLockedValue { $0[room] ?? Seen() } }
    func positions(_ room: RoomName) -> [Position] { seen(room).messages.map(\.position) }
    func texts(_ room: RoomName) -> [String] { seen(room).messages.map { $0.content.text ?? "" } }

    /// Waits until it has been shown so many messages.
    func wait(for count: Int, in room: RoomName) async throws {
        try await eventually("\(user) is shown \(count) messages, has \(positions(room).count)") {
            positions(room).count >= count
        }
    }

    func close() async {
        await client.close()
        reader.withLockedValue { $0 }?.cancel()
    }
}

extension [Position] {
    /// Whether every seq is the one before it + 1, and no epoch goes back.
    var areContiguous: Bool {
        zip(self, dropFirst()).allSatisfy { $0.seq + 1 == $1.seq && $0.epoch <= $1.epoch }
    }
}

/// A Redis and some nodes on it, which end together.
struct Cluster {
    let redis: PrivateRedis
    var nodes: [TestNode]

    static func start(_ count: Int, _ environment: [String: String] = [:]) async throws -> Cluster {
        let redis = try await PrivateRedis.start()
        var cluster = Cluster(redis: redis, nodes: [])
        for index in 1...count {
            cluster.nodes.append(try await TestNode.start("node\(index)", redis: redis.url, environment))
        }
        return cluster
    }

    /// The lines that redis-cli prints.
    func redis(_ arguments: String...) throws -> [String] {
        try redis.cli(arguments).split(whereSeparator: \.isNewline).map(String.init)
    }

    func end() {
        for node in nodes { node.signal(SIGKILL) }
        redis.stop()
    }
}
