import ChatCore
import ChatJSON
import ChatWire
import MartletClient
import NIOCore

/// A user who speaks another protocol over one WebSocket, by the rules of a ``ReplayWire``.
final class ReplayWireSession: ReplaySession {
    private typealias Answer = Result<Position?, ClientError>

    private let loop: any EventLoop
    private let address: ClientURL
    private let user: UserID
    private let options: ClientOptions
    private let hear: @Sendable (ReplayNews) -> Void
    private var wire: any ReplayWire
    private var link: ClientLink?
    private lazy var http = ReplayHTTP(to: address, loop: loop)
    private var serial = 0
    private var isReady = false
    private var isOver = false
    /// Frames for when requests can be sent.
    private var held: [String] = []
    private var waiting: [Int: (Answer) -> Void] = [:]
    private var sends: [Int: (room: RoomName, text: String, tries: Int)] = [:]
    /// Rooms whose join has not been answered.
    private var joining: [Int: RoomName] = [:]

    init(
        speaking wire: any ReplayWire, to address: ClientURL, user: UserID, options: ClientOptions,
        loop: any EventLoop, hear: @escaping @Sendable (ReplayNews) -> Void
    ) {
        self.wire = wire
        self.address = address
        self.user = user
        self.options = options
        self.loop = loop
        self.hear = hear
    }

    var place: String { isReady ? "connected to \(address.authority)" : "not connected" }

    func start() {
        let link = ClientLink(owner: self, loop: loop)
        self.link = link
        link.connect(to: address, target: wire.target(user: user), subprotocol: wire.subprotocol, options: options)
    }

    func join(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        guard wire.joinsAfter else { return join(room, after: nil, done) }
        http.get("/api/rooms/\(percentEncoded(room.text))/messages?limit=1&user=replay") { [weak self] answer in
            guard let self else { return }
            switch answer {
            case .success(let page): join(room, after: page["newest"]?.string.flatMap { Position($0) }, done)
            case .failure(let error): done(.failure(error))
            }
        }
    }

    private func join(
        _ room: RoomName, after: Position?, _ done: @escaping (Result<Void, ClientError>) -> Void
    ) {
        let serial = request { done($0.map { _ in }) }
        if wire.joinsAfter {
            hear(.joined(room, after ?? Position(epoch: 0, seq: 0)))
        } else {
            joining[serial] = room
        }
        write(wire.join(room, after: after, serial: serial))
    }

    func leave(_ room: RoomName, _ done: @escaping (Result<Void, ClientError>) -> Void) {
        let serial = request { done($0.map { _ in }) }
        write(wire.leave(room, serial: serial))
    }

    func send(_ text: String, in room: RoomName, _ done: @escaping (Result<Position, ClientError>) -> Void) {
        let serial = request { answer in
            let none = ClientError.rejected("a send was answered without a position")
            done(answer.flatMap { $0.map { .success($0) } ?? .failure(none) })
        }
        sends[serial] = (room, text, 0)
        write(wire.send(text, in: room, serial: serial, isRepeated: false))
    }

    func close() {
        isOver = true
        link?.close()
        link = nil
        http.close()
    }

    // MARK: Requests

    private func request(_ done: @escaping (Answer) -> Void) -> Int {
        serial += 1
        waiting[serial] = done
        if isOver { loop.assumeIsolated().execute { self.failAll(.closed) } }
        return serial
    }

    private func write(_ frame: String) {
        guard isReady else { return held.append(frame) }
        writeNow(frame)
    }

    private func writeNow(_ frame: String) {
        var frame = frame
        frame.withUTF8 { link?.write(UnsafeRawBufferPointer($0)) }
        link?.flush()
    }

    private func answer(_ serial: Int, _ answer: Answer) {
        sends[serial] = nil
        waiting.removeValue(forKey: serial)?(answer)
    }

    /// A refused send is tried again if it may succeed later, with its key.
    private func refused(_ serial: Int, _ fault: ServerFault) {
        guard fault.retry, var send = sends[serial], send.tries < Self.mostTries else {
            return answer(serial, .failure(.refused(fault)))
        }
        send.tries += 1
        sends[serial] = send
        loop.assumeIsolated().scheduleTask(in: .milliseconds(250)) { [weak self] in
            guard let self, let send = sends[serial] else { return }
            write(wire.send(send.text, in: send.room, serial: serial, isRepeated: true))
        }
    }

    private static let mostTries = 240

    private func failAll(_ error: ClientError) {
        let all = waiting
        waiting = [:]
        sends = [:]
        for done in all.values { done(.failure(error)) }
    }

    private func perform(_ event: ReplayWireEvent) {
        switch event {
        case .ready:
            isReady = true
            hear(.connected)
            let frames = held
            held = []
            for frame in frames { writeNow(frame) }
        case .reply(let frame): writeNow(frame)
        case .answered(let serial, let position):
            if let room = joining.removeValue(forKey: serial) {
                guard let position else {
                    return answer(serial, .failure(.rejected("a join was answered without a position")))
                }
                hear(.joined(room, position))
            }
            answer(serial, .success(position))
        case .refused(let serial, let fault): refused(serial, fault)
        case .message(let room, let message): hear(.message(room, message))
        case .gap(let room, let gap): hear(.gap(room, gap))
        case .reset: hear(.reset)
        case .failed(let problem):
            ended(.unreadable(problem))
            close()
        }
    }

    private func ended(_ reason: DisconnectReason) {
        guard !isOver else { return }
        isOver = true
        isReady = false
        hear(.disconnected(reason, isFinal: true))
        failAll(.rejected("\(reason)"))
    }
}

extension ReplayWireSession: ClientLinkOwner {
    func linkOpened(_ link: ClientLink) {
        if let opening = wire.opening { writeNow(opening) }
    }

    func linkHeard(_ link: ClientLink) {}

    func link(_ link: ClientLink, received bytes: UnsafeRawBufferPointer) {
        guard !isOver else { return }
        for event in wire.received(String(decoding: bytes, as: UTF8.self)) { perform(event) }
    }

    func linkClosed(_ link: ClientLink, _ reason: DisconnectReason) { ended(reason) }
}
