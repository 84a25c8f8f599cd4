import ChatCore
import NIOConcurrencyHelpers
import NIOCore

/// Encodes the answer that many waiting requests get once: it remembers the last body.
final class ArrivalsBodies: Sendable {
    private let last = NIOLockedValueBox<(arrivals: Arrivals, body: ByteBuffer)?>(nil)

    func body(of arrivals: Arrivals, _ encode: () -> ByteBuffer) -> ByteBuffer {
        if let known = last.withLockedValue({ $0 }), known.arrivals === arrivals { return known.body }
        let body = encode()
        last.withLockedValue { $0 = (arrivals, body) }
        return body
    }
}
