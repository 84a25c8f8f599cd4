import ChatJSON

/// How a channel's name is built around the name of its room: the number of bytes before and behind it.
public struct ChannelFrame: Hashable, Sendable {
    var before: Int
    var behind: Int
    /// The number of bytes before the name of a user; 0 if users have no such channels.
    var beforeUser: Int

    public init(before: Int, behind: Int, beforeUser: Int = 0) {
        self.before = max(0, before)
        self.behind = max(0, behind)
        self.beforeUser = max(0, beforeUser)
    }

    /// Whether the user's name is in that channel as it is, and not percent-encoded, which makes it longer.
    func isPlain(_ user: UserID, in channel: String) -> Bool {
        beforeUser > before && channel.utf8.count == beforeUser + user.text.utf8.count + behind
    }
}

/// The channel of another entity. A reference, so that the keys of rooms and users, which are many, stay small.
private final class NamedChannel: Sendable {
    let name: String
    let entity: Entity

    init(_ name: String, _ entity: Entity) {
        self.name = name
        self.entity = entity
    }
}

/// A channel as a dictionary key: for a room or a user its name, which the node has anyway; for other entities the
/// channel's name. Those of rooms and of other entities cannot collide, as names of rooms hold no braces and the
/// channels of other entities do; users have a dictionary of their own. A look-up can borrow the bytes of a network
/// buffer, so it needs no copy.
private enum ChannelKey: Hashable {
    case room(RoomName)
    case user(UserID)
    case channel(NamedChannel)
    /// For one look-up only; never stored.
    case borrowed(UnsafeBufferPointer<UInt8>)

    init(_ entity: Entity, channel: String, _ frame: ChannelFrame) {
        switch entity {
        case .room(let room): self = .room(room)
        case .user(let user) where frame.isPlain(user, in: channel): self = .user(user)
        case .user, .node, .ticket, .events, .nodes: self = .channel(NamedChannel(channel, entity))
        }
    }

    var isUser: Bool { if case .user = self { true } else { false } }

    var entity: Entity? {
        switch self {
        case .room(let room): .room(room)
        case .user(let user): .user(user)
        case .channel(let channel): channel.entity
        case .borrowed: nil
        }
    }

    private func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        switch self {
        case .room(let name): name.text.withBytes(body)
        case .user(let name): name.text.withBytes(body)
        case .channel(let channel): channel.name.withBytes(body)
        case .borrowed(let bytes): body(UnsafeRawBufferPointer(bytes))
        }
    }

    func hash(into hasher: inout Hasher) { withBytes { hasher.combine(bytes: $0) } }

    static func == (left: ChannelKey, right: ChannelKey) -> Bool {
        left.withBytes { left in right.withBytes { right in left.isSame(as: right) } }
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
        case subscribe(Entity, channel: String)
        case unsubscribe(Entity, channel: String)
        case ping
    }

    private struct Channel {
        /// Unanswered commands about the channel. There is one such record for each room, so 32 bits each.
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
    private var channels: [ChannelKey: Channel] = [:]
    /// Those of users whose names need no encoding.
    private var users: [ChannelKey: Channel] = [:]
    private var questions = FIFO<Asked>()

    /// The number of channels whose SUBSCRIBE was acknowledged.
    package private(set) var subscribedCount = 0
    /// The number of unanswered commands.
    package var outstanding: Int { questions.count }
    /// When the oldest unanswered command was sent.
    package var oldestQuestion: Moment? { questions.first?.at }

    /// - Parameter frame: Of the channels of rooms.
    /// - Parameter mayLeave: Redis may end a subscription by itself, because the slot of a sharded channel moves.
    package init(frame: ChannelFrame, mayLeave: Bool = false) {
        self.frame = frame
        self.mayLeave = mayLeave
    }

    // MARK: Requests

    /// A SUBSCRIBE of the entity's channel is sent, whether or not it is subscribed already. Each call gets one
    /// ``ReplyAction/subscribed(_:)``.
    package mutating func subscribe(_ entity: Entity, channel: String, now: Moment) {
        change(ChannelKey(entity, channel: channel, frame)) { $0.pending += 1 }
        questions.append(Asked(question: .subscribe(entity, channel: channel), at: now))
    }

    /// An UNSUBSCRIBE is sent. Messages of the channel are dropped from now on. Each call gets one
    /// ``ReplyAction/unsubscribed(_:)``.
    package mutating func unsubscribe(_ entity: Entity, channel: String, now: Moment) {
        change(ChannelKey(entity, channel: channel, frame)) {
            $0.pending += 1
            $0.pendingUnsubscribes += 1
        }
        questions.append(Asked(question: .unsubscribe(entity, channel: channel), at: now))
    }

    /// A PING is sent.
    package mutating func ping(now: Moment) {
        questions.append(Asked(question: .ping, at: now))
    }

    // MARK: Events

    /// What the owner does about a line that came.
    package enum ReplyAction: Equatable {
        case subscribed(Entity)
        case unsubscribed(Entity)
        /// The line is a message on the entity's channel: read its payload.
        case heard(Entity)
        /// Redis ended the subscription by itself, because the slot of a sharded channel has moved.
        case left(Entity)
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
            guard let (key, state) = known(channel), let entity = key.entity else { return .ignore }
            return state.isSubscribed && state.pendingUnsubscribes == 0 ? .heard(entity) : .ignore
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

    /// What is known of the channel; nil if it is not subscribed and nothing about it is unanswered.
    private func known(_ channel: UnsafeBufferPointer<UInt8>) -> (ChannelKey, Channel)? {
        if channel.count > frame.before + frame.behind {
            let name = UnsafeBufferPointer(rebasing: channel.dropFirst(frame.before).dropLast(frame.behind))
            if let index = channels.index(forKey: .borrowed(name)), case .room = channels[index].key {
                return channels[index]
            }
        }
        // What follows the prefix tells the channels of users from those of rooms that are not known any more.
        if frame.beforeUser > frame.before, frame.before > 0, channel.count > frame.beforeUser + frame.behind,
            channel[frame.before - 1] != UInt8(ascii: "{")
        {
            let name = UnsafeBufferPointer(rebasing: channel.dropFirst(frame.beforeUser).dropLast(frame.behind))
            if let index = users.index(forKey: .borrowed(name)) { return users[index] }
        }
        guard let index = channels.index(forKey: .borrowed(channel)), case .channel = channels[index].key else {
            return nil
        }
        return channels[index]
    }

    private mutating func set(_ key: ChannelKey, _ state: Channel) {
        let kept = state.pending == 0 && !state.isSubscribed ? nil : state
        if key.isUser { users[key] = kept } else { channels[key] = kept }
    }

    private mutating func change(_ key: ChannelKey, _ change: (inout Channel) -> Void) {
        if key.isUser { change(&users[key, default: Channel()]) } else { change(&channels[key, default: Channel()]) }
    }

    /// Whether the line acknowledges an UNSUBSCRIBE other than the one whose answer is due.
    private func isUnasked(_ kind: Kind, channel: UnsafeBufferPointer<UInt8>) -> Bool {
        guard kind == .unsubscribe else { return false }
        guard case .unsubscribe(let entity, _)? = questions.first?.question else { return true }
        return known(channel)?.0.entity != entity
    }

    private mutating func left(channel: UnsafeBufferPointer<UInt8>) -> ReplyAction {
        guard let (key, found) = known(channel), let entity = key.entity else { return .ignore }
        var state = found
        if state.isSubscribed { subscribedCount -= 1 }
        state.isSubscribed = false
        set(key, state)
        return .left(entity)
    }

    /// The oldest command was answered with an error, because the channel is not served here. Returns whose channel it
    /// is; nil if the command is about none.
    package mutating func refused() -> Entity? {
        guard let question = questions.first?.question else { return nil }
        let (entity, key): (Entity, ChannelKey)
        switch question {
        case .subscribe(let asked, let channel), .unsubscribe(let asked, let channel):
            (entity, key) = (asked, ChannelKey(asked, channel: channel, frame))
        case .ping: return nil
        }
        _ = questions.popFirst()
        guard var state = key.isUser ? users[key] : channels[key] else { return entity }
        state.pending -= 1
        if case .unsubscribe = question { state.pendingUnsubscribes -= 1 }
        set(key, state)
        return entity
    }

    /// An error came. If a PONG is due, the error is the answer to the PING; otherwise `.ignore`.
    package mutating func pingRefused() -> ReplyAction {
        guard let asked = questions.first, asked.question == .ping else { return .ignore }
        _ = questions.popFirst()
        return .ponged(since: asked.at)
    }

    private mutating func acknowledged(_ kind: Kind, channel: UnsafeBufferPointer<UInt8>) -> ReplyAction {
        guard let asked = questions.popFirst(), let (key, found) = known(channel), let entity = key.entity else {
            return .fail("redis acknowledged a subscription that was not asked for")
        }
        var state = found
        let action: ReplyAction
        switch (asked.question, kind) {
        case (.subscribe(let wanted, _), .subscribe) where wanted == entity:
            if !state.isSubscribed { subscribedCount += 1 }
            state.isSubscribed = true
            action = .subscribed(entity)
        case (.unsubscribe(let wanted, _), .unsubscribe) where wanted == entity:
            if state.isSubscribed { subscribedCount -= 1 }
            state.isSubscribed = false
            state.pendingUnsubscribes -= 1
            action = .unsubscribed(entity)
        case (.subscribe, _), (.unsubscribe, _), (.ping, _):
            return .fail("redis acknowledged a subscription out of order")
        }
        state.pending -= 1
        set(key, state)
        return action
    }
}
