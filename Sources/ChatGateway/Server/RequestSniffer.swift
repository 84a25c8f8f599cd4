import ChatWire

/// Decides by a connection's first bytes whether it wants the WebSocket or plain HTTP. Pure. Keeps the bytes until it
/// knows, and for a handshake until its head is complete.
struct RequestSniffer {
    enum Outcome: Equatable {
        case needsMore
        /// Not the WebSocket's path: everything that came so far goes to the HTTP server.
        case http([UInt8])
        /// A request for the WebSocket's path, and what came behind it.
        case webSocket(RequestHead, rest: [UInt8])
        /// Answer with this status and close.
        case refuse(status: Int, message: String)
    }

    static let path = "/ws"
    private let maxHeaderBytes: Int
    private var bytes: [UInt8] = []
    private var isWebSocket = false
    private var searched = 0

    init(maxHeaderBytes: Int) {
        self.maxHeaderBytes = maxHeaderBytes
    }

    mutating func received(_ piece: some Collection<UInt8>) -> Outcome {
        bytes.append(contentsOf: piece)
        if !isWebSocket {
            switch Self.wantsWebSocket(bytes) {
            case true: isWebSocket = true
            case false: return .http(take())
            case nil: return .needsMore
            }
        }
        // The end may have begun in the last three bytes of the piece before.
        let start = max(0, searched - 3)
        guard let length = RequestHead.length(bytes[start...]).map({ start + $0 }) else {
            searched = bytes.count
            return bytes.count > maxHeaderBytes ? tooLarge : .needsMore
        }
        guard length <= maxHeaderBytes else { return tooLarge }
        let all = take()
        do throws(RequestHead.Problem) {
            return .webSocket(try RequestHead(Array(all[..<length])), rest: Array(all[length...]))
        } catch {
            return .refuse(status: 400, message: "not a request: \(error.text)")
        }
    }

    private var tooLarge: Outcome {
        .refuse(status: 431, message: "the request's head is longer than \(maxHeaderBytes) bytes")
    }

    private mutating func take() -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    /// Nil: not enough bytes to tell.
    private static func wantsWebSocket(_ bytes: [UInt8]) -> Bool? {
        guard let space = bytes.prefix(33).firstIndex(of: 0x20) else { return bytes.count > 32 ? false : nil }
        let target = bytes[(space + 1)...]
        for (byte, expected) in zip(target, path.utf8) where byte != expected { return false }
        guard target.count > path.utf8.count else { return nil }
        let next = target[space + 1 + path.utf8.count]
        return next == 0x20 || next == UInt8(ascii: "?")
    }
}
