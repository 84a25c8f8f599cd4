import ChatCore
import Testing

@testable import ChatWire

struct SocketRecoveryTests {
    private let ana: UserID
    private let a: RoomName
    private let b: RoomName

    init() throws {
        (ana, a, b) = (try UserID("ana"), try RoomName("a"), try RoomName("b"))
    }

    private func at(_ seq: UInt64) -> Position { Position(epoch: 7, seq: seq) }

    /// The positions after the state went through its record.
    private func positions(_ state: SocketRecovery, _ offset: String?) -> [RoomName: Position]? {
        SocketRecovery(state.record(of: ana))?.positions(of: ana, after: offset)
    }

    @Test func aClientInOneRoomGoesOnFromItsOffset() {
        var state = SocketRecovery()
        state.joined(a, at: at(3))
        for seq in 4...9 { state.wrote(a, at(UInt64(seq))) }
        #expect(positions(state, "a~7-6") == [a: at(6)])
        #expect(positions(state, "7-6") == [a: at(6)])
        #expect(positions(state, "a~7-9") == [a: at(9)])
        // It has seen nothing.
        #expect(positions(state, nil) == [a: at(3)])
        #expect(positions(state, "a~7-3") == [a: at(3)])
        for offset in ["a~7-10", "a~7-2", "b~7-6", "x", "", "~", "a~x"] {
            #expect(positions(state, offset) == nil, "\(offset)")
        }
    }

    @Test func theOrderOfSeveralRoomsDecidesWhatWasRead() {
        var state = SocketRecovery()
        state.joined(a, at: at(3))
        state.wrote(a, at(4))
        state.joined(b, at: at(20))
        #expect(positions(state, "a~7-4") == [a: at(4), b: at(20)])
        state.wrote(b, at(21))
        state.wrote(a, at(5))
        state.wrote(b, at(22))
        state.wrote(a, at(6))
        #expect(positions(state, "a~7-5") == [a: at(5), b: at(21)])
        #expect(positions(state, "b~7-22") == [a: at(5), b: at(22)])
        #expect(positions(state, "b~7-21") == [a: at(4), b: at(21)])
        // Before the list: nobody knows what of the other room was read.
        #expect(positions(state, "a~7-4") == nil)
        #expect(positions(state, nil) == nil)
        // A position alone does not say in which room.
        #expect(positions(state, "7-5") == nil)
        state.left(b)
        #expect(positions(state, "a~7-5") == [a: at(5)])
    }

    @Test func theListIsBounded() {
        var state = SocketRecovery()
        state.joined(a, at: at(1))
        state.joined(b, at: at(1))
        for seq in 2...1_000 { state.wrote(seq % 2 == 0 ? a : b, at(UInt64(seq))) }
        let first = UInt64(1_000 - SocketRecovery.mostWritten + 1)
        #expect(positions(state, "a~7-\(first - 1)") == nil && positions(state, "b~7-\(first - 1)") == nil)
        let room = first % 2 == 0 ? a : b
        #expect(positions(state, "\(room)~7-\(first)")?[room] == at(first))
        #expect(positions(state, "\(room)~7-\(first)")?[room == a ? b : a] == at(first - 1))
    }

    @Test func aStateBelongsToItsUser() throws {
        var state = SocketRecovery()
        state.joined(a, at: at(3))
        let restored = SocketRecovery(state.record(of: ana))
        #expect(restored?.positions(of: try UserID("bob"), after: nil) == nil)
        for record in [
            "", "{}", "[]", #"{"user":"ana","base":{"a":1},"last":{}}"#, #"{"user":"","base":{},"last":{}}"#,
        ] {
            #expect(SocketRecovery(record) == nil, "\(record)")
        }
    }
}
