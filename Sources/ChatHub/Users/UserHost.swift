import ChatCore

/// The users whose home is one loop: the channels on which their news come, and to which sessions these go.
///
/// Not thread-safe: confined to its loop.
public final class UserHost {
    private let link: any BrokerLink
    private unowned let context: any RoomHostContext
    private var channels = UserChannels()
    /// Hands an event to a session, on whatever loop that is.
    private let post: (Delivery, Int) -> Void

    init(link: any BrokerLink, context: any RoomHostContext, post: @escaping (Delivery, Int) -> Void) {
        self.link = link
        self.context = context
        self.post = post
    }

    /// The user's home loop.
    public static func home(of user: UserID, among count: Int) -> Int {
        RoomHost.home(ofName: user.text, among: count)
    }

    /// The number of users with a channel.
    public var count: Int { channels.count }

    /// A session of the user has begun, on whatever loop it is.
    public func came(_ session: SessionID, of user: UserID) {
        change { $0.came(session, of: user, now: $1, &$2) }
    }

    /// A session of the user has ended.
    public func went(_ session: SessionID, of user: UserID) {
        change { $0.went(session, of: user, now: $1, &$2) }
    }

    // MARK: events of the broker

    /// The subscribe connection of that scope is up, without subscriptions.
    public func connected(_ identity: BrokerIdentity, _ scope: BrokerScope) {
        change { $0.connected(identity, scope, now: $1, &$2) }
    }

    /// It is lost, and all subscriptions with it.
    public func disconnected(_ scope: BrokerScope) { channels.disconnected(scope) }

    /// Something was published on the user's channel.
    public func heard(_ event: ChannelEvent, of user: UserID) {
        guard case .notice(let notice) = event else { return }
        for session in channels.sessions(of: user) {
            post(.answer(session, .inbox(.notice(notice))), session.loop)
        }
    }

    // MARK: time

    var deadline: Moment? { channels.deadline }

    func timePassed(now: Moment) {
        guard let deadline = channels.deadline, deadline <= now else { return }
        change { $0.timePassed(now: $1, &$2) }
    }

    private func change(_ event: (inout UserChannels, Moment, inout [UserChannels.Action]) -> Void) {
        var actions: [UserChannels.Action] = []
        event(&channels, context.now, &actions)
        for action in actions {
            switch action {
            case .subscribe(let user): link.subscribe(.user(user))
            case .unsubscribe(let user):
                link.unsubscribe(.user(user))
                let left = context.wallClock - min(context.wallClock, UInt64(UserChannels.linger.wholeMilliseconds))
                context.ask(.user(UserRequest(.left(at: left), of: user))) { _ in }
            }
        }
        if let deadline = channels.deadline { context.wake(at: deadline) }
    }
}
