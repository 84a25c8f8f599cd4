/// The requests of a room that have no answer yet, but for appends, whose serial is the number of their send. Part of
/// ``RoomStateMachine``.
struct RoomRequests: Sendable {
    /// What a request was for, so that its answer finds its place.
    enum Purpose: Sendable, Equatable {
        case enter
        case roster
        case presence
        case leave
        case view(epochKnown: UInt64)
        case older
        case once([UInt64])
    }

    private var purposes: [UInt64: Purpose] = [:]
    /// The serial of the next request. It is never used again, so an answer that comes late finds nothing.
    private(set) var nextSerial: UInt64 = 1

    init() {}

    var count: Int { purposes.count }

    /// Serials of appends have this bit; the rest is the number of the send.
    static let appendBit: UInt64 = 1 << 63

    mutating func add(_ purpose: Purpose) -> UInt64 {
        let serial = nextSerial
        nextSerial += 1
        purposes[serial] = purpose
        return serial
    }

    /// The request with that serial is answered; nil: nobody waits for the answer.
    mutating func take(_ serial: UInt64) -> Purpose? {
        guard let purpose = purposes.removeValue(forKey: serial) else { return nil }
        // Releases the spare capacity of an empty dictionary: most rooms ask nothing most of the time.
        if purposes.isEmpty { purposes = [:] }
        return purpose
    }

    /// No answer counts any longer.
    mutating func forget() { purposes = [:] }

    // MARK: a room at rest

    var isIdle: Bool { purposes.isEmpty }

    func pack(into packed: inout PackedBytesWriter) { packed.add(nextSerial) }

    init(_ packed: inout PackedBytesReader) { nextSerial = packed.number() }

    /// Checked after each event in debug builds.
    func assertInvariants() {
        assert(purposes.keys.allSatisfy { $0 < nextSerial && $0 & Self.appendBit == 0 }, "serials are given once")
    }
}
