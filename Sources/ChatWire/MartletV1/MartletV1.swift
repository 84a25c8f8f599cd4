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

    /// Reads `?user=`, `?token=` (or `Authorization: Bearer`), `?device=` and `?room=`. Throws `badField` for a query
    /// that is not properly encoded, and `badName` for invalid names.
    public func hello(in head: RequestHead) throws(WireError) -> ClientHello? {
        guard let query = PercentEncoding.query(head.query, only: ["user", "token", "device", "room"]) else {
            throw WireError(.badField, "the query is not percent-encoded UTF-8")
        }
        let bearer = head.first("authorization").flatMap(BearerToken.read)
        let credentials = Credentials(user: query["user"], token: bearer ?? query["token"])
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
        switch codec.decode(bytes, isUTF8: isText) {
        case .success(let request): body(.request(request))
        case .failure(let failure): body(.failure(failure))
        }
    }

    public func encode(_ event: ServerEvent, viewer: UserID?, into bytes: inout ByteWriter) {
        codec.encode(event, viewer: viewer, into: &bytes)
    }
}
