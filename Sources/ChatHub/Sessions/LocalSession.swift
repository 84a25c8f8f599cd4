import ChatCore

/// A session on the loop that accepted it. Confined to that loop.
final class LocalSession {
    let id: SessionID
    let user: UserID
    let device: DeviceName
    let outlet: any SessionOutlet
    let since: Moment
    /// What the session's token allows; nil in development mode.
    var grant: Grant?
    /// The rate limits of the user, shared by all of the user's sessions on this node.
    let rate: UserRate
    /// The session's state in each room that it asked to join.
    var rooms = SmallDictionary<RoomName, LocalMembership>()
    /// The rooms that it watches without being in them.
    var watched: Set<RoomName> = []
    /// Pages that wait for their turn.
    var pages: [PageRequest] = []
    /// Whether a page is under way.
    var isPaging = false
    /// Whether the inbox is being read.
    var isListing = false

    init(
        id: SessionID, user: UserID, device: DeviceName, grant: Grant?, outlet: any SessionOutlet, since: Moment,
        rate: UserRate
    ) {
        self.id = id
        self.user = user
        self.device = device
        self.grant = grant
        self.outlet = outlet
        self.since = since
        self.rate = rate
    }
}

/// The membership of a session in a room.
struct LocalMembership {
    var standing: RoomStanding
    /// The room's sessions on this loop, which include this one; nil while the join is not answered.
    var local: LocalRoom?
    /// The session's rights in the room, evaluated at the join and at each renewal of its token.
    var rights: Rights
}

/// A long answer, which is made when the session has read the previous one.
enum PageRequest {
    /// The next page of what the session missed in the room.
    case missed(RoomName)
    case history(RoomName, HistoryQuery, Ref?)
    case roster(RoomName, String?, Ref?)
    case conversation(ConversationOrder, Ref?)
}
