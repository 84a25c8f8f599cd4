import MartletClient

/// What a chat knows of the connection, of rooms and of messages that wait, and what it asks for.
extension ChatModel {
    enum Connection: Equatable {
        /// Can transition to: connected, waiting, closed.
        case connecting
        /// Can transition to: connecting, waiting, closed.
        case connected(Welcome)
        /// Can transition to: connected, closed.
        case waiting(DisconnectReason, until: Moment)
        /// Final.
        case closed
    }

    struct Room: Equatable {
        var isIn = false
        /// The first join has been answered, and its result is on the way.
        var wasIn = false
        /// The oldest message shown, from which `/history` continues.
        var oldest: Position?
        var newest: Position?
        var count = 0
        var people: Set<UserID> = []
        var typing: [UserID: Moment] = [:]
        /// Messages that came while another room was the current one.
        var unread = 0
        /// The newest messages, as they are now, oldest first.
        var recent: [Message] = []
        /// Whether the user is a participant, so that nodes keep what the user has read.
        var isConversation = false
        /// What was unread when the room was joined, until the first of it is shown.
        var toRead: (after: UInt64, count: UInt64)?

        static func == (left: Room, right: Room) -> Bool {
            left.isIn == right.isIn && left.wasIn == right.wasIn && left.oldest == right.oldest
                && left.newest == right.newest && left.count == right.count && left.people == right.people
                && left.typing == right.typing && left.unread == right.unread && left.recent == right.recent
                && left.isConversation == right.isConversation
        }
    }

    struct Pending: Equatable {
        enum State: Equatable {
            /// Can transition to: stored.
            case sending
            case stored(since: Moment)
        }
        var key: String
        var room: RoomName
        var text: String
        var state = State.sending
    }

    enum Action: Equatable {
        case show(ChatLine)
        case join(RoomName, history: Int?)
        case leave(RoomName)
        case send(RoomName, text: String, key: String)
        case history(RoomName, before: Position?, limit: Int)
        case roster(RoomName, cursor: String?)
        case signalTyping(RoomName)
        case amend(AmendRequest)
        case direct(UserID)
        case inbox
        /// When that user, or everybody who belongs to the room, was last here.
        case seen(RoomName, UserID?)
        /// The user has read the room up to that position.
        case read(RoomName, Position)
        /// End the chat with this exit code.
        case quit(Int32)
    }
}
