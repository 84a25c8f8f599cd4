import ArgumentParser
import ChatAccess
import ChatCore
import ChatGateway
import ChatNode
import ChatRedis
import ChatRelay
import Foundation
import RedisSchema

/// `martlet webhooks`: to whom relays send events. It talks to Redis and needs no relay.
struct Webhooks: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Webhook endpoints: add, list, remove, enable, test, rotate, replay.",
        discussion: "Relays take a change over within a few seconds.",
        subcommands: [Add.self, List.self, Remove.self, Enable.self, Test.self, Rotate.self, Replay.self])

    /// An existing endpoint, and how to reach Redis.
    struct Place: ParsableArguments {
        @Argument(help: "The endpoint's ID.")
        var id: String

        @OptionGroup var redis: RedisPlace

        /// Exits with code 2 if Redis cannot be asked, and with 1 if there is no such endpoint.
        func find() async throws -> WebhookEndpoint {
            let all = try await Webhooks.all(redis)
            guard let found = all.first(where: { $0.id == id }) else {
                StandardError.write(
                    "webhooks: there is no endpoint \(id.debugDescription)"
                        + (all.isEmpty ? "\n" : "; there are: \(all.map(\.id).joined(separator: " "))\n"))
                throw ExitCode(1)
            }
            return found
        }

        func write(_ endpoint: WebhookEndpoint) async throws {
            _ = try await redis.ask("webhooks") { WebhookStore(keys: $0).write(endpoint) }
        }
    }

    static func all(_ redis: RedisPlace) async throws -> [WebhookEndpoint] {
        WebhookStore(keys: RedisKeys()).endpoints(try await stored(redis))
    }

    /// The reply that ``WebhookStore`` reads.
    private static func stored(_ redis: RedisPlace) async throws -> RedisValue {
        try await redis.ask("webhooks") { WebhookStore(keys: $0).read }
    }

    /// What the environment says about webhooks. Exits with code 78 if that cannot be used.
    static func settings(_ redis: RedisPlace) throws -> WebhookSettings {
        do {
            return WebhookSettings(try NodeConfiguration.loadForRelay(environment: redis.merged))
        } catch {
            StandardError.write("webhooks: \(error)\n")
            throw ExitCode(NodeProcess.ExitCode.configuration)
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add an endpoint, and print its ID and its secret.",
            discussion: """
                The secret is derived from MARTLET_WEBHOOKS_KEY and is stored nowhere. With --secret it is one of yours, \
                which is then kept in Redis as it is.
                """)

        @Argument(help: "Where events are sent: https://…")
        var url: String

        @Option(
            name: .customLong("type"),
            help:
                "Events of this type: message.created, participant.*; again for more. None: all but presence, reading."
        )
        var types: [String] = []

        @Option(name: .customLong("room"), help: "A pattern of rooms, as in 'team:*'. May be repeated; default: all.")
        var rooms: [String] = []

        @Flag(help: "Sign with a key pair (v1a); the receiver gets the public key.")
        var asymmetric = false

        @Flag(help: "Send events as they come: one that is not accepted does not hold up the later ones of its room.")
        var unordered = false

        @Option(
            help: """
                A secret of your own: whsec_ and base64, or any text of at least 24 bytes; with --asymmetric whsk_ and \
                base64.
                """)
        var secret: String?

        @OptionGroup var redis: RedisPlace

        func run() async throws {
            let settings = try Webhooks.settings(redis)
            var endpoint = WebhookEndpoint(
                id: String(UInt64.random(in: 0 ... .max), radix: 36), url: try address(settings), filter: try filter(),
                since: WallClock.milliseconds)
            endpoint.isAsymmetric = asymmetric
            endpoint.isUnordered = unordered
            if let secret {
                try Webhooks.check(secret, of: endpoint)
                endpoint.secrets = [secret]
            } else if settings.key == nil {
                throw ValidationError("set MARTLET_WEBHOOKS_KEY, from which its secret is derived, or give --secret")
            }
            guard try await Webhooks.all(redis).count < settings.mostEndpoints else {
                throw ValidationError(
                    "there are \(settings.mostEndpoints) endpoints already (MARTLET_WEBHOOKS_ENDPOINTS)")
            }
            let now = endpoint.since
            _ = try await redis.askEach("webhooks") { keys in
                let store = WebhookStore(keys: keys)
                return [store.write(endpoint)] + store.begin(endpoint, now: now)
            }
            Terminal.write("endpoint \(endpoint.id)\n\(Webhooks.secret(of: endpoint, settings))\n")
        }

        private func address(_ settings: WebhookSettings) throws -> String {
            do throws(WebhookURL.Problem) {
                let address = try WebhookURL(url)
                guard address.isSecure || settings.allowedHosts.contains(address.host) else {
                    throw WebhookURL.Problem(
                        description: "http:// is for hosts in MARTLET_WEBHOOKS_HOSTS only, use https://")
                }
                return address.description
            } catch {
                throw ValidationError("\(url.debugDescription): \(error)")
            }
        }

        private func filter() throws -> EventFilter {
            var filter = EventFilter.everything
            do throws(EventFilter.UnknownType) {
                filter.kinds = try EventFilter.kinds(types)
            } catch {
                throw ValidationError("--type \(error)")
            }
            filter.rooms = try rooms.map { room in
                do throws(NameError) {
                    return try RoomPattern(room)
                } catch {
                    throw ValidationError("\(room.debugDescription): \(error)")
                }
            }
            return filter
        }
    }

    /// What the receiver verifies with, as a line: the newest secret of an endpoint, or its public key.
    static func secret(of endpoint: WebhookEndpoint, _ settings: WebhookSettings) -> String {
        let (own, generation) = (endpoint.secrets.first, endpoint.generation)
        let text: String?
        if endpoint.isAsymmetric {
            let derived = settings.key.flatMap {
                StandardWebhook.derivedKey(of: endpoint.id, generation: generation, key: $0)
            }
            text = (own.flatMap { WebhookKey($0) } ?? derived)?.publicText
        } else {
            text =
                own
                ?? settings.key.map {
                    StandardWebhook.derivedSecret(of: endpoint.id, generation: generation, key: $0)
                }
        }
        return (endpoint.isAsymmetric ? "public   " : "secret   ") + (text ?? "unknown without MARTLET_WEBHOOKS_KEY")
    }

    /// Refuses a secret of the operator's own that cannot sign for the endpoint.
    private static func check(_ secret: String, of endpoint: WebhookEndpoint) throws {
        if endpoint.isAsymmetric {
            guard WebhookKey(secret) != nil else {
                throw ValidationError("--secret is not whsk_ and the base64 of an Ed25519 key")
            }
        } else {
            guard HookSecret(secret) != nil else {
                throw ValidationError("--secret has less than 24 bytes, or is no base64")
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "All endpoints, without their secrets.")

        @OptionGroup var redis: RedisPlace

        func run() async throws {
            let store = WebhookStore(keys: RedisKeys())
            let reply = try await Webhooks.stored(redis)
            for endpoint in store.endpoints(reply) {
                let kinds = endpoint.filter.kinds.map(\.rawValue).sorted().joined(separator: ",")
                let types = kinds.isEmpty ? "all but presence and reading" : kinds
                let rooms = endpoint.filter.rooms.map(\.description).joined(separator: ",")
                let state = endpoint.disabled.map { "disabled: \($0)" } ?? "enabled"
                Terminal.write(
                    TerminalText.harmless(
                        "\(endpoint.id)  \(endpoint.url)  types \(types)  rooms "
                            + "\(rooms.isEmpty ? "all" : rooms)  \(endpoint.isUnordered ? "unordered  " : "")\(state)")
                        + "\n")
            }
            for id in store.unreadable(reply) {
                Terminal.write(TerminalText.harmless("\(id)  cannot be read; nothing is sent to it") + "\n")
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove an endpoint, with what waits for it and its dead letters.")

        @OptionGroup var place: Place

        func run() async throws {
            let unreadable = WebhookStore(keys: RedisKeys()).unreadable(try await Webhooks.stored(place.redis))
            let id = unreadable.contains(place.id) ? place.id : try await place.find().id
            _ = try await place.redis.askEach("webhooks") { WebhookStore(keys: $0).remove(id) }
            Terminal.write("removed\n")
        }
    }

    struct Enable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send events again to an endpoint that was disabled. It is sent what it has missed.")

        @OptionGroup var place: Place

        func run() async throws {
            var endpoint = try await place.find()
            endpoint.disabled = nil
            try await place.write(endpoint)
            Terminal.write("enabled\n")
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give an endpoint a new secret, and print it. The old one signs, too, for some time.")

        @OptionGroup var place: Place

        @Option(help: "For how long the old secret signs, too, as in 24h.")
        var overlap = "24h"

        @Option(help: "A new secret of your own; needed if the endpoint has one of your own.")
        var secret: String?

        func run() async throws {
            let settings = try Webhooks.settings(place.redis)
            let time = try DurationArgument.milliseconds(overlap, of: "--overlap", example: "24h")
            var endpoint = try await place.find()
            if endpoint.secrets.isEmpty {
                guard secret == nil else { throw ValidationError("its secrets are derived: --secret is not for it") }
                guard settings.key != nil else { throw ValidationError("set MARTLET_WEBHOOKS_KEY") }
            } else {
                guard let secret else { throw ValidationError("the endpoint has a secret of your own: give --secret") }
                try Webhooks.check(secret, of: endpoint)
                endpoint.secrets = [secret] + endpoint.secrets.prefix(1)
            }
            endpoint.generation += 1
            endpoint.previousUntil = WallClock.milliseconds + time
            try await place.write(endpoint)
            Terminal.write("\(Webhooks.secret(of: endpoint, settings))\n")
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send an endpoint an event of the type webhook.test from here, and say what it answered.")

        @OptionGroup var place: Place

        func run() async throws {
            let settings = try Webhooks.settings(place.redis)
            let endpoint = try await place.find()
            let outcome = await WebhookDelivery.sendTest(to: endpoint, settings, now: WallClock.milliseconds)
            Terminal.write(outcome.text + "\n")
            if !outcome.isAccepted { throw ExitCode(1) }
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send an endpoint again what a room's log has behind a position.",
            discussion: "Events keep their IDs, so a receiver can tell that it has had them.")

        @OptionGroup var place: Place

        @Option(help: "The room.")
        var room: String

        @Option(help: "The position behind which it begins, as in 1795230114073-3; default: with the whole log.")
        var after = "0-0"

        func run() async throws {
            let endpoint = try await place.find()
            let name: RoomName
            do throws(NameError) {
                name = try RoomName(room)
            } catch {
                throw ValidationError("\(room.debugDescription): \(error)")
            }
            guard Position(after) != nil else {
                throw ValidationError("--after \(after.debugDescription) is no position")
            }
            let tag = EventPartition(of: name).keyTag
            _ = try await place.redis.ask("webhooks") {
                ["HSET", $0.key(.cursors, of: name.text), endpoint.sink, "\(after) 0"]
            }
            // After the cursor, which is on another server of a Cluster: a relay that read before would not go back.
            _ = try await place.redis.ask("webhooks") {
                ["ZADD", $0.due(endpoint.sink, ofPartition: tag), String(WallClock.milliseconds), name.text]
            }
            Terminal.write("queued\n")
        }
    }
}
