import ChatCore
import ChatGateway

/// What a room's home loop hands to a loop that has members of the room. Deliveries of one home loop arrive in the order in which
/// it made them, many at a time.
enum Delivery: Sendable {
    /// To all live sessions of the room on that loop. `own`: the frame for sessions of the user who said it, who are shown
    /// their key.
    case broadcast(LocalRoom, SharedFrame, own: OwnFrame?)
    case signal(LocalRoom, SharedFrame, except: SessionID)
    /// Answers a join; what is broadcast later is for this session too.
    case goLive(LocalRoom, SessionID, Joined)
    /// To one session.
    case answer(SessionID, ServerEvent)
    /// The room does not have the session after all.
    case refuse(LocalRoom, SessionID, ServerEvent)
}

struct OwnFrame: Sendable {
    var user: UserID
    var frame: SharedFrame
}

/// The live sessions of one room on one loop: the array that a broadcast walks. Beside them those that are catching up:
/// of what is broadcast they get presence alone, as everything else will come with their pages.
///
/// Made by the room's home loop and handed around as a token; its contents are touched on the members' loop only.
final class LocalRoom: @unchecked Sendable {
    // Proof for @unchecked: `room` and `home` are constant; the rest is confined to one loop (see above).

    struct Member {
        var session: SessionID
        var outlet: any SessionOutlet
    }

    let room: RoomName
    let home: Int
    private(set) var members: [Member] = []
    private var indices: [SessionID: Int] = [:]
    private(set) var catchingUp: [SessionID: any SessionOutlet] = [:]

    init(room: RoomName, home: Int) {
        self.room = room
        self.home = home
    }

    /// From now on broadcasts are for the session.
    func add(_ session: SessionID, _ outlet: any SessionOutlet) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard indices[session] == nil else { return }
        indices[session] = members.count
        members.append(Member(session: session, outlet: outlet))
    }

    /// The session is sent what it missed first.
    func addCatchingUp(_ session: SessionID, _ outlet: any SessionOutlet) {
        remove(session)
        catchingUp[session] = outlet
    }

    func remove(_ session: SessionID) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard let index = indices.removeValue(forKey: session) else { return }
        let moved = members.removeLast()
        if index < members.count {
            members[index] = moved
            indices[moved.session] = index
        }
    }
}
