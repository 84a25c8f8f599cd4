/// A message's place in its room: `<epoch>-<seq>`, which is also its ID in the room's Redis stream.
///
/// `seq` increases by exactly 1 over the room's whole life. `epoch` is the version of the room's nodes and history and
/// never decreases. Positions of one history are ordered like stream IDs in Redis: by epoch, then by seq.
public struct Position: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var epoch: UInt64
    public var seq: UInt64

    public init(epoch: UInt64, seq: UInt64) {
        self.epoch = epoch
        self.seq = seq
    }

    /// Parses `<epoch>-<seq>`, two decimal numbers without sign or space, each within ``PositionBounds``. Returns nil
    /// for anything else.
    public init?(_ text: some StringProtocol) {
        self.init(utf8: text.utf8)
    }

    /// Parses `<epoch>-<seq>` from bytes. Returns nil for anything else, and for a number beyond ``PositionBounds``.
    @inlinable public init?(utf8 bytes: some Sequence<UInt8>) {
        var numbers: (UInt64, UInt64) = (0, 0)
        var digits = 0
        var second = false
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                // Any 19 digits fit into 64 bits, and a number with more digits is beyond all bounds.
                guard digits < 19 else { return nil }
                let digit = UInt64(byte - UInt8(ascii: "0"))
                if second { numbers.1 = numbers.1 &* 10 &+ digit } else { numbers.0 = numbers.0 &* 10 &+ digit }
                digits += 1
            case UInt8(ascii: "-") where !second && digits > 0:
                second = true
                digits = 0
            default:
                return nil
            }
        }
        guard second, digits > 0, PositionBounds.holds(numbers.0), PositionBounds.holds(numbers.1) else { return nil }
        self.init(epoch: numbers.0, seq: numbers.1)
    }

    public var description: String { "\(epoch)-\(seq)" }

    public static func < (left: Position, right: Position) -> Bool {
        left.epoch != right.epoch ? left.epoch < right.epoch : left.seq < right.seq
    }
}
