import ChatCore
import Glibc
import Histogram

/// A room on the thread that sees to it.
final class BenchRoom {
    let number: Int
    let name: String
    var members: [BenchMember] = []
    var frame: BenchSend
    var said: UInt64 = 0
    var acked: UInt64 = 0
    /// Over all members.
    var delivered: UInt64 = 0
    /// Where in a `message` frame the position's digits begin.
    let positionAt: Int

    init(number: Int, name: String, size: Int) {
        self.number = number
        self.name = name
        frame = BenchSend(room: name, size: size)
        positionAt = #"{"type":"message","room":"\#(name)","position":""#.utf8.count
    }
}

/// One connection, in one room.
final class BenchMember {
    enum Phase {
        case idle, connecting, shaking, joining, live, gone
    }

    let mark: Int
    unowned let room: BenchRoom
    let number: Int
    let node: Int
    var phase = Phase.idle
    var socket: BenchSocket?
    var startedAt: UInt64 = 0
    var ledger = BenchLedger()
    /// A frame of which not all has come.
    var partial: [UInt8] = []

    init(mark: Int, room: BenchRoom, number: Int, node: Int) {
        self.mark = mark
        self.room = room
        self.number = number
        self.node = node
    }

    var isJoining: Bool {
        switch phase {
        case .connecting, .shaking, .joining: true
        case .idle, .live, .gone: false
        }
    }
}

/// What comes in.
extension BenchThread {
    func readable(_ member: BenchMember) {
        guard let socket = member.socket else { return }
        let count = recv(socket.descriptor, buffer.baseAddress, buffer.count, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            lost(member, count == 0 ? "closed by the node" : String(cString: strerror(errno)))
            return
        }
        heardAt = BenchPoll.now
        if member.partial.isEmpty {
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            let used = take(bytes, member)
            if used < count { member.partial = Array(bytes[used...]) }
        } else {
            member.partial += UnsafeRawBufferPointer(rebasing: buffer[..<count])
            let all = member.partial
            let used = all.withUnsafeBytes { take($0, member) }
            member.partial = used == all.count ? [] : Array(all[used...])
        }
    }

    /// Returns how many bytes were whole frames.
    private func take(_ bytes: UnsafeRawBufferPointer, _ member: BenchMember) -> Int {
        var index = 0
        if member.phase == .shaking {
            guard let end = BenchFrames.find("\r\n\r\n", bytes, in: 0..<bytes.count) else { return 0 }
            guard BenchFrames.find("HTTP/1.1 101", bytes, in: 0..<min(12, bytes.count)) != nil else {
                let status = String(decoding: bytes.prefix(12), as: UTF8.self)
                lost(member, "handshake refused: \(status)")
                return bytes.count
            }
            member.phase = .joining
            index = end + 4
        }
        while let frame = BenchFrames.next(bytes, &index) {
            switch frame.opcode {
            case 1: event(bytes, frame.payload, member)
            case 8: closed(bytes, frame.payload, member)
            // A pong with the ping's payload, masked with zeros.
            case 9: send([0x8A, 0x80 | UInt8(frame.payload.count), 0, 0, 0, 0] + bytes[frame.payload], member)
            default: break
            }
        }
        return index
    }

    private func event(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        switch BenchFrames.kind(bytes, payload) {
        case .message: message(bytes, payload, member)
        case .sent: member.room.acked += 1
        case .joined: joined(bytes, payload, member)
        case .error: result.note("error \(word(after: "\"name\":\"", bytes, payload))", 1)
        case .gap: result.note("gap announced", 1)
        case .reset: result.note("reset announced", 1)
        case .draining: result.note("told to reconnect", 1)
        case .presence, .left, .other: break
        }
    }

    private func message(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        let room = member.room
        let textAt = payload.upperBound - 2 - plan.size
        guard
            let position = BenchFrames.position(
                bytes, at: payload.lowerBound + room.positionAt, before: payload.upperBound),
            let stamp = BenchFrames.hex(bytes, at: textAt, count: BenchSend.stampDigits),
            let node = BenchFrames.hex(bytes, at: textAt + BenchSend.stampDigits, count: BenchSend.nodeDigits)
        else { return result.note("message not of this run", 1) }
        member.ledger.saw(seq: position.seq, stamp: stamp)
        room.delivered += 1
        if stamp >= measureFrom {
            result.measuredDeliveries += 1
            let latency = heardAt > stamp ? heardAt - stamp : 0
            if Int(node) == member.node & 0xFF {
                _ = result.sameNode.record(latency)
            } else {
                _ = result.crossNode.record(latency)
            }
        }
        if case .closed(let inFlight) = plan.pace { keepGoing(room, inFlight: inFlight, now: heardAt) }
    }

    private func joined(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        guard let start = BenchFrames.find("\"position\":\"", bytes, in: payload),
            let position = BenchFrames.position(bytes, at: start + 12, before: payload.upperBound)
        else { return lost(member, "joined without a position") }
        member.ledger.joined(at: position.seq)
        member.phase = .live
        _ = result.joining.record(BenchPoll.now - member.startedAt)
    }

    private func closed(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        let reason = String(decoding: bytes[payload].dropFirst(2), as: UTF8.self)
        lost(member, "closed by the node: \(reason)")
    }

    private func lost(_ member: BenchMember, _ why: String) {
        guard member.phase != .gone else { return }
        member.phase = .gone
        member.socket?.close()
        member.socket = nil
        result.note(why, 1)
    }

    private func word(after mark: StaticString, _ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>) -> String {
        guard let start = BenchFrames.find(mark, bytes, in: payload) else { return "?" }
        let rest = bytes[(start + mark.utf8CodeUnitCount)..<payload.upperBound]
        return String(decoding: rest.prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
    }
}
