/// A connection to one node over which the messages of one room are posted, one request behind the other.
final class BenchPoster {
    let mark: Int
    unowned let room: BenchRoom
    let socket: BenchSocket
    /// The beginning of an incomplete answer.
    private var partial: [UInt8] = []

    init(mark: Int, room: BenchRoom, socket: BenchSocket) {
        self.mark = mark
        self.room = room
        self.socket = socket
    }

    /// The head of a request whose body has so many bytes.
    static func requestHead(room: String, length: Int) -> [UInt8] {
        Array(
            ("POST /api/rooms/\(room)/messages HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(length)\r\n\r\n").utf8)
    }

    /// Reads answers, and calls `body` with the status of each.
    func take(_ bytes: UnsafeRawBufferPointer, _ body: (_ status: Int) -> Void) {
        partial += bytes
        var start = 0
        partial.withUnsafeBytes { all in
            while let end = BenchFrames.find("\r\n\r\n", all, in: start..<all.count) {
                guard let length = Self.number(after: "Content-Length: ", all, start..<end) else {
                    body(0)
                    start = all.count
                    return
                }
                guard end + 4 + length <= all.count else { return }
                body(Self.number(after: "HTTP/1.1 ", all, start..<end) ?? 0)
                start = end + 4 + length
            }
        }
        partial = start == partial.count ? [] : Array(partial[start...])
    }

    private static func number(
        after mark: StaticString, _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
    ) -> Int? {
        guard let found = BenchFrames.find(mark, bytes, in: range) else { return nil }
        var number: Int?
        for byte in bytes[(found + mark.utf8CodeUnitCount)..<range.upperBound] {
            guard let digit = BenchFrames.digit(byte), (number ?? 0) < 1_000_000_000 else { break }
            number = (number ?? 0) * 10 + Int(digit)
        }
        return number
    }
}

/// Sending by POST.
extension BenchThread {
    /// Posts a message of the room over the connection to the node.
    func post(_ bytes: [UInt8], in room: BenchRoom, node: Int) {
        guard let poster = poster(of: room, node: node) else { return }
        let hadUnsent = poster.socket.hasUnsent
        poster.socket.send(bytes)
        if poster.socket.hasUnsent, !hadUnsent { poll.change(poster.socket, mark: poster.mark, writes: true) }
    }

    private func poster(of room: BenchRoom, node: Int) -> BenchPoster? {
        if let poster = room.posters[node] { return poster }
        do throws(BenchError) {
            let mark = members.count + posters.count
            let poster = BenchPoster(mark: mark, room: room, socket: try BenchSocket(addresses[node], origin: mark))
            posters.append(poster)
            room.posters[node] = poster
            poll.add(poster.socket, mark: mark, writes: true)
            return poster
        } catch {
            result.note(error.message, 1)
            return nil
        }
    }

    func ready(_ poster: BenchPoster, canRead: Bool, canWrite: Bool) {
        if canWrite {
            poster.socket.sendRest()
            if !poster.socket.hasUnsent { poll.change(poster.socket, mark: poster.mark, writes: false) }
        }
        guard canRead else { return }
        while let count = poster.socket.receive(into: buffer) {
            guard count > 0 else { return result.note("a connection for posts was closed by the node", 1) }
            heardAt = BenchPoll.now
            poster.take(UnsafeRawBufferPointer(rebasing: buffer[..<count])) { status in
                if status == 201 { poster.room.acked += 1 } else { result.note("a post was answered \(status)", 1) }
            }
            if count < buffer.count { return }
        }
    }
}
