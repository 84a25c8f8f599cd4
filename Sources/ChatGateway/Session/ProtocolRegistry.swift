import ChatCore
import ChatWire

/// The client protocols that the gateway speaks. A protocol's ``ProtocolID`` is its place in the list.
public struct ProtocolRegistry: FrameEncoder {
    /// `martlet.v1` over WebSocket.
    static let martletV1 = ProtocolID(rawValue: 0)

    private let codec: MartletV1Codec

    public init(limits: Limits) {
        codec = MartletV1Codec(limits: limits)
    }

    public func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
        guard let viewer else { return SharedFrame(event, codec: codec) }
        return SharedFrame(event, codec: codec, viewer: viewer)
    }
}
