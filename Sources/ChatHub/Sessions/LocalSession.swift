import ChatCore

/// A session on the loop that accepted it. Confined to that loop.
final class LocalSession {
    let id: SessionID
    let user: UserID
    let device: DeviceName
    let outlet: any SessionOutlet
    let since: Moment
    /// What the user may ask, over all of the user's sessions on this node.
    let rate: UserRate
    /// Where the session stands in each room that it asked to be in.
    var rooms = SmallDictionary<RoomName, LocalMembership>()
    /// Pages that wait their turn.
    var pages: [PageRequest] = []
    /// A page is on its way.
    var isPaging = false

    init(
        id: SessionID, user: UserID, device: DeviceName, outlet: any SessionOutlet, since: Moment, rate: UserRate
    ) {
        self.id = id
        self.user = user
        self.device = device
        self.outlet = outlet
        self.since = since
        self.rate = rate
    }
}

/// A session's place in a room.
struct LocalMembership {
    var standing: RoomStanding
    /// The room's sessions on this loop, among which it is; nil: the join is not answered yet.
    var local: LocalRoom?
}

/// A long answer: made when the session has read the one before.
enum PageRequest {
    /// The next of what the session missed in the room.
    case missed(RoomName)
    case history(RoomName, HistoryQuery, Ref?)
    case roster(RoomName, String?, Ref?)
}
