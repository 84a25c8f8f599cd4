import ChatArchive
import ChatCore

extension NodeConfiguration {
    /// What `martlet relay` is told. Nodes ignore it.
    public struct Relay: Sendable, Hashable {
        /// Whether there are event streams (word, default: on).
        public var hasStreams = true
        /// The most entries of one event stream (int, default: 20000, range: 100 to 10000000).
        public var streamLength = 20_000
        /// The rooms whose events are in the streams (list of patterns, default: all).
        public var rooms: [RoomPattern] = []
        /// The types of events in the streams, such as `message.created` or `presence.*` (list, default: none, which
        /// means all but those of presence and reading).
        public var types: [String] = []
        /// For how long a partition belongs to a relay that is not heard of (duration, default: 10s, range: 1s to 10m).
        public var lease: Duration = .seconds(10)
        /// The time between two scans of all rooms (duration, default: 10m, range: 1s to 1d).
        public var scan: Duration = .seconds(600)
        /// Where `/metrics`, `/healthz` and `/readyz` of the relay are (int, default: none, range: 0 to 65535).
        public var port: Int?
        /// The address of that port (string, default: 127.0.0.1).
        public var host = "127.0.0.1"

        /// From which the secrets of webhook endpoints are derived (string, secret, default: none).
        public var webhooksKey: Secret?
        /// Hosts of webhooks that need not be public (list, default: none).
        public var webhookHosts: [String] = []
        /// The time for one delivery (duration, default: 15s, range: 10ms to 5m).
        public var webhookTimeout: Duration = .seconds(15)
        /// The pauses between attempts (list of durations, default: 5s,5m,30m,2h,5h,10h,14h,20h,24h): those of Standard
        /// Webhooks, over three days.
        public var webhookRetries: [Duration] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map {
            .seconds($0)
        }
        /// The most endpoints (int, default: 100, range: 1 to 1000).
        public var webhookEndpoints = 100
        /// The most dead letters of an endpoint in one partition (int, default: 10000, range: 1 to 1000000).
        public var webhookDeadLetters = 10_000
        /// Authorities that are trusted in place of the system's (path, default: none).
        public var webhookAuthorityFile: String?

        public init() {}
    }

    static let relaySettings: [Setting] = [
        Setting(
            "archive", \.archive, ValueRule.archive.orNone(),
            "The archive: `sqlite:` and the path of a file of this machine, or the URL of a PostgreSQL database. "
                + "`martlet relay` writes messages there, and nodes read from it what the logs of rooms no longer hold."
        ),
        Setting(
            "archive.cold", \.archiveCold, ValueRule.duration(.seconds(1)...(.seconds(3_650 * 86_400))).orNone(),
            "`martlet relay`: how long after its last message the content of a room that no node holds leaves Redis, "
                + "once it is archived. The room goes on where it was. `none`: it stays for `MARTLET_ROOM_TTL`."),
        Setting(
            "relay.streams", \.relay.hasStreams, .word([("on", true), ("off", false)]),
            "`martlet relay`: whether it writes events to streams in Redis, for consumer groups."),
        Setting(
            "relay.stream.length", \.relay.streamLength, .int(100...10_000_000),
            "`martlet relay`: entries of one of the 16 event streams at most. What a consumer group has not read is "
                + "lost to it beyond that; it bounds the memory of Redis."),
        Setting(
            "relay.rooms", \.relay.rooms, .roomPatterns,
            "`martlet relay`: the rooms whose events are in the streams, as patterns with commas between them, such as "
                + "`team:*,support:**`; none of them is all rooms."),
        Setting(
            "relay.types", \.relay.types, .eventTypes,
            "`martlet relay`: the types of events in the streams, with commas between them, such as "
                + "`message.created,participant.*`; `*` is all of them, `none` all but those of presence and reading."),
        Setting(
            "relay.lease", \.relay.lease, .duration(.seconds(1)...(.seconds(600))),
            "`martlet relay`: the time for which a share of the rooms belongs to a relay that is not heard of any "
                + "more. Another one takes over after that."),
        Setting(
            "relay.scan", \.relay.scan, .duration(.seconds(1)...(.seconds(86_400))),
            "`martlet relay`: the time between two scans of all rooms, which find what no node has noted."),
        Setting(
            "relay.port", \.relay.port, ValueRule.int(0...65_535).orNone(),
            "`martlet relay`: port for operators, with `/metrics`, `/healthz` and `/readyz`. It speaks plain HTTP."),
        Setting("relay.host", \.relay.host, hostRule, "`martlet relay`: address to listen on for operators."),
        Setting(
            "webhooks.key", \.relay.webhooksKey, ValueRule.hookSecret.optional(), secret: true,
            "`martlet relay` and `martlet webhooks`: the key from which the secrets of webhook endpoints are derived, "
                + "so that no secret is stored. The same for all relays. Another key is another secret for every "
                + "endpoint."
        ),
        Setting(
            "webhooks.hosts", \.relay.webhookHosts, .hosts,
            "`martlet relay`: hosts, with commas between them, to which webhooks may be sent although their addresses "
                + "are not public, and without TLS. A host is meant as the endpoint's URL writes it."),
        Setting(
            "webhooks.timeout", \.relay.webhookTimeout, .duration(.milliseconds(10)...(.seconds(300))),
            "`martlet relay`: the time that one delivery may take, until the status of the answer."),
        Setting(
            "webhooks.retries", \.relay.webhookRetries, .durations,
            "`martlet relay`: the pauses before further attempts to deliver an event, with commas between them. After "
                + "the last attempt the event is a dead letter."),
        Setting(
            "webhooks.endpoints", \.relay.webhookEndpoints, .int(1...1_000),
            "`martlet webhooks add`: webhook endpoints at most. Each costs Redis a few microseconds for each room in "
                + "which something is said."),
        Setting(
            "webhooks.dead.letters", \.relay.webhookDeadLetters, .int(1...1_000_000),
            "`martlet relay`: dead letters that are kept of an endpoint, in each of the 16 partitions, at most. The "
                + "oldest ones go; it bounds the memory of Redis. Of an unordered endpoint also the events that wait "
                + "for another attempt; beyond it, rooms wait."),
        Setting(
            "webhooks.ca", \.relay.webhookAuthorityFile, ValueRule.file.optional(),
            "`martlet relay`: PEM file of the authorities that are trusted for webhooks, in place of the system's."),
    ]

    /// For `martlet relay`: reads the variables that describe Redis, the log and the relay, so that a mistake in
    /// another variable does not stop it.
    public static func loadForRelay(environment: [String: String]) throws(ConfigurationError) -> NodeConfiguration {
        let prefixes = ["MARTLET_REDIS_", "MARTLET_RELAY_", "MARTLET_WEBHOOKS_", "MARTLET_LOG_"]
        return try load(
            environment: environment.filter { variable in
                ["MARTLET_KEY_PREFIX", "MARTLET_ARCHIVE", "MARTLET_ARCHIVE_COLD"].contains(variable.key)
                    || prefixes.contains { variable.key.hasPrefix($0) }
            })
    }
}

extension ValueRule where Value == [String] {
    /// Names of sinks.
    static let sinks = ValueRule(
        type: "list", range: "1 to 8 names",
        expected: "up to 8 names of sinks with commas between them, such as archive",
        parse: { raw throws(Misfit) in
            let names = try CommaList.parse(raw) { name throws(Misfit) in
                let isName =
                    (1...64).contains(name.utf8.count)
                    && name.utf8.allSatisfy {
                        (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == UInt8(ascii: "-")
                    }
                guard isName else { throw Misfit("a sink's name has 1 to 64 of the characters a-z, 0-9 and -") }
                return name
            }
            guard names.count <= 8 else { throw Misfit("there are more than 8") }
            return names
        },
        show: { CommaList.show($0, none: "none") }
    )

    /// Types of events, or beginnings of them.
    static let eventTypes = ValueRule(
        type: "list", range: "",
        expected: "types of events with commas between them, such as message.created,participant.*",
        parse: { raw throws(Misfit) in
            if raw == "none" { return [] }
            return try CommaList.parse(raw) { type throws(Misfit) in
                let isType =
                    !type.isEmpty
                    && type.utf8.allSatisfy {
                        (0x61...0x7A).contains($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "*")
                    }
                guard isType else { throw Misfit("a type is empty, or holds a character that no type has") }
                return type
            }
        },
        show: { CommaList.show($0, none: "none") }
    )

    /// Names and addresses of hosts.
    static let hosts = ValueRule(
        type: "list", range: "", expected: "hosts with commas between them, such as hooks.internal,127.0.0.1",
        parse: { raw throws(Misfit) in
            try CommaList.parse(raw) { host throws(Misfit) in
                let isHost =
                    !host.isEmpty && host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x2F && $0 != 0x40 }
                guard isHost else { throw Misfit("a host is empty, or holds a character that no host has") }
                return host.lowercased()
            }
        },
        show: { CommaList.show($0, none: "none") }
    )
}

extension ValueRule where Value == [Duration] {
    /// Pauses, each of at least a millisecond.
    static let durations = ValueRule(
        type: "list", range: "1 to 20 durations of 1ms to 1d",
        expected: "1 to 20 durations from 1ms to 1d with commas between them, such as 5s,5m,1h",
        parse: { raw throws(Misfit) in
            let durations = try CommaList.parse(raw, DurationText.parse)
            guard durations.count <= 20, durations.allSatisfy({ $0 >= .milliseconds(1) && $0 <= .seconds(86_400) })
            else { throw Misfit("it has too many, or one that is out of range") }
            return durations
        },
        show: { CommaList.show($0.map { DurationText.show($0) }, none: "") }
    )
}

extension ValueRule where Value == [RoomPattern] {
    static let roomPatterns = ValueRule(
        type: "list", range: "",
        expected: "patterns of rooms with commas between them, such as team:*,support:**",
        parse: { raw throws(Misfit) in
            try CommaList.parse(raw) { part throws(Misfit) in
                do throws(NameError) {
                    return try RoomPattern(part)
                } catch {
                    throw Misfit("a pattern \(error)")
                }
            }
        },
        show: { CommaList.show($0.map(\.description), none: "**") }
    )
}

extension ValueRule where Value == ArchiveAddress {
    static let archive = ValueRule(
        type: "address", range: "sqlite:<path>, or postgresql://",
        expected: "sqlite: and the path of a file, such as sqlite:/var/lib/martlet/archive.db, or postgresql://…",
        parse: { raw throws(Misfit) in
            guard let address = ArchiveAddress(raw) else { throw Misfit("it names no database") }
            return address
        },
        show: { $0.description },
        quote: { Printable.quoted(ArchiveAddress($0)?.description ?? String($0.prefix { $0 != "@" })) }
    )
}
