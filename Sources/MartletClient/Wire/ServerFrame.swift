package import ChatCore

/// One frame from a node, decoded.
package enum ServerFrame: Equatable, Sendable {
    /// Every frame but errors, as an event of ChatCore.
    case event(ServerEvent)
    /// A `joined` whose page ends at that position, with changes of its messages, which are folded into them.
    case joined(Joined, through: Position)
    /// An `error`, whose code this client may not know.
    case fault(ref: UInt64?, ServerFault)
    /// A `type` that this client does not know. It is ignored, because protocols grow.
    case unknown(String)
}

/// Why a frame is not valid `martlet.v1`.
package struct FrameError: Error, Equatable, Sendable {
    package var problem: String
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
