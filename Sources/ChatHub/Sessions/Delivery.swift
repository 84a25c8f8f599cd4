import ChatCore

/// What a room's home loop hands to a loop that has members of the room. Deliveries of one home loop arrive in the order in which
/// it made them, many at a time.
public enum Delivery: Sendable {
    /// To all live sessions of the room on that loop. `own`: the message, if sessions of the user who said it are shown more.
    case broadcast(LocalRoom, Frame, own: OwnMessage?)
    case signal(LocalRoom, Frame, except: SessionID)
    /// Who came and went, to all but these, who know a part of it already.
    case presence(LocalRoom, Frame, except: [SessionID])
    /// Answers a join; what is broadcast later is for this session too.
    indirect case goLive(LocalRoom, SessionID, Joined)
    /// The session's user pays for what Redis did for its request, in nanoseconds of work.
    case charge(SessionID, UInt64)
    /// To one session.
    case answer(SessionID, ServerEvent)
    /// The room does not have the session after all.
    case refuse(LocalRoom, SessionID, ServerEvent)
}

/// A message with a key, which the sessions of the user who said it are shown. Most loops have none of them, so its frame is made by
/// the first loop that needs it.
public final class OwnMessage: Sendable {
    let message: Message

    init(_ message: Message) {
        self.message = message
    }

    func frame(in room: RoomName, for protocolID: ProtocolID, by encoder: any FrameEncoder) -> Frame {
        Frame(.message(room: room, message, showKey: true), for: protocolID, by: encoder)
    }
}
