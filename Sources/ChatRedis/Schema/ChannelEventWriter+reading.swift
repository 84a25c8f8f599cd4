import ChatCore
import ChatJSON

/// Payloads about what users have read.
extension ByteWriter {
    mutating func append(reads marks: [UserID: ReadMark]) {
        appendText(#"{"type":"reads","reads":{"#)
        for (index, (user, mark)) in marks.sorted(by: { $0.key.text < $1.key.text }).enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            appendJSON(user.text)
            field(":", mark.text)
        }
        append(UInt8(ascii: "}"))
    }
}
