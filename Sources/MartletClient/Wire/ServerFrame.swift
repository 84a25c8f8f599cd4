import ChatCore

/// One frame from a node, read.
enum ServerFrame: Equatable, Sendable {
    /// Everything but errors, in ChatCore's words.
    case event(ServerEvent)
    /// An `error`, whose code this client may not know.
    case fault(ref: UInt64?, ServerFault)
    /// A `type` that this client does not know: protocols grow, so it is ignored.
    case unknown(String)
}

/// Why a frame is not what `martlet.v1` promises.
struct FrameError: Error, Equatable, Sendable {
    var problem: String
}

extension Ref {
    /// The number that this client gave to a request.
    var serial: UInt64? {
        guard case .number(let text) = self else { return nil }
        return UInt64(text)
    }

    init(serial: UInt64) {
        self = .number(String(serial))
    }
}
