import CHiredis
import CSQLite
import Foundation

struct Problem: Error {
    var text: String
}

struct Event: Decodable {
    struct Content: Decodable {
        var text: String?
    }

    var id: String
    var data: Content
}

/// The effects in a database. The ID is stored together with the effect, so an event that comes twice has one effect.
final class Effects {
    private var database: OpaquePointer?
    private var insert: OpaquePointer?

    init(path: String) throws(Problem) {
        try check(sqlite3_open(path, &database), SQLITE_OK)
        try check(sqlite3_busy_timeout(database, 30_000), SQLITE_OK)
        let table = "CREATE TABLE IF NOT EXISTS effects(id TEXT PRIMARY KEY, text TEXT)"
        try check(sqlite3_exec(database, table, nil, nil, nil), SQLITE_OK)
        try check(
            sqlite3_prepare_v2(database, "INSERT OR IGNORE INTO effects VALUES(?, ?)", -1, &insert, nil), SQLITE_OK)
    }

    func have(_ event: Event) throws(Problem) {
        let result = event.id.withCString { id in
            (event.data.text ?? "").withCString { text in
                sqlite3_bind_text(insert, 1, id, -1, nil)
                sqlite3_bind_text(insert, 2, text, -1, nil)
                defer { sqlite3_reset(insert) }
                return sqlite3_step(insert)
            }
        }
        try check(result, SQLITE_DONE)
    }

    private func check(_ result: Int32, _ wanted: Int32) throws(Problem) {
        guard result == wanted else { throw Problem(text: String(cString: sqlite3_errmsg(database))) }
    }
}

enum Reply {
    case text(String)
    case list([Reply])
    case nothing
    case error(String)

    init(_ reply: redisReply) {
        switch reply.type {
        case REDIS_REPLY_STRING, REDIS_REPLY_STATUS: self = .text(String(cString: reply.str))
        case REDIS_REPLY_ARRAY:
            self = .list((0..<Int(reply.elements)).map { reply.element[$0].map { Reply($0.pointee) } ?? .nothing })
        case REDIS_REPLY_ERROR: self = .error(String(cString: reply.str))
        default: self = .nothing
        }
    }

    var list: [Reply] { if case .list(let list) = self { list } else { [] } }
    var text: String { if case .text(let text) = self { text } else { "" } }
}

final class Redis {
    private let connection: UnsafeMutablePointer<redisContext>

    init(port: Int32) throws(Problem) {
        guard let made = redisConnect("127.0.0.1", port), made.pointee.err == 0 else {
            throw Problem(text: "Redis cannot be reached")
        }
        connection = made
    }

    func ask(_ words: String...) throws(Problem) -> Reply {
        var copies = words.map { UnsafePointer(strdup($0)) }
        defer { for copy in copies { free(UnsafeMutableRawPointer(mutating: copy)) } }
        guard let reply = redisCommandArgv(connection, Int32(copies.count), &copies, nil) else {
            throw Problem(text: "Redis does not answer")
        }
        defer { freeReplyObject(reply) }
        return Reply(reply.assumingMemoryBound(to: redisReply.self).pointee)
    }
}

/// A worker of the group `swift`, until it is killed.
struct Worker {
    let name: String
    let effects: Effects
    let redis: Redis
    private let streams = (0..<16).map { "martlet:events:{\($0)}:log" }

    init(name: String, effects: Effects, redis: Redis) {
        self.name = name
        self.effects = effects
        self.redis = redis
    }

    func run() throws {
        // The reply is an error if the group is there.
        for stream in streams { _ = try redis.ask("XGROUP", "CREATE", stream, "swift", "0", "MKSTREAM") }
        while true {
            for stream in streams {
                // What a worker that died has had in hand for ten seconds, and what is new.
                let pending = try redis.ask("XAUTOCLAIM", stream, "swift", name, "10000", "0").list
                if pending.count > 1 { try work(stream, pending[1].list) }
                let new = try redis.ask("XREADGROUP", "GROUP", "swift", name, "COUNT", "100", "STREAMS", stream, ">")
                if case .error(let text) = new { throw Problem(text: text) }
                for read in new.list where read.list.count == 2 { try work(stream, read.list[1].list) }
            }
            usleep(100_000)
        }
    }

    private func work(_ stream: String, _ entries: [Reply]) throws {
        for entry in entries where entry.list.count == 2 {
            let fields = entry.list[1].list.map(\.text)
            guard let place = fields.firstIndex(of: "event"), place + 1 < fields.count else { continue }
            try effects.have(try JSONDecoder().decode(Event.self, from: Data(fields[place + 1].utf8)))
            _ = try redis.ask("XACK", stream, "swift", entry.list[0].text)
        }
    }
}

guard CommandLine.arguments.count == 3,
    let port = ProcessInfo.processInfo.environment["REDIS_PORT"].flatMap({ Int32($0) })
else { throw Problem(text: "usage: REDIS_PORT=PORT tutorial-worker NAME DATABASE") }
let effects = try Effects(path: CommandLine.arguments[2])
try Worker(name: CommandLine.arguments[1], effects: effects, redis: try Redis(port: port)).run()
