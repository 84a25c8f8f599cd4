import ChatCore
import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// Controls the listening socket and accepts connections when ``AcceptStateMachine`` allows it. Without it, NIO retries
/// a failing accept in a loop and takes a whole core.
final class AcceptGate: ChannelDuplexHandler {
    typealias InboundIn = NIOAny
    typealias InboundOut = NIOAny
    typealias OutboundIn = NIOAny
    typealias OutboundOut = NIOAny

    /// How often a full node checks whether it is still full, and the shortest interval at which it logs that it is.
    private static let lookAgain: TimeAmount = .seconds(1)
    private static let tellAgain: Duration = .seconds(60)

    private var machine: AcceptStateMachine
    private let probe: DescriptorProbe?
    private let shared: GatewayShared
    private let logger: Logger
    /// Whether this gate reports that the node is full. One of several gates does.
    private let reports: Bool
    private var atOnce = 0
    private var scheduled: Scheduled<Void>?
    private var watch: Scheduled<Void>?
    private var toldAt: Moment?

    init(options: GatewayOptions, shared: GatewayShared, logger: Logger, reports: Bool = true) {
        machine = AcceptStateMachine(budget: options.descriptors, maxConnections: options.maxConnections, now: .now)
        probe = options.descriptors.flatMap { _ in DescriptorProbe() }
        self.shared = shared
        self.logger = logger
        self.reports = reports
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        scheduled?.cancel()
        watch?.cancel()
        watch = nil
    }

    func read(context: ChannelHandlerContext) {
        guard scheduled == nil else { return }
        let action = machine.asked(look(), now: .now)
        if let change = action.change { tell(change, context) }
        guard action.accept > 0 else {
            scheduled = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(action.wait)) { [self] in
                scheduled = nil
                guard context.channel.isActive else { return }
                read(context: context)
            }
            return
        }
        if action.accept != atOnce {
            atOnce = action.accept
            try? context.channel.syncOptions?.setOption(.maxMessagesPerRead, value: UInt(action.accept))
        }
        context.read()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is IOError {
            machine.failed(now: .now)
            shared.acceptErrors.add(1, ordering: .relaxed)
        }
        context.fireErrorCaught(error)
    }

    private func look() -> AcceptStateMachine.Look {
        .init(
            lowestFree: probe?.lowestFree(), connections: shared.connections.load(ordering: .relaxed),
            limit: probe == nil ? nil : OpenFileLimit.current)
    }

    private func tell(_ change: AcceptStateMachine.Action.Change, _ context: ChannelHandlerContext) {
        guard reports else { return }
        switch change {
        case .becameFull(let reason):
            shared.fullness.withLockedValue { $0 = reason }
            shared.timesFull.add(1, ordering: .relaxed)
            watchOver(context)
            let now = Moment.now
            if let toldAt, now - toldAt < Self.tellAgain { return }
            toldAt = now
            logger.warning("full: new connections are sent away", metadata: ["reason": "\(reason)"])
        case .becameOpen:
            shared.fullness.withLockedValue { $0 = nil }
            watch?.cancel()
            watch = nil
        }
    }

    /// Checks periodically while the node is full, because no connection may arrive for a while after others were
    /// closed.
    private func watchOver(_ context: ChannelHandlerContext) {
        watch = context.eventLoop.assumeIsolated().scheduleTask(in: Self.lookAgain) { [self] in
            guard context.channel.isActive else { return }
            if let change = machine.update(look()) { tell(change, context) } else { watchOver(context) }
        }
    }
}

/// Finds the descriptor that the kernel would assign next.
final class DescriptorProbe {
    private let file: CInt

    /// Nil if no descriptor is free for the probe itself.
    init?() {
        file = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
    }

    deinit { close(file) }

    /// Nil if no descriptor is free.
    func lowestFree() -> Int? {
        let lowest = fcntl(file, F_DUPFD_CLOEXEC, 0)
        guard lowest >= 0 else { return nil }
        close(lowest)
        return Int(lowest)
    }
}
