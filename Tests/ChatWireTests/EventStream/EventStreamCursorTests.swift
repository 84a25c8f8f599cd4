import ChatCore
import Testing

@testable import ChatWire

struct EventStreamCursorTests {
    private func rooms(_ names: String...) throws -> [RoomName] {
        try names.map { (name) throws(NameError) in try RoomName(name) }
    }

    private func request(
        _ query: String, _ fields: String = "", limits: Limits = Limits()
    ) throws -> EventStreamRequest {
        let head = "GET /api/events?\(query) HTTP/1.1\r\nHost: x\r\n\(fields)\r\n"
        return try EventStreamRequest(try RequestHead(Array(head.utf8)), limits: limits)
    }

    private func problem(_ query: String, _ fields: String = "", limits: Limits = Limits()) -> WireError.Code? {
        do {
            _ = try request(query, fields, limits: limits)
            return nil
        } catch let error as WireError {
            return error.code
        } catch {
            return .internalError
        }
    }

    @Test func ofOneRoomItIsThePosition() throws {
        let lobby = try rooms("lobby")
        #expect(try EventStreamCursor.read("17-3", rooms: lobby) == [Position(epoch: 17, seq: 3)])
        for text in ["", "17", "17-3,", ",17-3", "17-3 ", "a:17-3", "17-3,18-1", "-", "17-", "99999999999999999999-1"] {
            if text.isEmpty {
                #expect(try EventStreamCursor.read(text, rooms: lobby) == [nil])
            } else {
                #expect(throws: WireError.self) { try EventStreamCursor.read(text, rooms: lobby) }
            }
        }
    }

    @Test func ofSeveralRoomsItHoldsForThemAlone() throws {
        let names = try rooms("a", "b", "로비")
        let mark = EventStreamCursor.mark(of: names)
        #expect(mark.count == 8)
        let positions = [Position(epoch: 1, seq: 2), nil, Position(epoch: 3, seq: 0)]
        #expect(try EventStreamCursor.read("\(mark):1-2,,3-0", rooms: names) == positions)
        #expect(try EventStreamCursor.read("1-2,,3-0", rooms: names) == positions)
        #expect(try EventStreamCursor.mark(of: rooms("b", "a", "로비")) != mark)
        #expect(try EventStreamCursor.mark(of: rooms("ab")) != EventStreamCursor.mark(of: rooms("a", "b")))
        for text in ["\(mark):1-2,", "\(mark):1-2,,3-0,", "00000000:1-2,,3-0", ":1-2,,3-0", "1-2;3-4;5-6"] {
            #expect(throws: WireError.self) { try EventStreamCursor.read(text, rooms: names) }
        }
    }

    @Test func theNewestCursorCounts() throws {
        let position = { (text: String) in [Position(text)] }
        #expect(try request("room=a&after=1-1").after == position("1-1"))
        #expect(try request("room=a&after=1-1&lastEventId=1-2").after == position("1-2"))
        #expect(try request("room=a&after=1-1&last_event_id=1-2").after == position("1-2"))
        #expect(try request("room=a&after=1-1&lastEventId=1-2", "Last-Event-ID: 1-3\r\n").after == position("1-3"))
        #expect(try request("room=a&after=1-1", "Last-Event-ID:\r\n").after == position("1-1"))
    }

    @Test func aRequestNamesRoomsAndHowMuchOfThem() throws {
        let all = try request("user=ana&device=d&room=a&room=%EB%A1%9C%EB%B9%84&history=5,")
        #expect(all.user == "ana" && all.device?.text == "d")
        #expect(all.rooms.map(\.text) == ["a", "로비"] && all.history == [5, nil])
        #expect(try request("room=a&room=b&history=7").history == [7, 7])
        #expect(try request("user=ana").rooms.isEmpty)
    }

    @Test func badRequestsAreRefusedClearly() throws {
        var limits = Limits()
        limits.roomsPerSession = 2
        for (query, fields, code) in [
            ("room=a&room=a", "", WireError.Code.badField), ("room=a&room=b&room=c", "", .badField),
            ("room=", "", .badName), ("room=a%00", "", .badName), ("device=%7F&room=a", "", .badName),
            ("room=%FF", "", .badField), ("room=a&after=1", "", .badField), ("after=1-1", "", .badField),
            ("room=a&history=101", "", .badField), ("room=a&history=-1", "", .badField),
            ("room=a&history=1,2", "", .badField), ("room=a&room=b&history=1,2,3", "", .badField),
            ("room=a", "Last-Event-ID: x\r\n", .badField), ("room=a&room=b", "Last-Event-ID: 1-1\r\n", .badField),
        ] {
            #expect(problem(query, fields, limits: limits) == code, "\(query) \(fields)")
        }
    }

    /// A million cursors made of pieces of real ones: each is read to the end or refused, and what is read is the same
    /// when it is written and read again.
    @Test func noTextDoesMoreThanBeRefused() throws {
        let names = try rooms("a", "b", "c")
        let mark = EventStreamCursor.mark(of: names)
        let pieces = [
            mark, ":", ",", "-", "1", "0", "17", "9007199254740991", "18446744073709551616", " ", "é", "\u{0}",
        ]
        var random = SplitMix64(seed: 20)
        var taken = 0
        for _ in 0..<1_000_000 {
            var text = random.next() & 1 == 0 ? "\(mark):" : ""
            for _ in 0..<(random.next() % 12) { text += pieces[Int(random.next() % UInt64(pieces.count))] }
            guard let positions = try? EventStreamCursor.read(text, rooms: names) else { continue }
            taken += 1
            let written = positions.map { $0?.description ?? "" }.joined(separator: ",")
            #expect(try EventStreamCursor.read(written, rooms: names) == positions)
        }
        #expect(taken > 300)
    }
}
