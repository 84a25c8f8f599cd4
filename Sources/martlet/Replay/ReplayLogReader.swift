import ChatCore
import MartletClient

/// Reads the whole log of rooms through a node, page by page.
struct ReplayLogReader {
    private let client: MartletClient

    /// Throws ``ClientError/badArgument(_:)``.
    init(urls: [String]) throws(ClientError) {
        var options = ClientOptions()
        options.requestTimeout = .seconds(60)
        client = try MartletClient(
            urls: urls, identity: ClientIdentity(user: "replay", device: "reader"), options: options)
        let client = client
        Task { try? await client.connect() }
    }

    /// The position of the room's newest message; nil if it has none.
    func newest(_ room: RoomName) async throws(ClientError) -> Position? {
        try await client.history(room, HistoryQuery(anchor: .newest, limit: 1)).newest
    }

    /// The messages of the log with seqs above `start` and up to `end`, oldest first. Fewer if the log was trimmed.
    func log(_ room: RoomName, after start: UInt64, upTo end: UInt64) async throws(ClientError) -> [Message] {
        var messages: [Message] = []
        var before: Position?
        while true {
            let anchor = before.map { HistoryQuery.Anchor.before($0) } ?? .newest
            let page = try await client.history(room, HistoryQuery(anchor: anchor, limit: 100))
            messages.append(contentsOf: page.messages.reversed())
            guard let oldest = page.messages.first, page.hasOlder, oldest.position.seq > start + 1 else { break }
            before = oldest.position
        }
        return messages.reversed().filter { $0.position.seq > start && $0.position.seq <= end }
    }

    func close() async {
        await client.close()
    }
}
