import ArgumentParser
import ChatCore
import ChatJSON
import ChatRedis
import RedisSchema

/// `martlet room` on who belongs to a room.
extension Room {
    struct Members: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set who may be in the room and send: everybody, or participants.")
        @OptionGroup var change: Change
        @Argument(help: "everybody or participants.")
        var value: String
        func run() async throws { try await change.make(ModerationOrder("members", value: value)) }
    }

    /// A change, as an operation of `martlet_participants`. The indexes of users are written after it.
    struct Belonging: ParsableArguments {
        @OptionGroup var place: Place

        @Option(help: "The most participants.")
        var limit = Limits().participants

        func make(_ operation: String, _ words: [String]) async throws {
            let room = try place.name()
            let reply = try await place.ask { keys in
                [
                    "FCALL", "martlet_participants", "1", keys.key(.log, of: room.text), operation, "", "any",
                    String(limit), "",
                ] + words
            }
            let parts = reply.array ?? []
            guard parts.count == 5 else {
                StandardError.write("room: redis sent an answer that could not be understood\n")
                throw ExitCode(1)
            }
            Terminal.write(parts[1].string == "changed" ? "changed\n" : "as it was\n")
            let written = try await ParticipantsText(room, parts[2].string, pending: parts[4]).settle(place)
            if written > 0 { Terminal.write("\(written) indexes of users written\n") }
        }
    }

    struct Invite: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make users participants of a group.")
        @OptionGroup var belonging: Belonging
        @Argument(help: "The users.")
        var users: [String]
        func run() async throws { try await belonging.make("invite", users) }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a user out of a group. Its last owner hands over to the oldest moderator or member.")
        @OptionGroup var belonging: Belonging
        @Argument(help: "The user.")
        var user: String
        func run() async throws { try await belonging.make("remove", [user]) }
    }

    struct Role: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Give a participant a role.")
        @OptionGroup var belonging: Belonging
        @Argument(help: "The user.")
        var user: String
        @Argument(help: "member, moderator or owner.")
        var role: String
        func run() async throws { try await belonging.make("role", [user, role]) }
    }

    struct Participants: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show who belongs to a room, with roles and read positions.",
            discussion: "Whoever changes the participants of a room writes the indexes of the users afterwards. What "
                + "became of that is shown too; --repair writes them all again.")

        @OptionGroup var place: Place

        @Flag(help: "As one JSON object.")
        var json = false

        @Flag(help: "Write the index of each participant again.")
        var repair = false

        func run() async throws {
            let room = try place.name()
            let reply = try await place.ask { keys in
                ["FCALL_RO", "martlet_conversation", "1", keys.key(.log, of: room.text)]
            }
            let text = ParticipantsText(room, reply)
            Terminal.write(json ? text.object.text + "\n" : text.lines.joined(separator: "\n") + "\n")
            guard repair else { return }
            let written = try await text.settle(place, all: true)
            StandardError.write("\(written) indexes of users written\n")
        }
    }
}

/// What `martlet_conversation` answers, for people and for programs.
struct ParticipantsText {
    private struct Entry {
        var user: String
        var fields: [String: String]
        var read: String?
    }

    /// An index that has to be written: its version, and since when the user belongs to the room; empty: not any more.
    private struct Pending {
        var user: String
        var version: String
        var since: String
    }

    private let room: RoomName
    private let kind: String?
    private var version = "0"
    private var participants: [Entry] = []
    private var pending: [Pending] = []

    init(_ room: RoomName, _ kind: String?, pending reply: RedisValue) {
        self.room = room
        self.kind = kind
        let flat = reply.array ?? []
        for place in stride(from: 0, to: flat.count - 2, by: 3) {
            guard let user = flat[place].string, let version = flat[place + 1].string else { continue }
            pending.append(Pending(user: user, version: version, since: flat[place + 2].string ?? ""))
        }
    }

    init(_ room: RoomName, _ reply: RedisValue) {
        let parts = reply.array ?? []
        guard parts.count == 5 else {
            self.init(room, nil, pending: .null)
            return
        }
        self.init(room, parts[1].string, pending: parts[4])
        version = parts[0].string ?? "0"
        let reads = parts[3].pairs
        for (user, value) in parts[2].pairs.sorted(by: { $0.key < $1.key }) {
            let json = value.string.flatMap { try? JSONValue(parsing: $0) }
            var fields: [String: String] = [:]
            for name in ["role", "since", "notify", "blocks"] { fields[name] = json?[name]?.string }
            participants.append(Entry(user: user, fields: fields, read: reads[user]?.string))
        }
    }

    var lines: [String] {
        guard let kind else { return ["nobody belongs to the room"] }
        let first = "\(kind), \(participants.count) participants, version \(version)"
        let all = participants.map { entry in
            let since = entry.fields["since"].flatMap { UInt64($0) }.map { ", since \(Timestamp.text($0))" } ?? ""
            let read = entry.read.map { ", has read to \($0)" } ?? ""
            let blocks = entry.fields["blocks"] == "1" ? ", blocks the other one" : ""
            return "\(entry.fields["role"] ?? "member") \(entry.user)\(since)\(read)\(blocks)"
        }
        let waiting = pending.map { "the index of \($0.user) is not known to be written" }
        return ([first] + all + waiting).map { TerminalText.harmless($0) }
    }

    var object: JSONValue {
        .object([
            "room": .string(room.text), "kind": kind.map { .string($0) } ?? .null, "version": .string(version),
            "participants": .array(
                participants.map { entry in
                    var fields = entry.fields.mapValues { JSONValue.string($0) }
                    fields["user"] = .string(entry.user)
                    fields["read"] = entry.read.map { .string($0) }
                    return .object(fields)
                }),
            "pending": .array(pending.map { .string($0.user) }),
        ])
    }

    /// Writes the pending indexes, or with `all` those of all participants. Returns how many were written.
    func settle(_ place: Room.Place, all: Bool = false) async throws -> Int {
        guard let kind else { return 0 }
        var wanted = pending
        if all {
            for entry in participants where !pending.contains(where: { $0.user == entry.user }) {
                wanted.append(Pending(user: entry.user, version: version, since: entry.fields["since"] ?? "0"))
            }
        }
        for one in wanted {
            guard let user = try? UserID(stored: one.user) else { continue }
            let tag = Entity.user(user).keyTag ?? ""
            let partner = kind == "direct" ? partner(of: user) : nil
            let answer = try await place.ask { keys in
                [
                    "FCALL", "martlet_user", "1", keys.rooms(ofUser: tag), "index", room.text, one.version, kind,
                    one.since,
                ] + (partner.map { [$0] } ?? [])
            }
            // Whom the user blocks is in the user's own list, and the room has to agree with it.
            if partner != nil, let blocks = answer.array?.last?.integer,
                participants.contains(where: { $0.user == one.user })
            {
                _ = try await place.ask { keys in
                    [
                        "FCALL", "martlet_participants", "1", keys.key(.log, of: room.text),
                        blocks == 1 ? "block" : "unblock", one.user, "", "", "",
                    ]
                }
            }
            _ = try await place.ask { keys in
                [
                    "FCALL", "martlet_participants", "1", keys.key(.log, of: room.text), "indexed", "", "", "", "",
                    one.user, one.version,
                ]
            }
        }
        return wanted.count
    }

    private func partner(of user: UserID) -> String? {
        room.directPartner(of: user)?.text ?? participants.first { $0.user != user.text }?.user
    }
}
