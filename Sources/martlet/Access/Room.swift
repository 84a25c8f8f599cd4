import ArgumentParser
import ChatCore
import ChatGateway
import ChatJSON
import ChatNode
import ChatRedis
import RedisSchema

/// `martlet room`: shows and changes the rules and sanctions of a room. It talks to Redis and needs no node.
struct Room: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Moderate a room: sanctions of users, slow mode, who may send messages; and who belongs to it.",
        discussion: "Once a change is answered, no node stores what it forbids.",
        subcommands: [
            Show.self, Ban.self, Kick.self, Mute.self, Unban.self, Unmute.self, Slow.self, Unique.self,
            PostingMode.self,
            Freeze.self, Thaw.self, Members.self, Participants.self, Invite.self, Remove.self, Role.self, Close.self,
            Open.self,
        ])

    /// The room, and how to reach Redis.
    struct Place: ParsableArguments {
        @Argument(help: "The room.")
        var room: String

        @OptionGroup var redis: RedisPlace

        func name() throws -> RoomName {
            do throws(NameError) {
                return try RoomName(room)
            } catch {
                throw ValidationError("\(room.debugDescription): \(error)")
            }
        }

        /// The reply to `command(keys)`. Exits with code 2 and the reason if Redis cannot be asked, and with 1 if it
        /// refuses.
        func ask(_ command: (RedisKeys) -> [String]) async throws -> RedisValue {
            try await askEach { [command($0)] }.first ?? .null
        }

        /// The replies to several commands, over one connection.
        func askEach(_ commands: (RedisKeys) -> [[String]]) async throws -> [RedisValue] {
            try await redis.askEach("room", remedy: "; a node of this version loads the functions", commands)
        }
    }

    /// A change, as an operation of `martlet_moderate`.
    struct Change: ParsableArguments {
        @OptionGroup var place: Place

        @Option(help: "Who orders it, for the audit.")
        var by = "martlet command line"

        func make(_ order: ModerationOrder) async throws {
            let room = try place.name()
            do throws(WireError) {
                _ = try order.moderation()
            } catch {
                throw ValidationError(error.message)
            }
            let value = order.value ?? order.time.map { String($0) } ?? ""
            let reply = try await place.ask { keys in
                [
                    "FCALL", "martlet_moderate", "1", keys.key(.log, of: room.text), order.operation, order.user ?? "",
                    value, order.reason ?? "", by,
                ]
            }
            let parts = reply.array ?? []
            let version = parts.first?.integer.map { String($0) } ?? parts.first?.string ?? ""
            Terminal.write(parts.last?.string == "changed" ? "changed, version \(version)\n" : "as it was\n")
        }
    }

    /// Milliseconds; nil for no text.
    static func milliseconds(_ text: String?, _ name: String) throws -> UInt64? {
        guard let text else { return nil }
        if text == "0" { return 0 }
        return try DurationArgument.milliseconds(text, of: name, example: "10m")
    }

    /// A sanction that lasts for some time.
    struct Sanctioned: ParsableArguments {
        @OptionGroup var change: Change

        @Argument(help: "The user.")
        var user: String

        @Option(name: .customLong("for"), help: "How long, as in 10m, 1h or 30d. Without it: for ever, a kick for 1m.")
        var time: String?

        @Option(help: "Why, for everybody in the room to see.")
        var reason: String?

        func impose(_ operation: ModerationOrder.Operation) async throws {
            try await change.make(
                ModerationOrder(
                    operation.rawValue, user: user, time: try Room.milliseconds(time, "--for"), reason: reason))
        }
    }

    /// A sanction that ends.
    struct Lifted: ParsableArguments {
        @OptionGroup var change: Change

        @Argument(help: "The user.")
        var user: String

        func lift(_ operation: ModerationOrder.Operation) async throws {
            try await change.make(ModerationOrder(operation.rawValue, user: user))
        }
    }

    struct Ban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ban a user: out of the room, and neither reading nor writing it.")
        @OptionGroup var sanction: Sanctioned
        func run() async throws { try await sanction.impose(.ban) }
    }

    struct Kick: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a user out of the room, for a minute or for --for. A longer ban stays.")
        @OptionGroup var sanction: Sanctioned
        func run() async throws { try await sanction.impose(.kick) }
    }

    struct Mute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let a user read, but not write.")
        @OptionGroup var sanction: Sanctioned
        func run() async throws { try await sanction.impose(.mute) }
    }

    struct Unban: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lift the ban of a user.")
        @OptionGroup var sanction: Lifted
        func run() async throws { try await sanction.lift(.unban) }
    }

    struct Unmute: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lift the mute of a user.")
        @OptionGroup var sanction: Lifted
        func run() async throws { try await sanction.lift(.unmute) }
    }

    struct Slow: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Set the time between two messages of a user.")
        @OptionGroup var change: Change
        @Argument(help: "The time, as in 5s; 0 for none.")
        var time: String
        func run() async throws {
            try await change.make(ModerationOrder("slow", time: try Room.milliseconds(time, "the time")))
        }
    }

    struct Unique: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set the time in which a user may not repeat a message.")
        @OptionGroup var change: Change
        @Argument(help: "The time, as in 1m; 0 for none.")
        var time: String
        func run() async throws {
            try await change.make(ModerationOrder("unique", time: try Room.milliseconds(time, "the time")))
        }
    }

    struct PostingMode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "posting", abstract: "Set who may send messages: everybody (open), or moderators.")
        @OptionGroup var change: Change
        @Argument(help: "open or moderators.")
        var mode: String
        func run() async throws { try await change.make(ModerationOrder("posting", value: mode)) }
    }

    struct Freeze: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let only moderators send messages, for now.")
        @OptionGroup var change: Change
        func run() async throws { try await change.make(ModerationOrder("freeze")) }
    }

    struct Thaw: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End a freeze.")
        @OptionGroup var change: Change
        func run() async throws { try await change.make(ModerationOrder("thaw")) }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "moderation", abstract: "Show the rules of a room and the sanctions in force.")

        @OptionGroup var place: Place

        @Flag(help: "As one JSON object.")
        var json = false

        func run() async throws {
            let room = try place.name()
            let reply = try await place.ask { keys in
                [
                    "FCALL_RO", "martlet_rules", "3", keys.key(.log, of: room.text), keys.key(.rules, of: room.text),
                    keys.key(.sanctions, of: room.text), "",
                ]
            }
            let state = RoomRulesText(reply, now: WallClock.milliseconds)
            Terminal.write(
                json ? state.object(room: room.text).text + "\n" : state.lines.joined(separator: "\n") + "\n")
        }
    }
}

/// What `martlet_rules` answers, for people and for programs.
struct RoomRulesText {
    private struct Entry {
        var kind: String
        var user: String
        var fields: [String: String]
    }

    private let version: String
    private let rules: [String: String]
    /// Those in force, by kind and user.
    private let sanctions: [Entry]

    init(_ reply: RedisValue, now: UInt64) {
        let parts = reply.array ?? []
        version = parts.first?.integer.map { String($0) } ?? parts.first?.string ?? "0"
        rules = parts.count > 1 ? parts[1].pairs.compactMapValues(\.string) : [:]
        let all = parts.count > 2 ? parts[2].pairs.compactMapValues(\.string) : [:]
        sanctions = all.compactMap { field, text in
            guard let colon = field.firstIndex(of: ":"), let json = try? JSONValue(parsing: text),
                let until = json["until"]?.string, until == "forever" || (UInt64(until).map { $0 > now } ?? false)
            else { return nil }
            var fields: [String: String] = [:]
            for name in ["until", "at", "by", "reason"] { fields[name] = json[name]?.string }
            return Entry(
                kind: String(field[..<colon]), user: String(field[field.index(after: colon)...]), fields: fields)
        }.sorted { ($0.kind, $0.user) < ($1.kind, $1.user) }
    }

    var lines: [String] {
        guard version != "0" else { return ["never moderated"] }
        var words: [String] = []
        if rules["frozen"] == "1" { words.append("frozen") }
        if rules["posting"] == "moderators" { words.append("only moderators may send messages") }
        if let time = number("slow") { words.append("slow mode \(time) ms") }
        if let time = number("unique") { words.append("no message twice in \(time) ms") }
        if rules["members"] == "participants" { words.append("only participants may enter") }
        if rules["members"] == "nobody" { words.append("closed") }
        let first = words.isEmpty ? "no rules" : words.joined(separator: ", ")
        return [TerminalText.harmless("\(first), version \(version)")]
            + sanctions.map { entry in
                let until = Self.time(entry.fields["until"]).map { "until \($0)" } ?? "for ever"
                let by = entry.fields["by"].flatMap { $0.isEmpty ? nil : ", by \($0)" } ?? ""
                let reason = entry.fields["reason"].flatMap { $0.isEmpty ? nil : ": \($0)" } ?? ""
                return TerminalText.harmless("\(entry.kind) \(entry.user) \(until)\(by)\(reason)")
            }
    }

    /// The same fields as over HTTP.
    func object(room: String) -> JSONValue {
        .object([
            "room": .string(room), "version": .string(version),
            "rules": .object(
                [
                    "slowMode": .number("\(number("slow") ?? 0)"), "uniqueFor": .number("\(number("unique") ?? 0)"),
                    "posting": .string(rules["posting"] == "moderators" ? "moderators" : "open"),
                    "frozen": .bool(rules["frozen"] == "1"),
                ].merging(shutOut.map { ["members": .string($0)] } ?? [:]) { $1 }),
            "sanctions": .array(
                sanctions.map { entry in
                    var fields: [String: JSONValue] = ["kind": .string(entry.kind), "user": .string(entry.user)]
                    for name in ["until", "at"] {
                        if let time = Self.time(entry.fields[name]) { fields[name] = .string(time) }
                    }
                    for name in ["by", "reason"] { fields[name] = .string(entry.fields[name] ?? "") }
                    return .object(fields)
                }),
        ])
    }

    /// Who may be in the room, if not everybody may.
    private var shutOut: String? { rules["members"].flatMap { ["participants", "nobody"].contains($0) ? $0 : nil } }

    private func number(_ name: String) -> UInt64? { rules[name].flatMap { UInt64($0) }.flatMap { $0 == 0 ? nil : $0 } }

    private static func time(_ text: String?) -> String? { text.flatMap { UInt64($0) }.map { Timestamp.text($0) } }
}
