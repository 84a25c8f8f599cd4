/// How a channel's name is built around the name of its room: the number of bytes before and behind it.
public struct ChannelFrame: Hashable, Sendable {
    var before: Int
    var behind: Int

    public init(before: Int, behind: Int) {
        self.before = max(0, before)
        self.behind = max(0, behind)
    }
}

/// A room's name as a dictionary key. A look-up can borrow the bytes of a network buffer, so it needs no copy.
private enum NameKey: Hashable {
    case owned(RoomName)
    /// For one look-up only; never stored.
    case borrowed(UnsafeBufferPointer<UInt8>)

    private func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        switch self {
        case .owned(let name):
            let utf8 = name.text.utf8
            return utf8.withContiguousStorageIfAvailable { body(UnsafeRawBufferPointer($0)) }
                ?? Array(utf8).withUnsafeBytes(body)
        case .borrowed(let bytes): return body(UnsafeRawBufferPointer(bytes))
        }
    }

    func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: $0) } }

    static func == (left: NameKey, right: NameKey) -> Bool {
        left.withBytes { left in
            right.withBytes { right in left.count == right.count && left.elementsEqual(right) }
        }
    }
}

/// The subscriptions of one connection: what is subscribed, and which answers are due.
///
/// Pure: it decides what each line that Redis sends on a subscribe connection means. The owner writes the commands and
/// reads the lines.
///
/// Redis answers each name of each SUBSCRIBE and UNSUBSCRIBE, and each PING, in order (`src/pubsub.c`). Answers are
/// therefore matched by order and not by name, so that subscribe, unsubscribe and subscribe again before the first
/// answer cannot be confused. An answer out of order means that the node and Redis disagree about what is subscribed.
/// The connection is then closed, and the next one begins with nothing.
///
/// Each acknowledgement also says how many channels the connection is subscribed to, which audits the subscriptions
/// exactly, at no cost: a subscription that was lost in silence, by whatever is between the node and Redis, shows at
/// the next SUBSCRIBE or UNSUBSCRIBE of any channel.
package struct SubscriptionStateMachine {
    /// A command that Redis has not answered yet.
    enum Question: Equatable {
        case subscribe(RoomName)
        case unsubscribe(RoomName)
        case ping
    }

    private struct Room {
        /// Unanswered commands about the room. There is one such record for each room, so 32 bits each.
        var pending: Int32 = 0
        var pendingUnsubscribes: Int32 = 0
        /// Redis has acknowledged a SUBSCRIBE and no UNSUBSCRIBE after it.
        var isSubscribed = false
    }

    private struct Asked {
        var question: Question
        var at: Moment
    }

    /// Whether Redis may end a subscription by itself, as in a Cluster.
    private let mayLeave: Bool
    private let frame: ChannelFrame
    private var rooms: [NameKey: Room] = [:]
    private var questions = FIFO<Asked>()

    /// The number of rooms whose SUBSCRIBE was acknowledged.
    package private(set) var subscribedCount = 0
    /// The number of unanswered commands.
    package var outstanding: Int { questions.count }
    /// When the oldest unanswered command was sent.
    package var oldestQuestion: Moment? { questions.first?.at }

    /// - Parameter mayLeave: Redis may end a subscription by itself, because the slot of a sharded channel moves.
    package init(frame: ChannelFrame, mayLeave: Bool = false) {
        self.frame = frame
        self.mayLeave = mayLeave
    }

    // MARK: Requests

    /// A SUBSCRIBE of the room's channel is sent, whether or not it is subscribed already. Each call gets one
    /// ``ReplyAction/subscribed(_:)``.
    package mutating func subscribe(_ room: RoomName, now: Moment) {
        rooms[.owned(room), default: Room()].pending += 1
        questions.append(Asked(question: .subscribe(room), at: now))
    }

    /// An UNSUBSCRIBE is sent. Messages of the room are dropped from now on. Each call gets one
    /// ``ReplyAction/unsubscribed(_:)``.
    package mutating func unsubscribe(_ room: RoomName, now: Moment) {
        rooms[.owned(room), default: Room()].pending += 1
        rooms[.owned(room)]?.pendingUnsubscribes += 1
        questions.append(Asked(question: .unsubscribe(room), at: now))
    }

    /// A PING is sent.
    package mutating func ping(now: Moment) {
        questions.append(Asked(question: .ping, at: now))
    }

    // MARK: Events

    /// What the owner does about a line that came.
    package enum ReplyAction: Equatable {
        case subscribed(RoomName)
        case unsubscribed(RoomName)
        /// The line is a message for the room: read its payload.
        case heard(RoomName)
        /// Redis ended the room's subscription by itself, because the slot of a sharded channel has moved.
        case left(RoomName)
        /// The PING that was sent at that time is answered.
        case ponged(since: Moment)
        case ignore
        /// Close the connection; the text says why.
        case fail(String)
    }

    /// The kinds of lines on a subscribe connection, by their first element.
    package enum Kind: Equatable { case message, subscribe, unsubscribe, pong, other }

    /// A line came. `channel` is its second element, and `count` the third of an acknowledgement.
    package mutating func received(
        _ kind: Kind, channel: UnsafeBufferPointer<UInt8>, count: Int64?
    ) -> ReplyAction {
        switch kind {
        case .message:
            guard let (name, room) = room(of: channel) else { return .ignore }
            return room.isSubscribed && room.pendingUnsubscribes == 0 ? .heard(name) : .ignore
        case .subscribe, .unsubscribe:
            let action =
                mayLeave && isUnasked(kind, channel: channel)
                ? left(channel: channel) : acknowledged(kind, channel: channel)
            if case .fail = action { return action }
            guard count == Int64(subscribedCount) else {
                let told = count.map { "\($0)" } ?? "no number of"
                return .fail(
                    "redis counts \(told) subscriptions of this connection, the node counts \(subscribedCount)")
            }
            return action
        case .pong:
            guard let asked = questions.popFirst(), asked.question == .ping else {
                return .fail("redis sent a PONG where another answer was due")
            }
            return .ponged(since: asked.at)
        case .other:
            return .fail("redis sent something on the subscribe connection that is neither a message nor an answer")
        }
    }

    /// The room with that channel; nil if it is not subscribed and nothing about it is unanswered.
    private func room(of channel: UnsafeBufferPointer<UInt8>) -> (RoomName, Room)? {
        guard channel.count > frame.before + frame.behind else { return nil }
        let name = UnsafeBufferPointer(rebasing: channel.dropFirst(frame.before).dropLast(frame.behind))
        guard let index = rooms.index(forKey: .borrowed(name)), case .owned(let known) = rooms[index].key else {
            return nil
        }
        return (known, rooms[index].value)
    }

    private mutating func set(_ name: RoomName, _ room: Room) {
        rooms[.owned(name)] = room.pending == 0 && !room.isSubscribed ? nil : room
    }

    /// Whether the line acknowledges an UNSUBSCRIBE other than the one whose answer is due.
    private func isUnasked(_ kind: Kind, channel: UnsafeBufferPointer<UInt8>) -> Bool {
        guard kind == .unsubscribe else { return false }
        guard case .unsubscribe(let name)? = questions.first?.question else { return true }
        return room(of: channel)?.0 != name
    }

    private mutating func left(channel: UnsafeBufferPointer<UInt8>) -> ReplyAction {
        guard let (name, found) = room(of: channel) else { return .ignore }
        var room = found
        if room.isSubscribed { subscribedCount -= 1 }
        room.isSubscribed = false
        set(name, room)
        return .left(name)
    }

    /// The oldest command was answered with an error, because the channel is not served here. Returns its room; nil if
    /// it is about none.
    package mutating func refused() -> RoomName? {
        guard let question = questions.first?.question else { return nil }
        let name: RoomName
        switch question {
        case .subscribe(let room), .unsubscribe(let room): name = room
        case .ping: return nil
        }
        _ = questions.popFirst()
        guard var room = rooms[.owned(name)] else { return name }
        room.pending -= 1
        if case .unsubscribe = question { room.pendingUnsubscribes -= 1 }
        set(name, room)
        return name
    }

    /// An error came. If a PONG is due, the error is the answer to the PING; otherwise `.ignore`.
    package mutating func pingRefused() -> ReplyAction {
        guard let asked = questions.first, asked.question == .ping else { return .ignore }
        _ = questions.popFirst()
        return .ponged(since: asked.at)
    }

    private mutating func acknowledged(_ kind: Kind, channel: UnsafeBufferPointer<UInt8>) -> ReplyAction {
        guard let asked = questions.popFirst(), let (known, found) = room(of: channel) else {
            return .fail("redis acknowledged a subscription that was not asked for")
        }
        var room = found
        let action: ReplyAction
        switch (asked.question, kind) {
        case (.subscribe(let name), .subscribe) where name == known:
            if !room.isSubscribed { subscribedCount += 1 }
            room.isSubscribed = true
            action = .subscribed(name)
        case (.unsubscribe(let name), .unsubscribe) where name == known:
            if room.isSubscribed { subscribedCount -= 1 }
            room.isSubscribed = false
            room.pendingUnsubscribes -= 1
            action = .unsubscribed(name)
        case (.subscribe, _), (.unsubscribe, _), (.ping, _):
            return .fail("redis acknowledged a subscription out of order")
        }
        room.pending -= 1
        set(known, room)
        return action
    }
}
