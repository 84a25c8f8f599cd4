public import ChatCore
public import NIOCore
import NIOPosix

import struct ChatJSON.ByteWriter

/// The identity that a client claims, and its proof.
public struct ClientIdentity: Sendable, Hashable {
    /// Sent as `?user=`, which a node accepts without proof in development mode.
    public var user: String?
    /// The name of the user's device; by default the node makes one up.
    public var device: String?
    /// Sent as `Authorization: Bearer …`.
    public var token: String?

    public init(user: String? = nil, device: String? = nil, token: String? = nil) {
        self.user = user
        self.device = device
        self.token = token
    }
}

/// A client on an event loop, with callbacks instead of tasks, for programs that run thousands of sessions. Use
/// ``MartletClient`` otherwise.
///
/// It reconnects, resumes and repeats by the rules of ``ClientStateMachine``. All methods must be called on `loop`. All
/// callbacks are made on it, never within the call that made the request, and each completion is called exactly once.
public final class ClientSession: @unchecked Sendable {
    // Proof for @unchecked: apart from `let`, everything is used on `loop` only, which each method asserts.
    /// Called with the answer to a request.
    public typealias Completion = (Result<ClientStateMachine.Reply, ClientError>) -> Void

    /// The loop on which the session is used, and calls back.
    public let loop: any EventLoop
    private let addresses: [ClientURL]
    private let identity: ClientIdentity
    private let options: ClientOptions
    private var machine: ClientStateMachine
    private var completions: [ClientStateMachine.RequestID: Completion] = [:]
    private var onEvent: ((ClientEvent) -> Void)?

    private var link: ClientLink?
    private var isRunning = false
    private var timer: Scheduled<Void>?
    private var timerDue: Moment?
    private var reads = true
    private var scratch = ByteWriter()

    /// `onEvent` is called on `loop`. `seed`: any random number. `namesRoom`: the URL of the connection names the first
    /// room, so that a proxy can hash on it.
    public init(
        addresses: [ClientURL], identity: ClientIdentity, options: ClientOptions = ClientOptions(),
        namesRoom: Bool = true,
        loop: any EventLoop, seed: UInt64 = .random(in: .min ... .max),
        onEvent: @escaping @Sendable (ClientEvent) -> Void
    ) {
        self.loop = loop
        self.addresses = addresses
        self.identity = identity
        self.options = options
        self.onEvent = onEvent
        machine = ClientStateMachine(
            addresses: addresses.count, namesRoom: namesRoom, options: options, seed: seed)
    }

    /// The node's `welcome` on this connection; nil before it came.
    public var welcome: Welcome? {
        loop.assertInEventLoop()
        return machine.welcome
    }

    /// Starts connecting. Called once.
    public func start() {
        loop.assertInEventLoop()
        machine.start(now: now)
        run()
    }

    /// Joins a room, as ``MartletClient/join(_:after:history:)`` does.
    public func join(
        _ room: RoomName, after: Position? = nil, history: Int? = nil, _ completion: @escaping Completion
    ) {
        loop.assertInEventLoop()
        expect(machine.join(room, after: after, history: history, now: now), completion)
    }

    /// Leaves a room after the sends made so far are answered.
    public func leave(_ room: RoomName, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.leave(room, now: now), completion)
    }

    /// Sends a message, under the same key until it is answered.
    public func send(_ request: SendRequest, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.send(request, now: now), completion)
    }

    /// Reads a page of a room's log.
    public func history(_ room: RoomName, _ query: HistoryQuery, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.history(room, query, now: now), completion)
    }

    /// Reads a page of a room's members.
    public func roster(_ room: RoomName, cursor: String? = nil, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.roster(room, cursor: cursor, now: now), completion)
    }

    /// Changes an earlier message, or erases several, under the same key until it is answered.
    public func amend(_ request: AmendRequest, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.amend(request, now: now), completion)
    }

    /// Changes or reads who belongs to a conversation, and what the user keeps.
    public func converse(_ order: ConversationOrder, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.converse(order, now: now), completion)
    }

    /// Asks about the user's conversations, apart from what is read.
    public func ask(_ request: InboxRequest, _ completion: @escaping Completion) {
        loop.assertInEventLoop()
        expect(machine.ask(request, now: now), completion)
    }

    /// Notes up to where the user has read the room.
    public func read(_ room: RoomName, upTo position: Position) {
        loop.assertInEventLoop()
        machine.read(room, position, now: now)
        run()
    }

    /// Returns false if there is no connection, or if the rate limit forbids it now: the signal is lost.
    @discardableResult
    public func signal(_ room: RoomName, _ name: String, data: String? = nil) -> Bool {
        loop.assertInEventLoop()
        defer { run() }
        return machine.signal(room, name, data: data, now: now)
    }

    /// Closes the session. Every waiting request fails as ``ClientError/closed``.
    public func close() {
        loop.assertInEventLoop()
        machine.close()
        run()
    }

    /// Sets whether to read from the socket. A consumer that is behind stops reading, and so puts back pressure on the
    /// node.
    public func setReading(_ reads: Bool) {
        loop.assertInEventLoop()
        self.reads = reads
        machine.readingChanged(reads, now: now)
        link?.setReading(reads)
        setTimer()
    }

    // MARK: Carrying out

    private var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    private func expect(_ id: ClientStateMachine.RequestID, _ completion: @escaping Completion) {
        completions[id] = completion
        // Completions are not called within the call, because the caller may not be ready for its own answer yet.
        if machine.actions.contains(where: { if case .complete(id, _) = $0 { true } else { false } }) {
            loop.execute { self.run() }
        } else {
            run()
        }
    }

    private func run() {
        // A callback may make further requests; their actions are carried out after the present ones.
        guard !isRunning else { return }
        isRunning = true
        while !machine.actions.isEmpty {
            let actions = machine.actions
            machine.actions = []
            for action in actions { perform(action) }
        }
        isRunning = false
        link?.flush()
        setTimer()
        if machine.isClosed, completions.isEmpty { onEvent = nil }
    }

    private func perform(_ action: ClientStateMachine.Action) {
        switch action {
        case .connect(let address, let room):
            let link = ClientLink(owner: self, loop: loop)
            self.link = link
            let address = addresses[min(address, addresses.count - 1)]
            var parameters: [(name: String, value: String)] = []
            if let user = identity.user { parameters.append(("user", user)) }
            if let device = identity.device { parameters.append(("device", device)) }
            if let room { parameters.append(("room", room.text)) }
            link.connect(
                to: address, target: address.target(adding: parameters), subprotocol: "martlet.v1",
                token: identity.token, options: options)
            if !reads { link.setReading(false) }
        case .disconnect:
            let old = link
            link = nil
            old?.close()
        case .write(let request):
            scratch.removeAll()
            request.write(to: &scratch)
            scratch.withBytes { link?.write($0) }
        case .complete(let id, let result): completions.removeValue(forKey: id)?(result)
        case .emit(let event): onEvent?(event)
        }
    }

    private func setTimer() {
        guard let due = machine.nextDeadline else {
            timer?.cancel()
            timer = nil
            return
        }
        // A timer that fires too early only checks again, so a deadline that moves back needs no new timer.
        if timer != nil, let timerDue, timerDue <= due { return }
        timer?.cancel()
        timerDue = due
        timer = loop.scheduleTask(deadline: .uptimeNanoseconds(due.nanoseconds)) { [weak self] in
            guard let self else { return }
            timer = nil
            machine.timerFired(now: now)
            run()
        }
    }
}

extension ClientSession: ClientLinkOwner {
    package func linkOpened(_ link: ClientLink) {}

    package func linkHeard(_ link: ClientLink) {
        guard link === self.link else { return }
        machine.heard(now: now)
    }

    package func link(_ link: ClientLink, received bytes: UnsafeRawBufferPointer) {
        guard link === self.link else { return }
        switch FrameReader.read(bytes) {
        case .success(let frame): machine.received(frame, now: now)
        case .failure(let error): machine.receivedUnreadable(error.problem, now: now)
        }
        run()
    }

    package func linkClosed(_ link: ClientLink, _ reason: DisconnectReason) {
        guard link === self.link else { return }
        self.link = nil
        machine.connectionClosed(reason, now: now)
        run()
    }
}
