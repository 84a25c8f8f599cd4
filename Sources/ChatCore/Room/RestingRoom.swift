/// A live room in which nothing happens, as bytes: about 230 for a room with one message, instead of 1,400 for a
/// ``RoomStateMachine``. Most rooms are quiet most of the time.
public struct RestingRoom: Sendable {
    fileprivate let identity: BrokerIdentity
    fileprivate let bytes: [UInt8]
    /// Nil in most rooms, and shared with the answer that brought it.
    fileprivate let moderation: RoomModeration?

    /// The newest message shown.
    public var position: Position { head.position }
    /// Other nodes are in the room: their messages must reach us by the channel.
    public var isShared: Bool { head.isShared }
    /// Its size in bytes.
    package var size: Int { bytes.count }

    /// The part that can be read without waking the room. It comes first.
    private var head: Head {
        var packed = PackedBytesReader(bytes, known: "")
        return Head(&packed)
    }

    fileprivate struct Head {
        var isShared: Bool
        var epoch: UInt64
        var position: Position

        init(isShared: Bool, epoch: UInt64, position: Position) {
            self.isShared = isShared
            self.epoch = epoch
            self.position = position
        }

        init(_ packed: inout PackedBytesReader) {
            isShared = packed.flag()
            epoch = packed.number()
            packed.anchor = epoch
            position = packed.position()
        }

        func pack(into packed: inout PackedBytesWriter) {
            packed.add(isShared)
            packed.add(epoch)
            packed.anchor = epoch
            packed.add(position)
        }
    }

    /// Whether `other` wakes as the same room.
    package func isSame(as other: RestingRoom) -> Bool {
        identity == other.identity && bytes == other.bytes && moderation == other.moderation
    }
}

extension RoomStateMachine {
    /// Upper bounds for a resting room, which is packed and unpacked as a whole.
    private enum Most {
        static let messages = 64
        static let links = 64
        static let members = 32
        static let nodes = 32
        static let bytes = 16_384
    }

    /// The room as it will be woken by ``init(waking:room:common:)``; nil while anybody waits for anything, or if it is
    /// large. Forgets only what has no effect any more.
    public mutating func rest(now: Moment) -> RestingRoom? {
        guard isIdle else { return nil }
        forgetWhatIsOver(now: now)
        guard let identity, identity == enteredIdentity, let last = order.last, isAtEase, isSmall else { return nil }
        var packed = PackedBytesWriter(known: node.text)
        RestingRoom.Head(isShared: hasOthers, epoch: order.epoch, position: last).pack(into: &packed)
        packed.add(UInt64(spreadSteps))
        requests.pack(into: &packed)
        reads.pack(into: &packed)
        sends.pack(into: &packed)
        nodes.pack(into: &packed)
        members.pack(into: &packed)
        presence.pack(into: &packed)
        order.pack(into: &packed)
        sanctions.pack(into: &packed)
        // Without the writer's spare capacity.
        let bytes = packed.bytes.withUnsafeBufferPointer { Array($0) }
        return RestingRoom(identity: identity, bytes: bytes, moderation: sanctions.moderation)
    }

    /// The room that went to rest.
    public init(waking rest: RestingRoom, room: RoomName, common: Common) {
        var packed = PackedBytesReader(rest.bytes, known: common.node.text)
        let head = RestingRoom.Head(&packed)
        self.init(room: room, common: common, spread: Double(packed.number()) / 65_536)
        phase = .inside
        commandsUp = true
        subscriptionsUp = true
        mayBeRegistered = true
        identity = rest.identity
        enteredIdentity = rest.identity
        requests = RoomRequests(&packed)
        reads = RoomReads(&packed)
        sends = RoomSends(&packed)
        nodes = RoomNodes(&packed, node: node)
        members = RoomMembers(&packed)
        presence = RoomPresence(&packed, node: node, members: members.all)
        order = RoomOrder(&packed, last: head.position, epoch: head.epoch, settings)
        sanctions = RoomSanctions(&packed, rest.moderation)
    }

    /// Nothing was asked that has no answer yet, nobody waits, and nothing is wrong.
    private var isIdle: Bool {
        phase == .inside && commandsUp && subscriptionsUp && mayBeRegistered && lastRefusal == nil && turn == .none
            && leaveRetryAt == nil && lingerUntil == nil && requests.isIdle && reads.isIdle && sends.isIdle
            && members.isIdle && !isWatched && order.isIdle && sanctions.isIdle
    }

    /// Forgets what mattered once, and matters to no event from now on.
    private mutating func forgetWhatIsOver(now: Moment) {
        _ = nodes.endWaiting(now: now)
        reads.forgetWhatIsOver(now: now)
        sends.forgetWhatIsOver(epoch: order.epoch, now: now)
    }

    /// Nothing that was put off is still to come.
    private var isAtEase: Bool { nodes.isAtEase && reads.isAtEase && sends.isAtEase && members.isAtEase }

    private var isSmall: Bool {
        !members.isEmpty && members.count <= Most.members && nodes.count <= Most.nodes
            && order.isSmall(messages: Most.messages, bytes: Most.bytes, links: Most.links)
            && presence.isSettled(limit: Most.members) && sanctions.isSmall(users: Most.members)
    }
}
