import ChatCore
import Glibc
import Histogram

/// Incoming frames.
extension BenchThread {
    /// Reads until a read returns less than would have fitted.
    func readable(_ member: BenchMember) {
        var isMore = true
        while isMore, let socket = member.socket {
            let count = recv(socket.descriptor, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else {
                if count < 0, errno == EINTR { continue }
                if count < 0, errno == EAGAIN { return }
                return lost(member, count == 0 ? "closed by the node" : String(cString: strerror(errno)))
            }
            heardAt = BenchPoll.now
            if plan.acksAtOnce { socket.acknowledge() }
            read(count, member)
            isMore = count == buffer.count
        }
    }

    /// Handles the first `count` bytes of the buffer, together with what had come before.
    private func read(_ count: Int, _ member: BenchMember) {
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
            guard BenchFrames.find(plan.dialect.openedBy, bytes, in: 0..<min(12, bytes.count)) != nil else {
                let status = String(decoding: bytes.prefix(12), as: UTF8.self)
                lost(member, "handshake refused: \(status)")
                return bytes.count
            }
            index = end + 4
            upgraded(member)
        }
        guard !plan.dialect.posts else {
            while let event = BenchFrames.nextEvent(bytes, &index) {
                if let data = event.data { self.event(bytes, data, member) }
            }
            return index
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

    private func upgraded(_ member: BenchMember) {
        member.phase = .joining
        if plan.dialect.isJoinedOnceUpgraded { live(member, base: 0) }
        if let request = plan.dialect.opening { answer(request, member) }
    }

    private func answer(_ request: BenchDialect.Request, _ member: BenchMember) {
        guard let text = plan.dialect.text(of: request, room: member.room.name) else { return }
        send(BenchSend.frame(text), member)
    }

    private func event(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        switch plan.dialect.meaning(bytes, payload, size: plan.size) {
        case .message: message(bytes, payload, member)
        case .acked: member.room.acked += 1
        case .joined: joined(bytes, payload, member)
        case .asks(let request): answer(request, member)
        case .trouble: result.note(plan.dialect.trouble(bytes, payload), 1)
        case .left, .other: break
        }
    }

    private func message(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        let room = member.room
        let textAt = plan.dialect.textEnd(bytes, payload) - plan.size
        guard let label = BenchLabel(bytes, at: textAt), label.room == room.number,
            let seq = seq(of: label, bytes, payload, room)
        else { return result.note("message not of this run and room", 1) }
        let stamp = label.stamp
        // A repeated message is not a delivery: otherwise the run would end while others have not come once.
        guard member.ledger.saw(seq: seq, stamp: stamp) else { return }
        room.delivered += 1
        if stamp >= measureFrom {
            result.measuredDeliveries += 1
            let latency = heardAt > stamp ? heardAt - stamp : 0
            if label.node == member.node & 0xFF {
                _ = result.sameNode.record(latency)
            } else {
                _ = result.crossNode.record(latency)
            }
        }
        if case .closed(let inFlight) = plan.pace { keepGoing(room, inFlight: inFlight, now: heardAt) }
    }

    /// The place of a message in its room: the server's own number, or the order in which members got it.
    private func seq(
        of label: BenchLabel, _ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ room: BenchRoom
    ) -> UInt64? {
        guard plan.dialect.hasPositions else { return room.place(of: label.number) }
        return BenchFrames.position(bytes, at: payload.lowerBound + room.positionAt, before: payload.upperBound)?.seq
    }

    private func joined(_ bytes: UnsafeRawBufferPointer, _ payload: Range<Int>, _ member: BenchMember) {
        guard plan.dialect.hasPositions else { return live(member, base: 0) }
        guard let start = BenchFrames.find("\"position\":\"", bytes, in: payload),
            let position = BenchFrames.position(bytes, at: start + 12, before: payload.upperBound)
        else { return lost(member, "joined without a position") }
        live(member, base: position.seq)
    }

    private func live(_ member: BenchMember, base: UInt64) {
        member.ledger.joined(at: base)
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
}
