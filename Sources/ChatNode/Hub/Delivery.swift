import ChatCore
import ChatGateway
import ChatWire

/// What a room's home loop hands to a loop that has members of the room. Deliveries of one home loop arrive in the order in which
/// it made them, many at a time.
enum Delivery: Sendable {
    /// To all live sessions of the room on that loop. `own`: the message, if sessions of the user who said it are shown more.
    case broadcast(LocalRoom, SharedFrame, own: OwnMessage?)
    case signal(LocalRoom, SharedFrame, except: SessionID)
    /// Answers a join; what is broadcast later is for this session too.
    indirect case goLive(LocalRoom, SessionID, Joined)
    /// To one session.
    case answer(SessionID, ServerEvent)
    /// The room does not have the session after all.
    case refuse(LocalRoom, SessionID, ServerEvent)
}

/// A message with a key, which the sessions of the user who said it are shown. Most loops have none of them, so its frame is made by
/// the first loop that needs it.
final class OwnMessage: Sendable {
    let message: Message

    init(_ message: Message) {
        self.message = message
    }

    func frame(in room: RoomName, codec: MartletV1Codec) -> SharedFrame {
        SharedFrame(.message(room: room, message, showKey: true), codec: codec)
    }
}

/// The live sessions of one room on one loop: the array that a broadcast walks. Beside them those that are catching up:
/// of what is broadcast they get presence alone, as everything else will come with their pages.
///
/// Made by the room's home loop and handed around as a token; its contents are touched on the members' loop only.
final class LocalRoom: @unchecked Sendable {
    // Proof for @unchecked: `room` and `home` are constant; the rest is confined to one loop (see above).

    struct Member {
        var session: SessionID
        /// Differs for different users, nearly always: so that a broadcast need not look into every session for who its user is.
        var userHash: Int
        var outlet: any SessionOutlet
    }

    let room: RoomName
    private(set) var members: [Member] = []
    /// Where in `members` a session is, once there are too many to look through.
    private var indices: [SessionID: Int] = [:]
    private(set) var catchingUp: [SessionID: any SessionOutlet] = [:]

    /// Up to so many members are looked through, in less time than hashing takes.
    private static let fewMembers = 16

    init(room: RoomName) {
        self.room = room
    }

    private func index(of session: SessionID) -> Int? {
        indices.isEmpty ? members.firstIndex { $0.session == session } : indices[session]
    }

    /// From now on broadcasts are for the session.
    func add(_ session: SessionID, _ outlet: any SessionOutlet) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard index(of: session) == nil else { return }
        if members.isEmpty { members.reserveCapacity(1) }
        members.append(Member(session: session, userHash: outlet.user.hashValue, outlet: outlet))
        if !indices.isEmpty {
            indices[session] = members.count - 1
        } else if members.count > Self.fewMembers {
            for (index, member) in members.enumerated() { indices[member.session] = index }
        }
    }

    /// The session is sent what it missed first.
    func addCatchingUp(_ session: SessionID, _ outlet: any SessionOutlet) {
        remove(session)
        catchingUp[session] = outlet
    }

    func remove(_ session: SessionID) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard let index = index(of: session) else { return }
        let moved = members.removeLast()
        if index < members.count { members[index] = moved }
        if members.isEmpty {
            // Their capacity, which only grows, goes with the last member.
            members = []
            indices = [:]
        } else if !indices.isEmpty {
            indices[session] = nil
            if index < members.count { indices[moved.session] = index }
        }
    }
}
