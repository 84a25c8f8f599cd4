import ChatCore
import ChatRedis
import Foundation
import Logging
import NIOCore
import NIOPosix

/// A call of a link to its delegate.
enum LinkEvent: Sendable, Equatable {
    case completed(UInt64, Result<BrokerReply, BrokerError>)
    case subscribed(Entity)
    case unsubscribed(Entity)
    case heard(Entity, ChatCore.ChannelEvent)

    static func subscribed(_ room: RoomName) -> LinkEvent { .subscribed(.room(room)) }
    static func unsubscribed(_ room: RoomName) -> LinkEvent { .unsubscribed(.room(room)) }
    static func heard(_ room: RoomName, _ event: ChatCore.ChannelEvent) -> LinkEvent { .heard(.room(room), event) }
    case commandsUp(BrokerIdentity, BrokerScope)
    case commandsDown(String, BrokerScope)
    case subscriptionsUp(BrokerIdentity, BrokerScope)
    case subscriptionsDown(String, BrokerScope)

    /// The scope of an event about a connection.
    var scope: BrokerScope? {
        switch self {
        case .commandsUp(_, let scope), .commandsDown(_, let scope), .subscriptionsUp(_, let scope),
            .subscriptionsDown(_, let scope):
            scope
        case .completed, .subscribed, .unsubscribed, .heard: nil
        }
    }

    var serial: UInt64? {
        if case .completed(let serial, _) = self { serial } else { nil }
    }
    var isCommandsUp: Bool {
        if case .commandsUp = self { true } else { false }
    }
    var isCommandsDown: Bool {
        if case .commandsDown = self { true } else { false }
    }
    var isSubscriptionsUp: Bool {
        if case .subscriptionsUp = self { true } else { false }
    }
    var isSubscriptionsDown: Bool {
        if case .subscriptionsDown = self { true } else { false }
    }
}

/// A link on a loop of its own that a test's task drives: requests go in, events come out, and each wait has a
/// deadline.
final class LinkProbe: @unchecked Sendable {
    struct TimedOut: Error, CustomStringConvertible {
        var description: String
    }

    private struct Waiter {
        var id: UUID
        var matches: (LinkEvent) -> Bool
        var continuation: CheckedContinuation<LinkEvent, any Error>
    }

    let eventLoop: any EventLoop
    private let link: NIOLoopBound<any BrokerLink>
    private let recorder: Recorder
    // Guarded by `lock`: the loop appends, tests read.
    private let lock = NSLock()
    private var events: [LinkEvent] = []
    private var cursor = 0
    private var waiters: [Waiter] = []

    /// Makes the link on a loop and starts it.
    static func start(
        on loop: (any EventLoop)? = nil, _ make: @escaping @Sendable (any EventLoop) throws -> any BrokerLink
    ) async throws -> LinkProbe {
        let eventLoop = loop ?? MultiThreadedEventLoopGroup.singleton.next()
        return try await eventLoop.submit {
            let probe = LinkProbe(try make(eventLoop), eventLoop)
            probe.link.value.delegate = probe.recorder
            probe.link.value.start()
            return probe
        }.get()
    }

    private init(_ link: any BrokerLink, _ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.link = NIOLoopBound(link, eventLoop: eventLoop)
        recorder = Recorder()
        recorder.probe = self
    }

    /// Calls the link on its loop.
    func with(_ body: @escaping @Sendable (any BrokerLink) -> Void) async throws {
        try await eventLoop.submit { body(self.link.value) }.get()
    }

    func submit(_ request: BrokerRequest, serial: UInt64) async throws {
        try await with { $0.submit(request, tag: RequestTag(owner: 1, generation: 2, serial: serial)) }
    }

    /// Submits a request, and waits for the answer.
    func ask(_ request: BrokerRequest, serial: UInt64 = .random(in: 1_000_000 ... .max)) async throws -> Result<
        BrokerReply, BrokerError
    > {
        try await submit(request, serial: serial)
        let event = try await next("an answer to request \(serial)") { $0.serial == serial }
        guard case .completed(_, let result) = event else { throw TimedOut(description: "no completion") }
        return result
    }

    /// Submits a request, and waits both for the answer and for an event of the same request. The two come over two
    /// connections, so either may be first, and `ask` would pass the event by.
    func ask(
        _ request: BrokerRequest, andHear what: String, where matches: @escaping (LinkEvent) -> Bool
    ) async throws -> Result<BrokerReply, BrokerError> {
        let serial = UInt64.random(in: 1_000_000 ... .max)
        try await submit(request, serial: serial)
        var (result, heard): (Result<BrokerReply, BrokerError>?, Bool) = (nil, false)
        while true {
            if let result, heard { return result }
            let event = try await next("an answer to request \(serial) and \(what)") {
                $0.serial == serial || matches($0)
            }
            if case .completed(serial, let answer) = event { result = answer } else { heard = true }
        }
    }

    /// The number of replicas that confirm.
    func confirmed(replicas count: Int, within time: Duration = .seconds(30)) async throws -> Int? {
        // The server at the other end of the command connection.
        let server = all.last { $0.isCommandsUp || $0.isCommandsDown }
        guard case .commandsUp(let identity, _)? = server else { return nil }
        let promise = eventLoop.makePromise(of: Int?.self)
        try await with { $0.confirm(replicas: count, of: identity, within: time) { promise.succeed($0) } }
        return try await promise.futureResult.get()
    }

    func stop() async throws { try await with { $0.stop() } }

    /// All events so far.
    var all: [LinkEvent] { lock.withLock { events } }

    /// The next event that matches, after the one found last. Fails after `deadline`.
    @discardableResult
    func next(
        _ what: String, within deadline: Duration = .seconds(60), where matches: @escaping (LinkEvent) -> Bool
    ) async throws -> LinkEvent {
        let id = UUID()
        let timeout = Task {
            try await Task.sleep(for: deadline)
            let waiter = self.lock.withLock {
                self.waiters.firstIndex { $0.id == id }.map { self.waiters.remove(at: $0) }
            }
            waiter?.continuation.resume(
                throwing: TimedOut(description: "waited \(deadline) for \(what); heard \(self.all.suffix(5))"))
        }
        defer { timeout.cancel() }
        return try await withCheckedThrowingContinuation { continuation in
            lock.withLock {
                while cursor < events.count {
                    let event = events[cursor]
                    cursor += 1
                    if matches(event) { return continuation.resume(returning: event) }
                }
                waiters.append(Waiter(id: id, matches: matches, continuation: continuation))
            }
        }
    }

    fileprivate func record(_ event: LinkEvent) {
        lock.withLock {
            events.append(event)
            guard let waiter = waiters.first else { return }
            cursor = events.count
            guard waiter.matches(event) else { return }
            waiters.removeFirst()
            waiter.continuation.resume(returning: event)
        }
    }

    private final class Recorder: BrokerLinkDelegate {
        weak var probe: LinkProbe?

        func brokerCompleted(_ tag: RequestTag, _ result: Result<BrokerReply, BrokerError>) {
            probe?.record(.completed(tag.serial, result))
        }
        func brokerSubscribed(_ entity: Entity) { probe?.record(.subscribed(entity)) }
        func brokerUnsubscribed(_ entity: Entity) { probe?.record(.unsubscribed(entity)) }
        func brokerHeard(_ entity: Entity, _ event: ChatCore.ChannelEvent) { probe?.record(.heard(entity, event)) }
        func brokerCommandsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
            probe?.record(.commandsUp(identity, scope))
        }
        func brokerCommandsDown(_ reason: String, _ scope: BrokerScope) { probe?.record(.commandsDown(reason, scope)) }
        func brokerSubscriptionsUp(_ identity: BrokerIdentity, _ scope: BrokerScope) {
            probe?.record(.subscriptionsUp(identity, scope))
        }
        func brokerSubscriptionsDown(_ reason: String, _ scope: BrokerScope) {
            probe?.record(.subscriptionsDown(reason, scope))
        }
    }
}
