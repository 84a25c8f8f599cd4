import ChatJSON
import Dispatch
import Glibc
import Histogram

/// Sessions that connect, join, leave and close at a fixed rate. Measures their cost, whether any of them fails, and
/// whether the memory of the nodes stays constant.
struct BenchChurn {
    var plan: BenchPlan
    var urls: [String]
    var prefix: String
    var perSecond: Double
    var processes: [BenchProcess]

    func measure() async throws -> BenchChurnOutcome {
        var addresses: [BenchAddress] = []
        for url in urls { addresses.append(try BenchAddress(url)) }
        var processes = processes
        for index in processes.indices { processes[index].before = BenchSample.of(processes[index].pid) }
        // A warm-up, so that memory that the first sessions occupy for good is not counted.
        _ = await run(addresses, seconds: plan.warmup)
        for index in processes.indices { processes[index].start = BenchSample.of(processes[index].pid) }
        let began = BenchPoll.now
        let result = await run(addresses, seconds: plan.seconds)
        let elapsed = BenchPoll.now - began
        try await Task.sleep(for: .milliseconds(500))
        for index in processes.indices { processes[index].end = BenchSample.of(processes[index].pid) }
        return BenchChurnOutcome(
            perSecond: perSecond, result: result, processes: processes, seconds: Double(elapsed) / 1e9)
    }

    private func run(_ addresses: [BenchAddress], seconds: Double) async -> BenchChurnResult {
        let (plan, prefix, perSecond) = (plan, prefix, perSecond)
        return await withCheckedContinuation { continuation in
            DispatchQueue(label: "bench-churn").async {
                let thread = BenchChurnThread(plan: plan, addresses: addresses, prefix: prefix)
                continuation.resume(returning: thread.run(perSecond: perSecond, seconds: seconds))
            }
        }
    }
}

struct BenchChurnResult: Sendable {
    var begun: UInt64 = 0
    var finished: UInt64 = 0
    /// Measured from the beginning of a connection to `joined`, and to `left`.
    var joining = Histogram<UInt64>(highestTrackableValue: 120_000_000_000, numberOfSignificantValueDigits: .two)
    var whole = Histogram<UInt64>(highestTrackableValue: 120_000_000_000, numberOfSignificantValueDigits: .two)
    var troubles: [String: UInt64] = [:]
}

struct BenchChurnOutcome {
    var perSecond: Double
    var result: BenchChurnResult
    var processes: [BenchProcess]
    var seconds: Double

    var isGood: Bool { result.finished == result.begun && result.troubles.isEmpty }

    var text: String {
        var lines = [
            "\(result.finished) of \(result.begun) sessions connected, joined, left and closed in "
                + "\(BenchReport.short(seconds)) s",
            "        joined  p50 \(at(50, result.joining)), p99 \(at(99, result.joining))",
            "          left  p50 \(at(50, result.whole)), p99 \(at(99, result.whole))",
        ]
        for process in processes {
            guard let cpu = process.cpu, let start = process.start, let end = process.end else { continue }
            let each = BenchReport.short(Double(cpu) / Double(max(1, result.begun)) / 1_000)
            lines.append(
                "  \(process.role.rawValue) \(process.pid)  \(each) µs a session; "
                    + "memory \(start.memory / 1_024) KB, then "
                    + "\(end.memory / 1_024) KB")
        }
        for (trouble, count) in result.troubles.sorted(by: { $0.key < $1.key }) {
            lines.append("       trouble  \(count) × \(trouble)")
        }
        return lines.joined(separator: "\n")
    }

    private func at(_ place: Double, _ values: Histogram<UInt64>) -> String {
        values.totalCount > 0 ? BenchReport.milliseconds(values.valueAtPercentile(place)) : "never"
    }

    var json: String {
        JSONValue.object([
            "begun": .number("\(result.begun)"), "finished": .number("\(result.finished)"), "ok": .bool(isGood),
            "seconds": .number(BenchReport.short(seconds)),
            "joinedP99Microseconds": .number(
                "\(result.joining.totalCount > 0 ? result.joining.valueAtPercentile(99) / 1_000 : 0)"),
            "troubles": .object(result.troubles.mapValues { .number("\($0)") }),
            "processes": .array(
                processes.map { process in
                    .object([
                        "pid": .number("\(process.pid)"), "role": .string(process.role.rawValue),
                        "cpuMicroseconds": process.cpu.map { .number("\($0 / 1_000)") } ?? .null,
                        "memoryBytesAtStart": process.start.map { .number("\($0.memory)") } ?? .null,
                        "memoryBytesAtEnd": process.end.map { .number("\($0.memory)") } ?? .null,
                    ])
                }),
        ]).text
    }
}

/// A thread that makes the sessions.
private final class BenchChurnThread {
    private final class Session {
        let room: String
        let node: Int
        let socket: BenchSocket
        let startedAt = BenchPoll.now
        var hasShaken = false
        var isUpgraded = false
        var bytes: [UInt8] = []

        init(room: String, node: Int, socket: BenchSocket) {
            self.room = room
            self.node = node
            self.socket = socket
        }
    }

    private let plan: BenchPlan
    private let addresses: [BenchAddress]
    private let prefix: String
    private let poll = BenchPoll()
    private var buffer = [UInt8](repeating: 0, count: 16_384)
    private var sessions: [Int: Session] = [:]
    private var result = BenchChurnResult()

    init(plan: BenchPlan, addresses: [BenchAddress], prefix: String) {
        self.plan = plan
        self.addresses = addresses
        self.prefix = prefix
    }

    func run(perSecond: Double, seconds: Double) -> BenchChurnResult {
        var schedule = BenchSchedule(rooms: 1, perSecond: perSecond, start: BenchPoll.now)
        let end = BenchPoll.now + UInt64(seconds * 1e9)
        while schedule.due < end {
            if schedule.due <= BenchPoll.now {
                _ = schedule.next()
                begin()
            } else {
                wait(until: schedule.due)
            }
        }
        let giveUpAt = BenchPoll.now + 10_000_000_000
        while !sessions.isEmpty, BenchPoll.now < giveUpAt { wait(until: BenchPoll.now + 50_000_000) }
        if !sessions.isEmpty { result.troubles["never done", default: 0] += UInt64(sessions.count) }
        for session in sessions.values { session.socket.close() }
        return result
    }

    private func begin() {
        let mark = Int(result.begun)
        result.begun += 1
        let node = mark % addresses.count
        do throws(BenchError) {
            let socket = try BenchSocket(addresses[node], origin: mark)
            sessions[mark] = Session(room: "\(prefix)\(mark % plan.rooms)", node: node, socket: socket)
            poll.add(socket, mark: mark, writes: true)
        } catch {
            result.troubles[error.message, default: 0] += 1
        }
    }

    private func wait(until: UInt64) {
        poll.wait(until: until) { [self] mark, canRead, canWrite in
            guard let session = sessions[mark] else { return }
            if canWrite {
                if !session.hasShaken {
                    session.hasShaken = true
                    let address = addresses[session.node]
                    session.socket.send(
                        address.handshake(
                            BenchDialect.martlet.target(
                                path: address.path, room: session.room, user: "\(prefix)\(mark)"), isStream: false))
                }
                session.socket.sendRest()
                if !session.socket.hasUnsent { poll.change(session.socket, mark: mark, writes: false) }
            }
            if canRead { read(session, mark) }
        }
    }

    private func read(_ session: Session, _ mark: Int) {
        var count = buffer.count
        while count == buffer.count {
            count = recv(session.socket.descriptor, &buffer, buffer.count, 0)
            guard count > 0 else {
                if count < 0, errno == EAGAIN { break }
                return end(mark, trouble: "connection lost")
            }
            session.bytes += buffer[..<count]
        }
        let trouble = session.bytes.withUnsafeBytes { take($0, session, mark) }
        if let trouble { end(mark, trouble: trouble) }
    }

    /// Returns the reason why the session cannot continue.
    private func take(_ bytes: UnsafeRawBufferPointer, _ session: Session, _ mark: Int) -> String? {
        guard let head = BenchFrames.find("\r\n\r\n", bytes, in: 0..<bytes.count) else { return nil }
        if BenchFrames.find("HTTP/1.1 101", bytes, in: 0..<min(12, bytes.count)) == nil {
            return "handshake refused: " + String(decoding: bytes.prefix(12), as: UTF8.self)
        }
        var index = head + 4
        while let frame = BenchFrames.next(bytes, &index) {
            switch BenchFrames.kind(bytes, frame.payload) {
            case .joined where frame.opcode == 1:
                guard !session.isUpgraded else { continue }
                session.isUpgraded = true
                _ = result.joining.record(BenchPoll.now - session.startedAt)
                let leave = BenchDialect.martlet.text(of: .leave, room: session.room) ?? ""
                session.socket.send(BenchSend.frame(leave))
            case .left:
                _ = result.whole.record(BenchPoll.now - session.startedAt)
                result.finished += 1
                end(mark, trouble: nil)
                return nil
            case .error: return "a request was refused"
            case .message, .sent, .joined, .gap, .reset, .presence, .draining, .other: break
            }
        }
        return nil
    }

    private func end(_ mark: Int, trouble: String?) {
        if let trouble { result.troubles[trouble, default: 0] += 1 }
        sessions.removeValue(forKey: mark)?.socket.close()
    }
}
