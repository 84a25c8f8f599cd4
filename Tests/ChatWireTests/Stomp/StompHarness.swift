import ChatCore
import ChatJSON
import ChatWire
import Synchronization

/// A frame that the node sent.
struct SentFrame: Equatable {
    var command: String
    var headers: [String: String]
    var body: String

    subscript(_ name: String) -> String? { headers[name] }
}

/// One connection with a node whose answers a test gives: requests come out, events go in, and frames are collected.
final class StompHarness {
    let shared: StompProtocol
    let connection: any ClientWriter
    private(set) var requests: [ClientRequest] = []
    private(set) var hello: ClientHello?
    private(set) var bytes: [UInt8] = []
    private(set) var isTextOnly = true
    private(set) var ended: ProtocolFarewell?
    private(set) var saidGoodbye = false
    /// Answers a request at once, as the session's own limits do.
    var atOnce: (ClientRequest) -> ServerEvent? = { _ in nil }
    var now = Moment(nanoseconds: 1_000_000_000_000)
    var lastWritten = Moment(nanoseconds: 1_000_000_000_000)
    let me: UserID
    let version: StompVersion

    init(_ version: StompVersion = .v12, limits: Limits = Limits(), connect: String? = "") throws {
        self.version = version
        shared = StompProtocol(limits: limits, random: Self.numbers(from: 0))
        guard let writer = shared.makeReader() as? any ClientWriter else { throw NoFrame("no writer") }
        connection = writer
        me = try UserID("ana")
        guard let connect else { return }
        try self.connect(connect)
    }

    /// Numbers that differ from each other.
    static func numbers(from first: UInt64) -> @Sendable () -> UInt64 {
        let last = Mutex(first)
        return {
            last.withLock {
                $0 += 1
                return $0
            }
        }
    }

    struct NoFrame: Error {
        let text: String
        init(_ text: String) { self.text = text }
    }

    func connect(_ headers: String = "") throws {
        read("CONNECT\naccept-version:\(version.text)\nlogin:ana\n\(headers)\n\0")
        try welcome()
        _ = try next("CONNECTED")
    }

    func welcome() throws {
        give(
            .welcome(
                Welcome(
                    session: "n-1", user: me, device: try DeviceName("d"), node: "n", heartbeat: 25, limits: Limits())))
        passTime()
    }

    func read(_ text: String) { read(Array(text.utf8)) }

    func read(_ bytes: [UInt8], isText: Bool = true) {
        connection.read(bytes, isText: isText) { take($0) }
        passTime()
    }

    /// The node says that to this session alone.
    func give(_ event: ServerEvent) {
        connection.write(event, viewer: me) { say($0, $1) }
        passTime()
    }

    /// The node says that to all sessions of the room.
    func broadcast(_ event: ServerEvent) {
        switch connection.form(of: event) {
        case .nothing: break
        case .own: give(event)
        case .whole: say(encoded(event), true)
        case .prefixed(let prefix): say(prefix.bytes + encoded(event), true)
        }
        passTime()
    }

    private func encoded(_ event: ServerEvent) -> [UInt8] {
        var bytes = ByteWriter()
        shared.encode(event, viewer: nil, into: &bytes)
        return bytes.array
    }

    /// Lets the connection do what is due.
    func passTime(_ duration: Duration = .zero) {
        now = now + duration
        var rounds = 0
        while let deadline = connection.deadline, deadline <= now, rounds < 100, ended == nil {
            connection.timePassed(now: now, lastWritten: lastWritten) { take($0) }
            rounds += 1
        }
    }

    private func take(_ input: ClientInput) {
        switch input {
        case .hello(let said): hello = said
        case .request(let request):
            requests.append(request)
            if let event = atOnce(request) { connection.write(event, viewer: me) { say($0, $1) } }
        case .failure, .restart: break
        case .goodbye: saidGoodbye = true
        case .say(let bytes, let isText): say(bytes, isText)
        case .end(let farewell, _):
            bytes += farewell.payload
            ended = farewell
        }
    }

    private func say(_ said: [UInt8], _ isText: Bool) {
        bytes += said
        isTextOnly = isTextOnly && isText
        lastWritten = now
    }

    // MARK: What came out

    /// The next frame, which must be this one.
    func next(_ command: String) throws -> SentFrame {
        let frame = try nextFrame()
        guard frame.command == command else { throw NoFrame("\(frame)") }
        return frame
    }

    func nextFrame() throws -> SentFrame {
        while bytes.first == 0x0A { bytes.removeFirst() }
        guard let split = bytes.firstRange(of: [0x0A, 0x0A]) else { throw NoFrame("none: \(bytes)") }
        let lines = String(decoding: bytes[..<split.lowerBound], as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw NoFrame("\(line)") }
            let name = String(line[..<colon])
            if headers[name] == nil { headers[name] = String(line[line.index(after: colon)...]) }
        }
        let start = split.upperBound
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        guard start + length < bytes.count, bytes[start + length] == 0 else { throw NoFrame("no NUL") }
        let frame = SentFrame(
            command: String(lines[0]), headers: headers,
            body: String(decoding: bytes[start..<start + length], as: UTF8.self))
        bytes.removeFirst(start + length + 1)
        return frame
    }

    var isQuiet: Bool { bytes.allSatisfy { $0 == 0x0A } }

    func takeBytes() -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    func takeRequests() -> [ClientRequest] {
        defer { requests = [] }
        return requests
    }

    // MARK: Shorthands

    static func room(_ name: String) throws -> RoomName { try RoomName(name) }

    func message(_ seq: UInt64, _ text: String?, data: String? = nil, by user: String = "bo") throws -> Message {
        Message(
            position: Position(epoch: 7, seq: seq),
            content: MessageContent(user: try UserID(user), at: 1_763_694_000_000, text: text, data: data))
    }

    /// Answers the last request, which is a join.
    func answerJoin(
        at seq: UInt64 = 0, _ messages: [Message] = [], _ resumption: Resumption = .fresh
    ) throws {
        guard let request = takeRequests().last, case .join(let room, _, _) = request.body else {
            throw NoFrame("no join")
        }
        give(
            .joined(
                Joined(
                    ref: request.ref, room: room, position: Position(epoch: 7, seq: seq), messages: messages,
                    members: nil, count: 1, resumption: resumption)))
    }

    /// Subscribes, and is in the room.
    func subscribe(_ room: String, id: String = "s1", _ headers: String = "", at seq: UInt64 = 0) throws {
        read("SUBSCRIBE\nid:\(id)\ndestination:/topic/\(room)\n\(headers)\n\0")
        try answerJoin(at: seq)
    }
}

extension SplitMix64 {
    /// 0..<bound
    mutating func below(_ bound: Int) -> Int { bound <= 1 ? 0 : Int(next() % UInt64(bound)) }
}
