import ChatCore
import ChatJSON

/// A client's frame that is no request: what it is told, with its `ref` if that could be read.
public struct RequestFailure: Error, Hashable, Sendable {
    public var ref: Ref?
    public var error: WireError

    public init(ref: Ref?, error: WireError) {
        self.ref = ref
        self.error = error
    }
}

/// The client protocol `martlet.v1`: JSON text in, ``ClientRequest`` out, and ``ServerEvent`` to JSON text. It checks
/// form only; what a session may do is the session state machine's.
///
/// Requests: unknown fields are ignored; a field that is `null` counts as absent; of fields with the same name the last
/// one counts. An error names the field, and never repeats more than a word of what the client sent.
///
/// Events: compact JSON, `type` first, positions as strings, times as RFC 3339 with milliseconds.
public struct MartletV1Codec: Sendable {
    /// The WebSocket subprotocol's name.
    public static let subprotocol = "martlet.v1"
    public static let maxCursorBytes = 512

    /// The most messages that `limit` and `history` may ask for, and what a missing `limit` means.
    public let historyPage: Int

    public init(limits: Limits) {
        historyPage = limits.historyPage
    }

    /// Reads a request. `isUTF8`: the bytes were checked already, as the text of a WebSocket message is.
    public func decode(_ bytes: UnsafeRawBufferPointer, isUTF8: Bool = false) -> Result<ClientRequest, RequestFailure> {
        var fields = RequestFields(bytes)
        do throws(JSONError) {
            try fields.read(isUTF8: isUTF8)
        } catch {
            let ref = try? fields.ref()
            return .failure(RequestFailure(ref: ref, error: WireError(.badFrame, "not a JSON object: \(error)")))
        }
        var ref: Ref?
        do throws(WireError) {
            ref = try fields.ref()
            return .success(ClientRequest(ref: ref, body: try body(fields)))
        } catch {
            return .failure(RequestFailure(ref: ref, error: error))
        }
    }

    /// Reads a request.
    public func decode(_ bytes: [UInt8], isUTF8: Bool = false) -> Result<ClientRequest, RequestFailure> {
        bytes.withUnsafeBytes { decode($0, isUTF8: isUTF8) }
    }
}
