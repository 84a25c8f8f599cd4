import ChatCore
import ChatJSON

/// The client protocol `martlet.v1`: one JSON object in each text message, in both directions. The client identifies
/// itself in the URL.
public final class MartletV1: ClientProtocol, ClientReader {
    public let codec: MartletV1Codec

    public init(limits: Limits) {
        codec = MartletV1Codec(limits: limits)
    }

    public var name: String { MartletV1Codec.subprotocol }

    /// Reads `?user=`, `?device=` and `?room=`. Nil for `?auth=frame`: the client sends who it is, and its token, in
    /// its first frame. Throws `badField` for a query that is not properly encoded, and `badName` for invalid names.
    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        guard let query = PercentEncoding.query(head.query, only: ["user", "device", "room", "auth"]) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        if let auth = query["auth"] {
            guard auth == "frame" else { throw WireError(.badField, "auth must be frame") }
            return nil
        }
        let credentials = Credentials(user: query["user"], token: nil)
        do {
            return ClientHello(
                credentials: credentials,
                device: try query["device"].map { (text) throws(NameError) in try DeviceName(text) },
                room: try query["room"].map { (text) throws(NameError) in try RoomName(text) })
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    /// A connection has no state, so this one reader serves all of them.
    public func makeReader() -> any ClientReader { self }

    public func read(_ bytes: [UInt8], isText: Bool, _ body: (ClientInput) -> Void) {
        body(bytes.withUnsafeBytes { codec.read($0, isUTF8: isText) })
    }

    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        codec.encode(event, viewer: viewer, into: &bytes)
    }
}
