import ChatCore

/// A delivery from a room's home loop to a loop with members of the room. Deliveries from one home loop arrive in the
/// order in which it made them, in batches.
public enum Delivery: Sendable {
    /// For all live sessions of the room on that loop. `own`: the message, if the sessions of its sender get a frame
    /// with the key.
    case broadcast(LocalRoom, Frame, own: OwnMessage?)
    case signal(LocalRoom, Frame, except: SessionID)
    /// A change of presence or of rules, for all sessions, those that are catching up included. `except`: those that
    /// already know a part of it.
    case told(LocalRoom, Frame, except: [SessionID])
    /// The answer to a join. Later broadcasts are for this session too.
    indirect case goLive(LocalRoom, SessionID, Joined)
    /// Charges the session's user for what Redis did for a request, in nanoseconds of work.
    case charge(SessionID, UInt64)
    /// For one session.
    case answer(SessionID, ServerEvent)
    /// The room has made the session leave.
    indirect case remove(RoomName, SessionID, Removal)
    /// The room does not accept the session after all.
    case refuse(LocalRoom, SessionID, ServerEvent)
}

/// A message with a key, which only the sender's sessions are shown. Most loops have no such session, so the frame is
/// made by the first loop that needs it.
public final class OwnMessage: Sendable {
    let message: Message

    init(_ message: Message) {
        self.message = message
    }

    func frame(in room: RoomName, for protocolID: ProtocolID, by encoder: any FrameEncoder) -> Frame {
        Frame(.message(room: room, message, showKey: true), for: protocolID, by: encoder)
    }
}
