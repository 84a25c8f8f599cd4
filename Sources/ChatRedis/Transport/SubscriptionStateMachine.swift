import ChatCore
import Glibc

/// What a channel's name says of its room: how many bytes stand before and behind the room's own name.
public struct ChannelFrame: Hashable, Sendable {
    var before: Int
    var behind: Int

    public init(before: Int, behind: Int) {
        self.before = max(0, before)
        self.behind = max(0, behind)
    }
}

/// A room's name as a dictionary key, which can be looked up by bytes that somebody else owns, without a copy.
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

    private static func isSame(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        guard left.count == right.count else { return false }
        guard let first = left.baseAddress, let second = right.baseAddress else { return true }
        return memcmp(first, second, left.count) == 0
    }

    static func == (left: NameKey, right: NameKey) -> Bool {
        left.withBytes { left in
            right.withBytes { right in isSame(left, right) }
        }
    }
}

/// What one subscribe connection is subscribed to, and what it waits for.
///
/// Redis answers each name of each SUBSCRIBE and UNSUBSCRIBE, and each PING, in order (`src/pubsub.c`). So answers
/// are matched by order, not by name: join, leave and join again while the first answer is on its way cannot be
/// confused. An answer out of order means that we and Redis disagree on what is subscribed: the connection is given
/// up, and a new one begins with nothing.
///
/// The same with the count: each acknowledgement tells how many channels the connection is subscribed to by then, which
/// is an exact audit for nothing. A subscription that got lost in silence, in whatever is between us and Redis, shows at
/// the next SUBSCRIBE or UNSUBSCRIBE of any channel.
struct SubscriptionStateMachine {
    /// What was asked and not yet answered.
    enum Question: Equatable {
        case subscribe(RoomName)
        case unsubscribe(RoomName)
        case ping
    }

    private struct Room {
        /// Questions about the room that are not answered: of a connection's, so 32 bits do.
        var pending: Int32 = 0
        var pendingUnsubscribes: Int32 = 0
        /// Redis has acknowledged a SUBSCRIBE and no UNSUBSCRIBE after it.
        var isSubscribed = false
    }

    private struct Asked {
        var question: Question
        var at: Moment
    }

    /// Redis may end a subscription by itself.
    private let mayLeave: Bool
    private let frame: ChannelFrame
    private var rooms: [NameKey: Room] = [:]
    private var questions = RingBuffer<Asked>()

    /// Rooms whose SUBSCRIBE was acknowledged.
    private(set) var subscribedCount = 0
    var outstanding: Int { questions.count }
    /// When the oldest unanswered question was asked.
    var oldestQuestion: Moment? { questions.first?.at }

    init(frame: ChannelFrame, mayLeave: Bool = false) {
        self.frame = frame
        self.mayLeave = mayLeave
    }

    // MARK: Requests

    /// The room's channel is asked for with SUBSCRIBE, whether or not it is subscribed: each call gets one
    /// ``ReplyAction/subscribed(_:)``.
    mutating func subscribe(_ room: RoomName, now: Moment) {
        rooms[.owned(room), default: Room()].pending += 1
        questions.append(Asked(question: .subscribe(room), at: now))
    }

    /// From now on the room's messages are dropped. Each call gets one ``ReplyAction/unsubscribed(_:)``.
    mutating func unsubscribe(_ room: RoomName, now: Moment) {
        rooms[.owned(room), default: Room()].pending += 1
        rooms[.owned(room)]?.pendingUnsubscribes += 1
        questions.append(Asked(question: .unsubscribe(room), at: now))
    }

    mutating func ping(now: Moment) {
        questions.append(Asked(question: .ping, at: now))
    }

    // MARK: Events

    enum ReplyAction: Equatable {
        case subscribed(RoomName)
        case unsubscribed(RoomName)
        /// A message for the room: read its payload.
        case heard(RoomName)
        /// Redis ended the room's subscription by itself: the slot of a sharded channel has moved.
        case left(RoomName)
        /// The round trip took since then.
        case ponged(since: Moment)
        case ignore
        /// Close the connection; the text says why.
        case fail(String)
    }

    /// Something came whose first element is `kind`, on `channel`. `count`: the third element of an acknowledgement.
    mutating func received(_ kind: Kind, channel: UnsafeBufferPointer<UInt8>, count: Int64?) -> ReplyAction {
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
                return .fail("redis knows \(told) subscriptions of this connection, and we \(subscribedCount)")
            }
            return action
        case .pong:
            guard let asked = questions.popFirst(), asked.question == .ping else {
                return .fail("redis sent a PONG where something else was to be answered")
            }
            return .ponged(since: asked.at)
        case .other:
            return .fail("redis sent something on the subscribe connection that is neither a message nor an answer")
        }
    }

    /// The room with that channel, if anything is known of it.
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

    /// An UNSUBSCRIBE was acknowledged that is not the one whose answer is due.
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

    /// The oldest question was answered with an error: the channel is not served here. Its room; nil if none was asked about.
    mutating func refused() -> RoomName? {
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

    /// An error came where a PONG was due: an answer all the same. `.ignore`: something else was due.
    mutating func pingRefused() -> ReplyAction {
        guard let asked = questions.first, asked.question == .ping else { return .ignore }
        _ = questions.popFirst()
        return .ponged(since: asked.at)
    }

    enum Kind: Equatable { case message, subscribe, unsubscribe, pong, other }

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
