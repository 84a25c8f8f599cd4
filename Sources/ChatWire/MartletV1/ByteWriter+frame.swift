import ChatCore
import ChatJSON

/// What frames of a node and of a client have in common.
extension ByteWriter {
    /// Begins a frame: its type and, if there are any, its `ref` and room. References that the node made for itself are
    /// never written.
    package mutating func begin(_ type: StaticString, ref: Ref?, room: RoomName?) {
        appendText("{\"type\":\"")
        appendText(type)
        append(UInt8(ascii: "\""))
        switch ref {
        case .string(let text): field(",\"ref\":", text)
        case .number(let text): field(",\"ref\":", raw: text)
        case .own, .page, nil: break
        }
        if let room { field(",\"room\":", room.text) }
    }

    package mutating func field(_ name: StaticString, _ position: Position) {
        field(name, quoted: position.epoch, position.seq)
    }
}
