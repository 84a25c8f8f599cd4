/// A live room in which nothing happens, as bytes: with its one message some 230 of them, where a ``RoomStateMachine`` takes 1,400.
/// Most rooms say nothing most of the time.
public struct RestingRoom: Sendable {
    fileprivate let identity: BrokerIdentity
    fileprivate let bytes: [UInt8]

    /// The newest message shown.
    public var position: Position { head.position }
    /// Other nodes are in the room: what they say must reach us by the channel.
    public var isShared: Bool { head.isShared }
    /// In bytes.
    package var size: Int { bytes.count }

    /// What can be read without waking the room stands first.
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

    /// Whether `other` would wake as the same room.
    package func isSame(as other: RestingRoom) -> Bool { identity == other.identity && bytes == other.bytes }
}

extension RoomStateMachine {
    /// Of what a room at rest may have no more, as it is packed and unpacked in one go.
    private enum Most {
        static let messages = 64
        static let links = 64
        static let members = 32
        static let nodes = 32
        static let bytes = 16_384
    }

    /// The room as it will be woken by ``init(waking:room:common:)``; nil while anybody waits for anything, or if it is large. Forgets
    /// only what is over.
    public mutating func rest(now: Moment) -> RestingRoom? {
        guard isIdle else { return nil }
        forgetWhatIsOver(now: now)
        guard let identity, identity == enteredIdentity, let last = order.last, isAtEase, isSmall else { return nil }
        var packed = PackedBytesWriter(known: node.text)
        RestingRoom.Head(isShared: hasOthers, epoch: order.epoch, position: last).pack(into: &packed)
        packNumbers(&packed)
        nodes.pack(into: &packed)
        packed.add(UInt64(members.count))
        for (session, member) in members.sorted(by: { $0.key < $1.key }) { pack(session, member, &packed) }
        presence.pack(into: &packed)
        order.pack(into: &packed)
        // Without what the writer had room for.
        let bytes = packed.bytes.withUnsafeBufferPointer { Array($0) }
        return RestingRoom(identity: identity, bytes: bytes)
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
        unpackNumbers(&packed)
        nodes = RoomNodes(&packed, node: node)
        for _ in 0..<packed.number() {
            let session = SessionID(raw: packed.number())
            members[session] = Self.member(&packed)
        }
        presence = RoomPresence(&packed, node: node, members: members)
        order = RoomOrder(&packed, last: head.position, epoch: head.epoch, settings)
    }

    // MARK: whether

    /// Nothing was asked that has no answer yet, nobody waits, and nothing is wrong.
    private var isIdle: Bool {
        phase == .inside && commandsUp && subscriptionsUp && mayBeRegistered && requests.isIdle && reads.isIdle
            && sends.isIdle
            && waitingJoins.isEmpty && order.isIdle
            && lastRefusal == nil && turn == .none && leaveRetryAt == nil && lingerUntil == nil
    }

    /// What mattered once, and to nobody who would ask from now on.
    private mutating func forgetWhatIsOver(now: Moment) {
        _ = nodes.endWaiting(now: now)
        reads.forgetWhatIsOver(now: now)
        sends.forgetWhatIsOver(epoch: order.epoch, now: now)
    }

    /// Nothing that was put off is still to come.
    private var isAtEase: Bool {
        nodes.isAtEase && reads.isAtEase && sends.isAtEase
    }

    private var isSmall: Bool {
        !members.isEmpty && members.count <= Most.members && nodes.count <= Most.nodes
            && order.isSmall(messages: Most.messages, bytes: Most.bytes, links: Most.links)
            && presence.isSettled(limit: Most.members)
            && members.allSatisfy { $0.value.state == .live && $0.value.waitingSends == 0 }
    }

    // MARK: how

    private func packNumbers(_ packed: inout PackedBytesWriter) {
        packed.add(UInt64(spreadSteps))
        requests.pack(into: &packed)
        reads.pack(into: &packed)
        sends.pack(into: &packed)
    }

    private mutating func unpackNumbers(_ packed: inout PackedBytesReader) {
        requests = RoomRequests(&packed)
        reads = RoomReads(&packed)
        sends = RoomSends(&packed)
    }

    private func pack(_ session: SessionID, _ member: RoomMember, _ packed: inout PackedBytesWriter) {
        packed.add(session.raw)
        packed.add(name: member.user.text)
        packed.add(name: member.device.text)
        packed.add(member.since.nanoseconds)
        packed.add(member.resumed)
    }

    private static func member(_ packed: inout PackedBytesReader) -> RoomMember {
        let user = UserID(kept: packed.name())
        let device = DeviceName(kept: packed.name())
        let since = Moment(nanoseconds: packed.number())
        return RoomMember(user: user, device: device, state: .live, since: since, resumed: packed.flag())
    }

}
