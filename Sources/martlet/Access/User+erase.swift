import ArgumentParser
import ChatCore
import ChatRedis
import RedisSchema

extension User {
    struct Erase: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a user out of all conversations, and delete what belongs to the user.",
            discussion: """
                Memberships, read positions, the index of rooms, blocks and stars, and what the user has said in \
                conversations; in a Cluster on all masters. Whoever was interrupted runs it again: it goes on with what \
                is left. Revoke the user's tokens first.
                """)

        @Argument(help: "The user.")
        var user: String

        @Flag(help: "Also what the user has said in all other rooms: that reads every log.")
        var everywhere = false

        @OptionGroup var place: RedisPlace

        func run() async throws {
            let name: UserID
            do throws(NameError) {
                name = try UserID(stored: user)
            } catch {
                throw ValidationError("\(user.debugDescription): \(error)")
            }
            let (target, keys) = try await place.resolved("user")
            do throws(RedisSetupError) {
                let redis = try await RedisServers.connect(target, name: "user")
                var erasure = UserErasure(name, keys, redis, everywhere: everywhere)
                try await erasure.run()
                await redis.close()
            } catch {
                StandardError.write("user: \(error); run it again to go on\n")
                throw ExitCode(2)
            }
        }
    }
}

/// The erasure of one user, as far as Redis has something of the user.
private struct UserErasure {
    let user: UserID
    let keys: RedisKeys
    let redis: RedisServers
    /// Whether all logs are read, or those of conversations alone.
    let everywhere: Bool
    private var rooms = 0
    private var messages = 0
    /// Whether the library can erase messages; a library of an earlier version cannot.
    private var canErase = true

    init(_ user: UserID, _ keys: RedisKeys, _ redis: RedisServers, everywhere: Bool) {
        self.everywhere = everywhere
        self.user = user
        self.keys = keys
        self.redis = redis
    }

    private var tag: String { Entity.user(user).keyTag ?? "" }

    mutating func run() async throws(RedisSetupError) {
        // What the index names comes first; then what it lacks; the user's own keys last, so that the next run finds
        // what this one could not do.
        try await leaveIndexed()
        try await leaveScanned()
        _ = try await redis.ask([
            [
                "DEL", keys.rooms(ofUser: tag), keys.blocked(byUser: tag), keys.stars(ofUser: tag),
                keys.starred(byUser: tag),
            ]
        ])
        Terminal.write("taken out of \(rooms) rooms, \(messages) messages erased\n")
        if !canErase { Terminal.write("messages stay: the function library has no martlet_amend\n") }
    }

    private mutating func leaveIndexed() async throws(RedisSetupError) {
        var cursor = "0"
        repeat {
            let reply = try await redis.ask("HSCAN", keys.rooms(ofUser: tag), cursor, "COUNT", "100")
            guard let parts = reply.array, parts.count == 2 else { return }
            cursor = parts[0].string ?? "0"
            for room in parts[1].pairs.keys.sorted() { try await leave(room) }
        } while cursor != "0"
    }

    /// Every room of every master that knows the user as a participant, or has a read position of the user.
    private mutating func leaveScanned() async throws(RedisSetupError) {
        var scanned = 0
        for server in await redis.all {
            let inspector = try server.inspector.get()
            var cursor = "0"
            repeat {
                let reply = try await inspector.ask(
                    "SCAN", cursor, "MATCH", DoctorQueries(keys: keys).pattern, "COUNT", "1000")
                guard let parts = reply.array, parts.count == 2 else { break }
                cursor = parts[0].string ?? "0"
                let names = (parts[1].array ?? []).compactMap(\.string)
                scanned += names.count
                for name in names {
                    guard let (room, key) = keys.room(ofKey: name) else { continue }
                    if everywhere, key == .log { try await eraseMessages(in: room) }
                    guard key == .participants || key == .reads else { continue }
                    if try await inspector.ask("HEXISTS", name, user.text).integer == 1 {
                        try await leave(room)
                        if key == .reads { _ = try await redis.ask("HDEL", name, user.text) }
                    }
                }
                if scanned % 10_000 < names.count { StandardError.write("\(scanned) keys read, \(rooms) rooms left\n") }
            } while cursor != "0"
        }
    }

    /// Erases what the user has said in the room, piece by piece.
    private mutating func eraseMessages(in room: String) async throws(RedisSetupError) {
        var from = ""
        while canErase {
            let reply = try await redis.ask(
                "FCALL", "martlet_amend", "1", keys.key(.log, of: room), "delete-user", "martlet command line", from,
                user.text, "", "", "", "", "any")
            if let error = reply.error {
                // More of the log has to be read first: the same call reads on.
                if error.hasPrefix("AGAIN") { continue }
                if error.hasPrefix("ERR Function not found") { canErase = false }
                if canErase { StandardError.write("\(TerminalText.harmless("\(room): \(error)"))\n") }
                return
            }
            guard let parts = reply.array, parts.count >= 4 else { return }
            messages += parts[2].integer ?? parts[2].string.flatMap { Int($0) } ?? 0
            guard let next = parts[3].string, !next.isEmpty, next != from else { return }
            from = next
        }
    }

    /// Erases what the user has said in the room, takes the user out of it, and the room out of the user's index: in
    /// this order, so that whoever was interrupted finds the room again.
    private mutating func leave(_ room: String) async throws(RedisSetupError) {
        let log = keys.key(.log, of: room)
        try await eraseMessages(in: room)
        let reply = try await redis.ask("FCALL", "martlet_participants", "1", log, "leave", user.text)
        guard let parts = reply.array, parts.count == 5, let version = parts[0].string else {
            StandardError.write("\(TerminalText.harmless("\(room): \(reply.error ?? "no answer")"))\n")
            return
        }
        if parts[1].string == "changed" { rooms += 1 }
        _ = try await redis.ask([
            ["HDEL", keys.rooms(ofUser: tag), room],
            ["FCALL", "martlet_participants", "1", log, "indexed", "", "", "", "", user.text, version],
        ])
    }
}
