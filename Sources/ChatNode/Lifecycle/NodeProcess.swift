import ChatGateway
import Glibc
import Logging
import Metrics
import ServiceLifecycle
import UnixSignals

/// The process of a node: reads the environment, sets up logging and metrics, and runs the node under a service group.
public enum NodeProcess {
    /// Exit codes as in sysexits.h.
    public enum ExitCode {
        /// EX_CONFIG: the environment cannot be used.
        public static let configuration: Int32 = 78
        /// EX_UNAVAILABLE: the address is taken, or Redis cannot be used.
        public static let unavailable: Int32 = 69
    }

    /// Returns after the node has left in order. Exits the process if the node cannot start.
    public static func run() async throws {
        let configuration = loadOrExit()
        configuration.log.bootstrap()
        let logger = Logger(label: "martlet")
        announce(configuration, logger)
        raiseFileLimit(logger)
        refuseTooManyConnections(configuration)
        refuse(configuration.certificateProblem())
        refuse(configuration.wordsProblem())
        refuse(configuration.hooksProblem())
        refuse(configuration.socketIOProblem())
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
            logger.error("the node cannot run and exits", metadata: [LogKey.error: "\(error)"])
            LogWriter.standard.flush(within: lastWords)
            exit(ExitCode.unavailable)
        }
        LogWriter.standard.flush(within: lastWords)
    }

    /// The first SIGINT or SIGTERM begins the drain, which the service group handles; the second one ends the process
    /// at once. A terminal may deliver Ctrl-C both to the node and to the script that forwards it, so two signals in
    /// the same moment count as one.
    private static func endAtTheSecondSignal(_ logger: Logger) async {
        var first: ContinuousClock.Instant?
        for await signal in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
            guard let began = first else {
                first = .now
                continue
            }
            guard ContinuousClock.now - began > .milliseconds(500) else { continue }
            logger.warning("second signal to stop, exiting at once")
            LogWriter.standard.flush(within: lastWords)
            exit(128 + (signal == .sigint ? SIGINT : SIGTERM))
        }
    }

    /// Waits for a moment until the rest of the log has been written: for other programs with a log like a node's.
    public static func flushLog() { LogWriter.standard.flush(within: lastWords) }

    /// How long an ending process waits until the rest of its log has been written.
    private static let lastWords: Duration = .milliseconds(500)

    private static func loadOrExit() -> NodeConfiguration {
        do {
            return try NodeConfiguration.load()
        } catch {
            StandardError.write("martlet: \(error)\n")
            exit(ExitCode.configuration)
        }
    }

    /// Logs the configuration once: a line for each setting, which says whether it is the default.
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

    private static func refuse(_ problem: ConfigurationProblem?) {
        guard let problem else { return }
        StandardError.write("martlet: \(problem)\n")
        exit(ExitCode.configuration)
    }

    /// Every session needs a file descriptor, so the limit is raised as far as the system allows.
    private static func raiseFileLimit(_ logger: Logger) {
        guard !OpenFileLimit.raise() else { return }
        logger.warning(
            "the limit of open files cannot be raised", metadata: [LogKey.count: "\(OpenFileLimit.current ?? 0)"])
    }
}
