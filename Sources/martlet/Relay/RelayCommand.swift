import ArgumentParser
import ChatAccess
import ChatCore
import ChatGateway
import ChatNode
import ChatRelay
import Foundation
import Logging
import UnixSignals

/// `martlet relay`: hands what is said to event streams and to the archive, until SIGTERM or SIGINT.
struct RelayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay",
        abstract: "Hand what is said in all rooms to event streams, webhooks and an archive.",
        discussion: """
            Configured by environment variables alone (MARTLET_REDIS_…, MARTLET_RELAY_…). Any number of relays share the \
            work. A relay that is down delays events, and nothing else.
            """,
        subcommands: [Run.self, Check.self, Dead.self], defaultSubcommand: Run.self)

    /// Runs a relay.
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "run", abstract: "Run a relay until SIGTERM or SIGINT (the default).")

        func run() async throws { try await RelayCommand.serve() }
    }

    private static func serve() async throws {
        let configuration: NodeConfiguration
        let settings: RelaySettings
        do {
            configuration = try NodeConfiguration.loadForRelay(environment: ProcessInfo.processInfo.environment)
            settings = try RelaySettings(configuration)
        } catch {
            StandardError.write("martlet: \(error)\n")
            throw ExitCode(NodeProcess.ExitCode.configuration)
        }
        configuration.log.bootstrap()
        let logger = Logger(label: "martlet")
        for warning in configuration.warnings {
            logger.warning("check the environment", metadata: ["error": "\(warning.message)"])
        }
        signal(SIGPIPE, SIG_IGN)
        logger.notice("the relay starts", metadata: ["relay": "\(settings.id)", "version": "\(Node.version)"])
        let relay: Relay
        do {
            relay = try Relay(
                settings, logger: logger, wallClock: { WallClock.milliseconds },
                find: { try await configuration.findRedis() })
        } catch {
            StandardError.write("martlet: TLS cannot be set up: \(error)\n")
            throw ExitCode(NodeProcess.ExitCode.configuration)
        }
        let monitor = RelayMonitor(relay, keys: settings.keys, find: { try await configuration.findRedis() })
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let problem = await withTaskGroup(of: (any Error)?.self) { tasks in
            tasks.addTask {
                await relay.run()
                return nil
            }
            tasks.addTask {
                for await _ in signals { break }
                return nil
            }
            if let port = configuration.relay.port {
                tasks.addTask {
                    do {
                        try await monitor.serve(host: configuration.relay.host, port: port, logger)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            // A signal, or an address that is taken.
            let first = await tasks.next() ?? nil
            tasks.cancelAll()
            await tasks.waitForAll()
            return first
        }
        if let problem {
            StandardError.write("martlet: MARTLET_RELAY_PORT: \(problem)\n")
            throw ExitCode(NodeProcess.ExitCode.unavailable)
        }
        logger.notice("the relay has ended", metadata: ["relay": "\(settings.id)"])
        NodeProcess.flushLog()
    }
}

extension WebhookSettings {
    init(_ configuration: NodeConfiguration) {
        let relay = configuration.relay
        self.init(
            timeout: relay.webhookTimeout, schedule: RetrySchedule(pauses: relay.webhookRetries),
            deadLetters: relay.webhookDeadLetters, mostEndpoints: relay.webhookEndpoints)
        key = relay.webhooksKey.flatMap { HookSecret($0.revealed) }
        allowedHosts = Set(relay.webhookHosts)
        authorityFile = relay.webhookAuthorityFile
    }
}

extension RelaySettings {
    /// Throws if there is nothing to do.
    init(_ configuration: NodeConfiguration) throws {
        let relay = configuration.relay
        guard relay.hasStreams || configuration.archive != nil || relay.webhooksKey != nil else {
            throw ValidationError(
                "the relay has no sink: set MARTLET_ARCHIVE or MARTLET_WEBHOOKS_KEY, or leave "
                    + "MARTLET_RELAY_STREAMS on")
        }
        guard !configuration.redis.address.isMemory else {
            throw ValidationError("MARTLET_REDIS_URL is memory:, so there is no Redis to read")
        }
        self.init(
            id: "relay-" + String(UInt64.random(in: 0 ... .max), radix: 16), keys: try configuration.redisKeys(),
            lease: relay.lease, scan: relay.scan, streamLength: relay.streamLength,
            webhooks: WebhookSettings(configuration))
        hasStreams = relay.hasStreams
        do throws(EventFilter.UnknownType) {
            streamFilter = EventFilter(kinds: try EventFilter.kinds(relay.types), rooms: relay.rooms)
        } catch {
            throw ValidationError("MARTLET_RELAY_TYPES: \(error)")
        }
        archive = configuration.archive
        cold = configuration.archiveCold
    }
}
