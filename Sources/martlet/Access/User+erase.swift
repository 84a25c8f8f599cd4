import ArgumentParser
import ChatArchive
import ChatCore
import ChatGateway
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

        @Option(help: "The archive, as in sqlite:/var/lib/martlet/archive.db (default: MARTLET_ARCHIVE).")
        var archive: String?

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
            let address = try archiveAddress()
            let (target, keys) = try await place.resolved("user")
            var failures: Int
            do throws(RedisSetupError) {
                let redis = try await RedisServers.connect(target, name: "user")
                var erasure = UserErasure(name, keys, redis, everywhere: everywhere)
                try await erasure.run()
                failures = erasure.failures
                await redis.close()
            } catch {
                StandardError.write("user: \(error); run it again to go on\n")
                throw ExitCode(2)
            }
            if let address { failures += eraseArchived(name, address) }
            guard failures > 0 else { return }
            StandardError.write("user: \(failures) steps failed, and something is left; run it again to go on\n")
            throw ExitCode(1)
        }

        private func archiveAddress() throws -> ArchiveAddress? {
            guard let text = archive ?? place.merged["MARTLET_ARCHIVE"] else { return nil }
            guard let address = ArchiveAddress(text) else {
                throw ValidationError("--archive: expected sqlite: and the path of a file, or postgresql://…")
            }
            return address
        }

        /// Everything that the user has said, in all rooms. Returns how many steps failed.
        private func eraseArchived(_ user: UserID, _ address: ArchiveAddress) -> Int {
            do throws(ArchiveFailure) {
                let count = try address.open().erase(user.text, at: WallClock.milliseconds)
                Terminal.write("\(count) archived messages erased\n")
                return 0
            } catch {
                StandardError.write("user: \(error)\n")
                return 1
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
    /// The steps that Redis has refused. What belongs to the user stays then.
    private(set) var failures = 0
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
        if failures == 0 { try await eraseCopies() }
        if failures == 0 {
            let reply = try await redis.ask(
                "DEL", keys.rooms(ofUser: tag), keys.blocked(byUser: tag), keys.stars(ofUser: tag),
                keys.starred(byUser: tag), keys.starrers(ofUser: tag), keys.lastSeen(ofUser: tag))
            if let error = reply.error { failed(user.text, error) }
        }
        Terminal.write("taken out of \(rooms) rooms, \(messages) messages erased\n")
        if !canErase { Terminal.write("messages stay: the function library has no martlet_amend\n") }
    }

    /// Notes a step that failed. `error`: what Redis says about it.
    private mutating func failed(_ what: String, _ error: String?) {
        failures += 1
        StandardError.write("\(TerminalText.harmless("\(what): \(error ?? "no answer")"))\n")
    }

    private mutating func leaveIndexed() async throws(RedisSetupError) {
        var cursor = "0"
        repeat {
            let reply = try await redis.ask("HSCAN", keys.rooms(ofUser: tag), cursor, "COUNT", "100")
            guard let parts = reply.array, parts.count == 2 else { return failed(user.text, reply.error) }
            cursor = parts[0].string ?? "0"
            for room in parts[1].pairs.keys.sorted() { _ = try await leave(room) }
        } while cursor != "0"
    }

    /// The copies that others have starred of what the user has said, also of messages that no log holds any more.
    private mutating func eraseCopies() async throws(RedisSetupError) {
        while failures == 0 {
            let reply = try await redis.ask("ZRANGE", keys.starrers(ofUser: tag), "0", "99")
            guard let members = reply.array?.compactMap(\.string) else { return failed(user.text, reply.error) }
            guard !members.isEmpty else { return }
            for member in members {
                guard let starrer = Starrer(member), let tag = Entity.user(starrer.user).keyTag else { continue }
                let answer = try await redis.ask(
                    "FCALL", "martlet_user", "1", keys.rooms(ofUser: tag), "unstar",
                    "\(starrer.room.text)\n\(starrer.position)")
                if let error = answer.error { failed(starrer.user.text, error) }
            }
            guard failures == 0 else { return }
            for reply in try await redis.ask([["ZREM", keys.starrers(ofUser: tag)] + members]) {
                if let error = reply.error { failed(user.text, error) }
            }
        }
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
                guard let parts = reply.array, parts.count == 2 else {
                    failed(server.name, reply.error)
                    break
                }
                cursor = parts[0].string ?? "0"
                let names = (parts[1].array ?? []).compactMap(\.string)
                scanned += names.count
                for name in names {
                    guard let (room, key) = keys.room(ofKey: name) else { continue }
                    if everywhere, key == .log { _ = try await eraseMessages(in: room) }
                    guard key == .participants || key == .reads else { continue }
                    let reply = try await inspector.ask("HEXISTS", name, user.text)
                    // A key of another type knows nobody.
                    if let error = reply.error, !error.hasPrefix("WRONGTYPE") { failed(name, error) }
                    guard reply.integer == 1, try await leave(room), key == .reads else { continue }
                    let removed = try await redis.ask("HDEL", name, user.text)
                    if let error = removed.error { failed(name, error) }
                }
                if scanned % 10_000 < names.count { StandardError.write("\(scanned) keys read, \(rooms) rooms left\n") }
            } while cursor != "0"
        }
    }

    /// Erases what the user has said in the room, piece by piece. Returns false if something may be left.
    private mutating func eraseMessages(in room: String) async throws(RedisSetupError) -> Bool {
        var from = ""
        while canErase {
            let reply = try await redis.ask(
                "FCALL", "martlet_amend", "1", keys.key(.log, of: room), "delete-user", "martlet command line", from,
                user.text, "", "", "", "", "any")
            if let error = reply.error {
                // More of the log has to be read first: the same call reads on.
                if error.hasPrefix("AGAIN") { continue }
                if error.hasPrefix("ERR Function not found") { canErase = false }
                guard canErase else { break }
                failed(room, error)
                return false
            }
            guard let parts = reply.array, parts.count >= 4 else {
                failed(room, nil)
                return false
            }
            messages += parts[2].integer ?? parts[2].string.flatMap { Int($0) } ?? 0
            guard let next = parts[3].string, !next.isEmpty, next != from else { return true }
            from = next
        }
        return true
    }

    /// Erases what the user has said in the room, takes the user out of it, and the room out of the user's index: in
    /// this order, so that whoever was interrupted, or refused, finds the room again. Returns false if something may be
    /// left.
    private mutating func leave(_ room: String) async throws(RedisSetupError) -> Bool {
        let log = keys.key(.log, of: room)
        guard try await eraseMessages(in: room) else { return false }
        let reply = try await redis.ask("FCALL", "martlet_participants", "1", log, "leave", user.text)
        guard let parts = reply.array, parts.count == 5, let version = parts[0].string else {
            failed(room, reply.error)
            return false
        }
        if parts[1].string == "changed" { rooms += 1 }
        let replies = try await redis.ask([
            ["HDEL", keys.rooms(ofUser: tag), room],
            ["FCALL", "martlet_participants", "1", log, "indexed", "", "", "", "", user.text, version],
        ])
        let errors = replies.compactMap(\.error)
        for error in errors { failed(room, error) }
        return errors.isEmpty
    }
}
