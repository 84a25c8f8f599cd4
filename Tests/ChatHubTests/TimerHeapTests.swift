import ChatCore
import Testing

@testable import ChatHub

/// The times at which rooms want to be woken.
@Suite struct TimerHeapTests {
    /// Rooms that change their times again and again: the present time of each, in the order of the slots.
    private struct Rooms {
        var heap = TimerHeap()
        var wants: [Moment?]
        /// The number of entries examined in order to remove some.
        var looked = 0

        init(_ count: Int) { wants = Array(repeating: nil, count: count) }

        mutating func want(_ nanoseconds: UInt64, _ slot: Int) {
            wants[slot] = Moment(nanoseconds: nanoseconds)
            let wants = wants
            var looks = 0
            defer { looked += looks }
            heap.add(
                .init(moment: Moment(nanoseconds: nanoseconds), slot: UInt32(slot), generation: 1), rooms: wants.count
            ) {
                looks += 1
                return wants[Int($0.slot)] == $0.moment
            }
        }
    }

    @Test func entriesComeInTheOrderOfTheirMoments() {
        var rooms = Rooms(3)
        for (slot, moment) in [30, 10, 20].enumerated() { rooms.want(UInt64(moment), slot) }
        #expect(rooms.heap.next == Moment(nanoseconds: 10))
        var slots: [UInt32] = []
        while let entry = rooms.heap.popDue(Moment(nanoseconds: 25)) { slots.append(entry.slot) }
        #expect(slots == [1, 2])
        #expect(rooms.heap.next == Moment(nanoseconds: 30))
    }

    @Test func whatRoomsNoLongerWantIsNotKept() {
        var rooms = Rooms(100)
        for round in 0..<1_000 {
            for slot in 0..<100 { rooms.want(UInt64(1_000_000 - round * 100 - slot), slot) }
        }
        #expect(rooms.heap.count <= 2 * 100 + 64)
        var woken: Set<UInt32> = []
        while let entry = rooms.heap.popDue(Moment(nanoseconds: 1_000_000)) {
            if rooms.wants[Int(entry.slot)] == entry.moment { woken.insert(entry.slot) }
        }
        #expect(woken.count == 100)
    }

    /// A room compares itself with its log at some time, and wants to be woken for other reasons before: each time it
    /// wants the same again.
    @Test func whatRoomsWantAgainIsKeptOnce() {
        var rooms = Rooms(100)
        for round in 0..<1_000 {
            for slot in 0..<100 { rooms.want(UInt64(round), slot) }
            while rooms.heap.popDue(Moment(nanoseconds: UInt64(round))) != nil {}
            for slot in 0..<100 { rooms.want(1_000_000, slot) }
        }
        #expect(rooms.heap.count <= 2 * 100 + 64)
        #expect(rooms.looked < 2 * 200_000, "two for each that was added, at most")
    }
}
