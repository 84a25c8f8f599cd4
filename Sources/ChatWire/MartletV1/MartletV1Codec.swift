import ChatCore
import ChatJSON

/// A client's frame that is not a valid request: the error for the client, with its `ref` if that could be read.
public struct RequestFailure: Error, Hashable, Sendable {
    public var ref: Ref?
    public var error: WireError

    public init(ref: Ref?, error: WireError) {
        self.ref = ref
        self.error = error
    }
}

/// The client protocol `martlet.v1`: it decodes JSON text to ``ClientRequest``, and encodes ``ServerEvent`` as JSON
/// text. It checks only the form; the session state machine decides what a session may do.
///
/// Requests: unknown fields are ignored; a field that is `null` counts as absent; of fields with the same name the last
/// one counts. An error names the field, and never quotes more than one word of the client's input.
///
/// Events: compact JSON, `type` first, positions as strings, times as RFC 3339 with milliseconds.
public struct MartletV1Codec: Sendable {
    /// The WebSocket subprotocol's name.
    public static let subprotocol = "martlet.v1"
    public static let maxCursorBytes = 512

    /// The maximum number of messages that `limit` and `history` may ask for, and the default of `limit`.
    public let historyPage: Int

    public init(limits: Limits) {
        historyPage = limits.historyPage
    }

    /// Reads a request. `isUTF8`: the bytes were validated already, as those of a WebSocket text message are.
    public func decode(_ bytes: UnsafeRawBufferPointer, isUTF8: Bool = false) -> Result<ClientRequest, RequestFailure> {
        switch read(bytes, isUTF8: isUTF8) {
        case .request(let request): return .success(request)
        case .failure(let failure): return .failure(failure)
        case .hello, .goodbye, .say, .end, .restart:
            return .failure(RequestFailure(ref: nil, error: WireError(.unknownType, "a hello is not a request")))
        }
    }

    /// Reads a request, or the first frame of a client whose opening request had no token.
    func read(_ bytes: UnsafeRawBufferPointer, isUTF8: Bool) -> ClientInput {
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
            let type = try fields.needString(.type)
            guard type != "hello" else { return .hello(try hello(fields)) }
            return .request(ClientRequest(ref: ref, body: try body(type, fields)))
        } catch {
            return .failure(RequestFailure(ref: ref, error: error))
        }
    }

    /// Reads a request.
    public func decode(_ bytes: [UInt8], isUTF8: Bool = false) -> Result<ClientRequest, RequestFailure> {
        bytes.withUnsafeBytes { decode($0, isUTF8: isUTF8) }
    }
}
