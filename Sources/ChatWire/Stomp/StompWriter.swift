import ChatCore
import ChatJSON

/// Writes frames of the node.
extension ByteWriter {
    /// A header whose name and value need no escapes.
    mutating func stompHeader(_ name: StaticString, plain value: String) {
        appendText(name)
        append(UInt8(ascii: ":"))
        appendRaw(value)
        append(0x0A)
    }

    mutating func stompHeader(_ name: StaticString, _ value: String, _ version: StompVersion) {
        appendText(name)
        append(UInt8(ascii: ":"))
        appendStomp(value, version)
        append(0x0A)
    }

    mutating func stompHeader(_ header: StompFrame.Header, _ version: StompVersion) {
        appendStomp(header.name, version, isName: true)
        append(UInt8(ascii: ":"))
        appendStomp(header.value, version)
        append(0x0A)
    }

    mutating func stompHeader(_ name: StaticString, _ number: Int) {
        appendText(name)
        append(UInt8(ascii: ":"))
        appendJSON(number)
        append(0x0A)
    }

    mutating func stompHeader(_ name: StaticString, _ position: Position) {
        appendText(name)
        append(UInt8(ascii: ":"))
        appendJSON(position.epoch)
        append(UInt8(ascii: "-"))
        appendJSON(position.seq)
        append(0x0A)
    }

    /// The empty line, the body and the NUL at its end, behind a header with its length.
    mutating func stompBody(_ body: UnsafeRawBufferPointer) {
        stompHeader("content-length", body.count)
        append(0x0A)
        append(contentsOf: body)
        append(0)
    }

    /// Text of a header, escaped as the version demands. 1.0 has no escapes: what would end the header becomes a space.
    private mutating func appendStomp(_ text: String, _ version: StompVersion, isName: Bool = false) {
        let needsEscape = { (byte: UInt8) in
            byte == 0x0A || byte == 0x0D || byte == UInt8(ascii: ":") || byte == UInt8(ascii: "\\") || byte == 0
        }
        guard text.utf8.contains(where: needsEscape) else { return appendRaw(text) }
        for byte in text.utf8 {
            switch byte {
            case 0: append(0x20)
            case 0x0A: if version == .v10 { append(0x20) } else { appendText("\\n") }
            case 0x0D: if version == .v12 { appendText("\\r") } else { append(version == .v10 ? 0x20 : 0x0D) }
            case UInt8(ascii: ":"):
                if version == .v10 { append(isName ? 0x20 : byte) } else { appendText("\\c") }
            case UInt8(ascii: "\\"): if version == .v10 { append(byte) } else { appendText("\\\\") }
            default: append(byte)
            }
        }
    }
}

/// The frames of the node that are no MESSAGE.
enum StompAnswer {
    static func receipt(_ id: String, _ version: StompVersion) -> [UInt8] {
        var bytes = ByteWriter(capacity: 64)
        bytes.appendText("RECEIPT\n")
        bytes.stompHeader("receipt-id", id, version)
        bytes.append(0x0A)
        bytes.append(0)
        return bytes.array
    }

    /// An ERROR, after which the connection is closed. `receipt`: that of the frame that failed.
    static func error(
        _ fault: StompFault, receipt: String?, code: String? = nil, why: String? = nil, _ version: StompVersion
    ) -> [UInt8] {
        var bytes = ByteWriter(capacity: 256)
        bytes.appendText("ERROR\n")
        bytes.stompHeader("message", fault.summary, version)
        bytes.stompHeader("content-type", plain: "text/plain")
        bytes.stompHeader("version", plain: StompVersion.list)
        if let receipt { bytes.stompHeader("receipt-id", receipt, version) }
        if let code { bytes.stompHeader("code", plain: code) }
        if let why { bytes.stompHeader("reason", why, version) }
        Array(fault.detail.utf8).withUnsafeBytes { bytes.stompBody($0) }
        return bytes.array
    }

    static let heartBeat: [UInt8] = [0x0A]
}
