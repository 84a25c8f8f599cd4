import ChatGateway
import Glibc
import Logging
import Metrics
import ServiceLifecycle
import UnixSignals

/// A node as a whole process: reads the environment, sets up logging and metrics, runs the node under a service group.
public enum NodeProcess {
    /// Exit codes, after sysexits.h.
    public enum ExitCode {
        /// EX_CONFIG: the environment cannot be used.
        public static let configuration: Int32 = 78
        /// EX_UNAVAILABLE: the address is taken, Redis cannot be used.
        public static let unavailable: Int32 = 69
    }

    /// Returns when the node has left in order; exits the process if it cannot start.
    public static func run() async throws {
        let configuration = loadOrExit()
        configuration.log.bootstrap()
        let logger = Logger(label: "martlet")
        announce(configuration, logger)
        raiseFileLimit(logger)
        refuseTooManyConnections(configuration)
        signal(SIGPIPE, SIG_IGN)
        let metrics = NodeMetrics(version: Node.version, node: configuration.node.name)
        MetricsSystem.bootstrap(metrics.registry)
        let node = Node(configuration: configuration, metrics: metrics, logger: logger)
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: node, successTerminationBehavior: .gracefullyShutdownGroup)],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger))
        let impatience = Task { await endAtTheSecondSignal(logger) }
        defer { impatience.cancel() }
        do {
            try await group.run()
        } catch {
            logger.error("the node cannot run", metadata: [LogKey.error: "\(error)"])
            LogWriter.standard.flush(within: lastWords)
            exit(ExitCode.unavailable)
        }
        LogWriter.standard.flush(within: lastWords)
    }

    /// The first SIGINT or SIGTERM begins the drain (the service group's business); the second ends the process at once. A terminal's
    /// Ctrl-C and the script that it also reaches may send two in the same moment, which are one.
    private static func endAtTheSecondSignal(_ logger: Logger) async {
        var first: ContinuousClock.Instant?
        for await signal in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
            guard let began = first else {
                first = .now
                continue
            }
            guard ContinuousClock.now - began > .milliseconds(500) else { continue }
            logger.warning("asked to leave again, ending at once")
            LogWriter.standard.flush(within: lastWords)
            exit(128 + (signal == .sigint ? SIGINT : SIGTERM))
        }
    }

    /// How long a process that ends waits for somebody to read the rest of its log.
    private static let lastWords: Duration = .milliseconds(500)

    private static func loadOrExit() -> NodeConfiguration {
        do {
            return try NodeConfiguration.load()
        } catch {
            StandardError.write("martlet: \(error)\n")
            exit(ExitCode.configuration)
        }
    }

    /// Says once what the node runs with. Defaults in one line, what was set a line each.
    private static func announce(_ configuration: NodeConfiguration, _ logger: Logger) {
        for warning in configuration.warnings {
            logger.warning("check the environment", metadata: [LogKey.error: "\(warning.message)"])
        }
        for value in configuration.effectiveValues() {
            logger.info(
                value.isDefault ? "setting, by default" : "setting",
                metadata: [LogKey.setting: "\(value.variable)", LogKey.value: "\(value.value)"])
        }
    }

    private static func refuseTooManyConnections(_ configuration: NodeConfiguration) {
        do {
            _ = try DescriptorPlan.current(configuration)
        } catch {
            StandardError.write("martlet: \(error)\n")
            exit(ExitCode.configuration)
        }
    }

    /// Every session is a file descriptor: takes as many as the system allows.
    private static func raiseFileLimit(_ logger: Logger) {
        guard !OpenFileLimit.raise() else { return }
        logger.warning(
            "the limit of open files cannot be raised", metadata: [LogKey.count: "\(OpenFileLimit.current ?? 0)"])
    }
}
