import ChatCore
import ChatJSON

/// The `id` of an event: the position in each room of the stream, so that any node can continue it.
///
/// Of a stream with one room it is the position, `<epoch>-<seq>`. Of a stream with several rooms it is
/// `<rooms>:<position>,<position>,…`, with the positions in the order in which the URL names the rooms (empty where
/// there is none yet), and eight hexadecimal digits that depend on the names, so that a cursor cannot be taken for that
/// of other rooms. A client that makes a cursor by itself may leave out the part up to the colon.
public enum EventStreamCursor {
    /// The positions, one for each room. Throws `badField` for a text that is no cursor of these rooms.
    public static func read(_ text: String, rooms: [RoomName]) throws(WireError) -> [Position?] {
        var rest = Substring(text)
        if let colon = text.firstIndex(of: ":") {
            guard text[..<colon] == mark(of: rooms) else {
                throw WireError(.badField, "the cursor is of a stream with other rooms, or in another order")
            }
            rest = text[text.index(after: colon)...]
        }
        guard !rooms.isEmpty else {
            guard rest.isEmpty else { throw WireError(.badField, "a cursor, but no room") }
            return []
        }
        let parts = rest.split(separator: ",", maxSplits: rooms.count, omittingEmptySubsequences: false)
        guard parts.count == rooms.count else {
            throw WireError(.badField, "the cursor must have one position for each of \(rooms.count) rooms")
        }
        var positions: [Position?] = []
        for part in parts {
            guard !part.isEmpty else {
                positions.append(nil)
                continue
            }
            guard let position = Position(part) else {
                throw WireError(.badField, "the cursor must hold positions: two decimal numbers, <epoch>-<seq>")
            }
            positions.append(position)
        }
        return positions
    }

    /// Eight hexadecimal digits that depend on the names and their order.
    static func mark(of rooms: [RoomName]) -> String {
        var hash = StableHash()
        for room in rooms {
            hash.add(room.text)
            hash.add(number: 0)
        }
        let folded = (hash.value ^ hash.value >> 32) & 0xFFFF_FFFF
        let digits = String(folded, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
