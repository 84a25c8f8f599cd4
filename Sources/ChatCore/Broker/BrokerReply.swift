/// The broker's answer to a ``BrokerRequest``.
public enum BrokerReply: Sendable, Equatable {
    case done
    /// Answers `append`. If it was not published in the same step, that is left to the caller.
    case appended(Position, isPublished: Bool = false)
    indirect case view(RoomView)
    /// Answers `enter`: the log may have lost messages that the node offers. Nothing was changed. Enter again with the
    /// messages from this position on, which is that of the log's last entry (0-0: it has none).
    case bring(from: Position)
    /// Whether the node was in the room with that value; now it is not.
    case left(Bool)
    /// Some of the node's devices have left, but the node has not: `leave` again with this cursor.
    case leaving(cursor: UInt64)
    indirect case once(OnceReply)
    case said(Position, repeated: Bool)
    case moderated(ModerationReply)
    indirect case amended(AmendReply)
    case audit([AuditEntry])
    /// ``RoomModeration/none`` if the room was never moderated.
    case rules(RoomModeration)
    indirect case presence(PresenceReply)
    indirect case roster(RosterSnapshot)
    indirect case history(HistoryPage)
    case heartbeat(known: Bool)
    case nodes([NodeRecord])
    /// The last rooms of the list.
    case rooms([RoomName])
    /// Some rooms of the list: ask again with this cursor.
    case someRooms([RoomName], cursor: UInt64)
    /// Some of what a node left is deleted: `forget` again with this cursor.
    case forgetting(cursor: UInt64)
    case holders([NodeID: UInt64])
    /// The command's place in the stream.
    case commanded(Position)
    case commands([CommandEntry])
    /// What the ticket allows; nil if there is no such ticket, or no longer.
    case ticket(String?)
    indirect case conversation(ConversationReply)
    /// Nil if nobody belongs to the room, and nobody ever did.
    indirect case participants(ParticipantList?)
    indirect case user(UserReply)
    indirect case reading(ReadingReply)
    /// The books that relays read; none: no relay is registered.
    case relayed(Set<RoomBook>)
    /// In bytes; `most` is 0 if there is no bound.
    case memory(used: UInt64, most: UInt64)
}

/// Why a ``BrokerRequest`` has no ``BrokerReply``.
public enum BrokerError: Error, Sendable, Equatable {
    /// The room's epoch is not the one that the request named. Certainly nothing was stored.
    case refused
    /// The log (or, for presence, the node's entry) is not there. Certainly nothing was stored.
    case missing
    /// Redis answered, and certainly stored nothing: OOM, READONLY, LOADING, MISCONF, BUSY, NOPERM, WRONGTYPE … The
    /// text is the error.
    case notStored(String)
    /// A sanction or a rule of the room forbids it. Certainly nothing was stored.
    case forbidden(WireError)
    /// There was no connection. Certainly nothing was stored.
    case notConnected
    /// More of the log has to be read to learn whether the send was stored than one request may read: the same request
    /// again continues. Certainly nothing was stored.
    case again
    /// The connection was lost, or the deadline passed, before the answer came. It is not known whether the request was
    /// carried out.
    case outcomeUnknown
    /// The answer could not be parsed; the text says what was expected and where. It is not known what was carried out.
    case malformed(String)
}

/// A room as it is in the broker at one moment.
public struct RoomView: Sendable, Equatable {
    /// The verdict on the position in the request.
    public var verdict: Verdict
    /// The log's last ID is `epoch-last`.
    public var epoch: UInt64
    public var last: UInt64
    /// The seq at which `epoch` began; after `enter` equal to `last`.
    public var base: UInt64
    public var chain: EpochChain
    /// Who is in the room, with the epoch at which each entered.
    public var nodes: [NodeID: UInt64]
    /// The first epoch that was begun on this Redis process, after a restart or failover. A node with an older value in
    /// `nodes` has not come back yet, and may bring messages that Redis lost.
    public var branch: UInt64
    /// Entries after the position, oldest first; the newest entries if the position is nil or rewound.
    public var entries: [Message]
    /// Whether the bounds of the page excluded some: later ones, or older ones if these are the newest.
    public var hasMore: Bool
    /// The room's rules and sanctions; nil if they are those of the version that the request named, and after `enter`
    /// if the room was never moderated.
    public var moderation: RoomModeration?

    public init(
        verdict: Verdict, epoch: UInt64, last: UInt64, base: UInt64, chain: EpochChain, nodes: [NodeID: UInt64],
        branch: UInt64 = 0, entries: [Message], hasMore: Bool = false, moderation: RoomModeration? = nil
    ) {
        self.moderation = moderation
        self.verdict = verdict
        self.epoch = epoch
        self.last = last
        self.base = base
        self.chain = chain
        self.nodes = nodes
        self.branch = branch
        self.entries = entries
        self.hasMore = hasMore
    }
}

public enum OnceOutcome: Hashable, Sendable {
    case stored(Position)
    /// It was stored before, at this position and time.
    case repeated(Position, at: UInt64)
    /// The log was trimmed since the first try. Nothing was stored now.
    case outcomeUnknown
}

public struct OnceReply: Sendable, Equatable {
    /// The room's epoch after the request, and the seq at which it began.
    public var epoch: UInt64
    public var base: UInt64
    /// One outcome for each send, in order.
    public var outcomes: [OnceOutcome]

    public init(epoch: UInt64, base: UInt64, outcomes: [OnceOutcome]) {
        self.epoch = epoch
        self.base = base
        self.outcomes = outcomes
    }
}

/// A place in a room's presence stream; contiguous like ``Position``: `<when the stream began, ms>-<n>`.
public struct PresenceReply: Sendable, Equatable {
    /// The stream's last ID after the request.
    public var position: Position
    /// The same notice that other nodes hear, for the requesting node itself; nil if nothing changed.
    public var notice: PresenceNotice?

    public init(position: Position, notice: PresenceNotice?) {
        self.position = position
        self.notice = notice
    }
}

/// A batch of presence changes, as entries `first...last` of the presence stream.
public struct PresenceNotice: Sendable, Equatable {
    public struct Change: Hashable, Sendable {
        public var user: UserID
        public var device: DeviceName
        public var node: NodeID
        public var joined: Bool

        public init(user: UserID, device: DeviceName, node: NodeID, joined: Bool) {
            self.user = user
            self.device = device
            self.node = node
            self.joined = joined
        }
    }

    /// The position of the stream before the batch, and after it.
    public var after: Position
    public var position: Position
    public var changes: [Change]
    /// Members (users) in the room afterwards.
    public var count: Int
    /// The beginning of the run ID of the Redis that published it; nil if it does not tell.
    public var run: String?

    public init(after: Position, position: Position, changes: [Change], count: Int, run: String? = nil) {
        self.run = run
        self.after = after
        self.position = position
        self.changes = changes
        self.count = count
    }
}

/// Who is present, at one position of the presence stream.
public struct RosterSnapshot: Sendable, Equatable {
    public struct Device: Hashable, Sendable {
        public var node: NodeID
        public var device: DeviceName

        public init(node: NodeID, device: DeviceName) {
            self.node = node
            self.device = device
        }
    }

    /// The position of the presence stream at the moment of this part.
    public var position: Position
    public var members: [UserID: Set<Device>]
    /// The number of users in the room, in all parts.
    public var count: Int
    /// The cursor of the next part; 0 if this is the last one.
    public var cursor: UInt64

    public init(position: Position, members: [UserID: Set<Device>], count: Int? = nil, cursor: UInt64 = 0) {
        self.position = position
        self.members = members
        self.count = count ?? members.count
        self.cursor = cursor
    }
}

/// A page of the log.
public struct HistoryPage: Sendable, Hashable {
    /// Oldest first.
    public var messages: [Message]
    /// The position of the room's newest message at that moment; nil if the room has none.
    public var newest: Position?
    /// True if the log holds older messages than the page's first, or newer ones than its last.
    public var hasOlder: Bool
    public var hasNewer: Bool
    /// What it cost to find the page's place by a ``TimeSearch``, in nanoseconds (``RequestCost``).
    public var searchCost: UInt64 = 0

    public init(messages: [Message], newest: Position?, hasOlder: Bool, hasNewer: Bool) {
        self.messages = messages
        self.newest = newest
        self.hasOlder = hasOlder
        self.hasNewer = hasNewer
    }
}

extension HistoryPage {
    /// The page without the messages farthest from what was asked for, so that the rest has at most about `bytes`
    /// bytes, but at least one message. `hasOlder` and `hasNewer` include what was left out.
    public func limited(toBytes bytes: Int, anchor: HistoryQuery.Anchor) -> HistoryPage {
        var left = messages.reduce(0) { $0 + $1.content.cost }
        var kept = messages[...]
        while left > bytes, kept.count > 1 {
            let dropsOldest: Bool
            switch anchor {
            case .newest, .before: dropsOldest = true
            case .after: dropsOldest = false
            case .around(let position):
                let older = kept.prefix { $0.position < position }.count
                dropsOldest = older >= kept.count - older
            case .time(let time):
                let older = kept.prefix { $0.content.at < time }.count
                dropsOldest = older >= kept.count - older
            }
            left -= (dropsOldest ? kept.removeFirst() : kept.removeLast()).content.cost
        }
        var page = self
        page.messages = Array(kept)
        page.hasOlder = hasOlder || kept.startIndex > messages.startIndex
        page.hasNewer = hasNewer || kept.endIndex < messages.endIndex
        return page
    }
}

/// A node as the broker lists it.
public struct NodeRecord: Sendable, Equatable {
    public var node: NodeID
    /// Its last report; nil if its lease has run out, because the node is dead or cut off.
    public var report: NodeReport?

    public init(node: NodeID, report: NodeReport?) {
        self.node = node
        self.report = report
    }
}
