import CLinux
import ChatCore
import ChatWire
import Glibc
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// State that the connections of one event loop share: sessions to be written to this tick, heartbeats, deadlines and
/// counters. Confined to its loop, so without locks.
final class GatewayLoop {
    let eventLoop: any EventLoop
    let options: GatewayOptions
    let service: any ChatService
    let authenticator: any Authenticator
    let carriers: TokenCarriers
    /// Where WebSockets are opened, by path.
    private let endpoints: [String: WebSocketEndpoint]
    /// Protocols whose messages are the body of an answer to GET, by path.
    let streams: [String: SpokenProtocol]
    /// Protocols with a port of their own, by its name.
    let ports: [String: SpokenProtocol]
    /// Connections of Engine.IO, and where they are opened.
    let engines: EngineTable
    let logger: Logger
    let routes: HTTPRoutes
    let shared: GatewayShared

    var counters = GatewayCounters()
    var joiner = FrameJoiner()
    var prefixer = PrefixedFrames()
    /// Set on drain: handshakes are refused.
    var isDraining = false

    private var dirty: [any FlushedOutlet] = []
    private let flush = LoopTick.Errand(.sessions)
    let loopTick: LoopTick
    private var spare: [any FlushedOutlet] = []
    /// Sessions whose write is postponed, as the tick has others to serve as well.
    private var late: ArraySlice<any FlushedOutlet> = []
    /// All sessions, for heartbeats: each session is in one slot, and one slot is processed each tick.
    private var slots: [[any GatewayOutlet]]
    private var currentSlot = 0
    private var nextSlot = 0
    /// The session rules that all sessions share.
    let sessionRules: SessionStateMachine.Common
    /// Connections with a deadline: before their handshake, speaking HTTP, or closing. Checked every tick.
    private var timed: [ObjectIdentifier: any TimedConnection] = [:]
    private var isRunning = false
    /// This loop's share of the node's handshakes.
    private var handshakeRate: TokenBucket
    private var refusalLines = LineRate<GatewayCounters.Refusal>(pause: .seconds(10))

    /// `loops` is the total number of loops, `index` the place among them.
    init(eventLoop: any EventLoop, parts: GatewayParts, index: Int = 0, loops: Int = 1) {
        self.eventLoop = eventLoop
        options = parts.options
        service = parts.service
        loopTick = parts.service.tick(of: eventLoop)
        authenticator = parts.authenticator
        carriers = TokenCarriers(
            cookie: parts.options.tokenCookie, allowedOrigins: parts.options.allowedOrigins)
        endpoints = parts.protocols.endpoints(allowedOrigins: parts.options.allowedOrigins)
        streams = parts.protocols.streams()
        ports = parts.protocols.ports()
        engines = EngineTable(loop: index, options: parts.options)
        logger = parts.logger
        routes = parts.routes
        shared = parts.shared
        let handshakes = (options.limits.handshakesPerSecond + loops - 1) / max(1, loops)
        handshakeRate = TokenBucket(perSecond: handshakes, burst: handshakes, now: .now)
        let ticks = Duration.seconds(options.heartbeatSeconds) / max(options.tick, .milliseconds(1))
        slots = Array(repeating: [], count: max(1, Int(ticks.rounded())))
        sessionRules = SessionStateMachine.Common(
            limits: options.limits, heartbeat: .seconds(options.heartbeatSeconds))
        addEngines(parts.protocols)
    }

    /// The endpoint that opens a WebSocket for this request; nil if it has another answer.
    func endpoint(for head: RequestHead) -> WebSocketEndpoint? {
        guard let endpoint = endpoints[head.path] ?? SockJSService.pattern(of: head.path).flatMap({ endpoints[$0] })
        else { return nil }
        return endpoint.takesPlainRequests && !WebSocketHandshake.isAskedFor(in: head) ? nil : endpoint
    }

    func start() {
        isRunning = true
        scheduleTick()
    }

    private func scheduleTick() {
        scheduleTick(in: max(options.tick, .milliseconds(1)), putOff: 0)
    }

    /// `putOff` is the number of times the tick was postponed already.
    private func scheduleTick(in time: Duration, putOff: Int) {
        let due = Moment.now + time
        eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(time)) { [weak self] in
            guard let self, isRunning else { return }
            // The loop was blocked: data that peers sent meanwhile is read before any of them is judged as silent.
            if Moment.now - due > Self.heldUp, putOff < Self.mostPutOff {
                return scheduleTick(in: Self.forReading, putOff: putOff + 1)
            }
            tickPassed()
            scheduleTick()
        }
    }

    private static let heldUp: Duration = .milliseconds(100)
    private static let forReading: Duration = .milliseconds(20)
    private static let mostPutOff = 3

    func stop() {
        isRunning = false
        for connection in timed.values { connection.cut() }
        for session in slots.joined() { session.cut() }
        engines.cutAll()
    }

    /// Marks a session that has something to write at the end of this tick.
    func markDirty(_ session: any FlushedOutlet) {
        dirty.append(session)
        loopTick.ask(flush, self)
    }

    private func flushDirty() {
        swap(&dirty, &spare)
        let done = flush(spare[...])
        if done < spare.count {
            let isFirst = late.isEmpty
            late.append(contentsOf: spare[done...])
            if isFirst { scheduleLate() }
        }
        spare.removeAll(keepingCapacity: spare.capacity <= 4_096)
        joiner.clear()
        prefixer.clear()
    }

    /// Writes to the sessions, one after the other, for no longer than a time slice. Returns the index where it
    /// stopped.
    private func flush(_ sessions: ArraySlice<any FlushedOutlet>) -> Int {
        var looked: Moment?
        var index = sessions.startIndex
        while index < sessions.endIndex {
            if index + Self.ahead < sessions.endIndex { Self.prefetch(sessions[index + Self.ahead]) }
            sessions[index].tickEnded()
            index += 1
            guard index & 15 == 0 else { continue }
            let now = Moment.now
            if let began = looked, now - began > Self.slice { break }
            looked = looked ?? now
        }
        return index
    }

    /// Long writes and broadcasts are written in slices, so that other sessions on the loop with little to send do not
    /// wait for all of them.
    private func scheduleLate() {
        eventLoop.assumeIsolated().scheduleTask(in: Self.betweenSlices) { [self] in
            late = late[flush(late)...]
            if late.isEmpty { late = [] } else { scheduleLate() }
        }
    }

    private static let slice: Duration = .milliseconds(5)
    /// Long enough that the loop polls its sockets.
    private static let betweenSlices = TimeAmount.microseconds(50)

    /// While the kernel writes to one session, the memory of the session this many places ahead is prefetched.
    private static let ahead = 2

    private static func prefetch(_ session: any FlushedOutlet) {
        thread_prefetch(Unmanaged<AnyObject>.passUnretained(session).toOpaque())
    }

    func add(_ session: any GatewayOutlet) {
        counters.sessions += 1
        counters.sessionsByProtocol[session.protocolName, default: 0] += 1
        counters.sessionsOpened += 1
        session.place = (UInt32(nextSlot), UInt32(slots[nextSlot].count))
        slots[nextSlot].append(session)
        nextSlot = (nextSlot + 1) % slots.count
    }

    func remove(_ session: any GatewayOutlet, reason: String) {
        guard let place = session.place else { return }
        session.place = nil
        counters.sessions -= 1
        counters.sessionsByProtocol[session.protocolName, default: 0] -= 1
        counters.sessionsClosed[reason, default: 0] += 1
        let last = slots[Int(place.slot)].removeLast()
        guard last !== session else { return }
        slots[Int(place.slot)][Int(place.index)] = last
        last.place = place
    }

    /// Whether one more handshake is accepted; a refusal is counted.
    func takesHandshake() -> Bool {
        guard handshakeRate.take(now: .now) else {
            counters.limitRefusals[.handshakesPerSecond, default: 0] += 1
            return false
        }
        return true
    }

    /// Counts an accepted connection. Returns false if there are too many.
    func connectionCame() -> Bool {
        counters.connections += 1
        return shared.connections.add(1, ordering: .relaxed).newValue <= options.maxConnections
    }

    func connectionGone() {
        counters.connections -= 1
        shared.connections.subtract(1, ordering: .relaxed)
    }

    /// Whether the address is exempt from the limits for addresses.
    func isTrusted(_ address: PeerAddress) -> Bool { options.trustedAddresses.contains { $0.contains(address) } }

    /// Records a refusal. `isTold`: it is in the log already.
    func refused(_ reason: GatewayCounters.Refusal, from address: PeerAddress?, isTold: Bool = false) {
        counters.refusals[reason, default: 0] += 1
        guard !isTold, let count = refusalLines.happened(reason, now: .now) else { return }
        logger.info(
            "refused",
            metadata: [
                "reason": "\(reason.rawValue)", "count": "\(count)", "address": "\(address.map(\.description) ?? "")",
            ])
    }

    func startTiming(_ connection: any TimedConnection) { timed[ObjectIdentifier(connection)] = connection }

    func stopTiming(_ connection: any TimedConnection) { timed[ObjectIdentifier(connection)] = nil }

    /// See ``GatewayServer/closeAll(_:spread:)``.
    func closeAll(_ reason: CloseReason, spread: Duration) {
        let sessions = slots.joined().shuffled()
        let total = max(1, sessions.count)
        for (index, session) in sessions.enumerated() {
            let delay = spread * ((Double(index) + 0.5) / Double(total))
            if reason == .draining {
                session.send(.draining(reconnectAfter: UInt64(clamping: delay.wholeMilliseconds)))
            }
            eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(delay)) { session.close(reason) }
        }
    }

    private func tickPassed() {
        let now = Moment.now
        for connection in timed.values { connection.checkDeadline(now: now) }
        currentSlot = (currentSlot + 1) % slots.count
        for session in slots[currentSlot] { session.heartbeatDue(now: now) }
    }
}

extension GatewayLoop: TickWork {
    func tickEnded(_ phase: LoopTick.Phase) {
        switch phase {
        case .sessions: flushDirty()
        case .deliveries, .broker: break
        }
    }
}

/// An object on a connection that has a deadline.
protocol TimedConnection: AnyObject {
    /// Closes the connection if its deadline has passed.
    func checkDeadline(now: Moment)
    /// Closes the connection at once.
    func cut()
}

/// What every loop is constructed from.
struct GatewayParts: Sendable {
    var options: GatewayOptions
    var service: any ChatService
    var authenticator: any Authenticator
    var logger: Logger
    var routes: HTTPRoutes
    var shared: GatewayShared
    var protocols: ProtocolRegistry
}

/// State that the loops share: only what is touched once per connection, or before it is a session.
final class GatewayShared: Sendable {
    let connections = Atomic<Int>(0)
    /// The number of tasks that are answering HTTP requests.
    let answering = Atomic<Int>(0)
    /// Why new connections are refused; nil if they are not.
    let fullness = NIOLockedValueBox<String?>(nil)
    /// How often the node became full.
    let timesFull = Atomic<UInt64>(0)
    /// How often the kernel failed to accept a connection.
    let acceptErrors = Atomic<UInt64>(0)
    let addresses: AddressBook
    /// All loops of the gateway, in order. Set before any connection comes.
    let loops = NIOLockedValueBox<[NIOLoopBound<GatewayLoop>]>([])

    /// The loop with this index.
    func loop(_ index: Int) -> NIOLoopBound<GatewayLoop>? {
        loops.withLockedValue { $0.indices.contains(index) ? $0[index] : nil }
    }

    init(options: GatewayOptions) {
        addresses = AddressBook(
            connections: options.limits.connectionsPerAddress, bytesPerSecond: options.limits.bytesPerSecondPerAddress,
            failuresPerMinute: options.limits.failuresPerMinutePerAddress)
    }
}
