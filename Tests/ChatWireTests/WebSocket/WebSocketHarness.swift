import ChatWire

typealias Event = WebSocketDecoder.Event

/// Feeds a decoder and collects its events.
struct WebSocketHarness {
    static let key: UInt32 = 0x37FA_213D
    var decoder: WebSocketDecoder

    init(
        role: WebSocketDecoder.Role = .server, maxMessageBytes: Int = 100_000, acceptsBinary: Bool = true,
        maxSkippedBytes: Int? = nil
    ) {
        decoder = WebSocketDecoder(
            options: .init(
                role: role, maxMessageBytes: maxMessageBytes, acceptsBinary: acceptsBinary,
                maxSkippedBytes: maxSkippedBytes))
    }

    mutating func feed(_ bytes: [UInt8], pieces: Int = .max) -> [Event] {
        var events: [Event] = []
        var start = 0
        while start < bytes.count {
            let end = pieces < bytes.count - start ? start + pieces : bytes.count
            bytes.withUnsafeBytes { all in
                let piece = UnsafeRawBufferPointer(rebasing: all[start..<end])
                var index = 0
                while let event = decoder.next(piece, &index) { events.append(event) }
            }
            start = end
        }
        return events
    }

    /// A masked frame, as a client sends it.
    static func frame(_ opcode: WebSocketOpcode, _ payload: some Collection<UInt8>, isFinal: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = []
        WebSocketFrame.append(opcode, payload, isFinal: isFinal, maskingKey: key, to: &bytes)
        return bytes
    }

    static func frame(_ opcode: WebSocketOpcode, _ text: String, isFinal: Bool = true) -> [UInt8] {
        frame(opcode, Array(text.utf8), isFinal: isFinal)
    }

    static func close(_ code: UInt16, _ reason: [UInt8] = []) -> [UInt8] {
        frame(.close, [UInt8(code >> 8), UInt8(truncatingIfNeeded: code)] + reason)
    }
}

func failure(_ code: WebSocketCloseCode, _ reason: String) -> Event {
    .failed(WebSocketDecoder.Failure(code: code, reason: reason))
}

func text(_ string: String) -> Event { .text(Array(string.utf8)) }
