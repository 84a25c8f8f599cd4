/// The nodes in the room, as Redis and the channel tell of them, and which of them may still put back what Redis lost.
/// Part of ``RoomStateMachine``.
struct RoomNodes: Sendable {
    /// The nodes in the room, this one included, with the epoch at which each entered.
    private var values = SmallDictionary<NodeID, UInt64>()
    /// The epoch at which this node entered last: its own value.
    private(set) var enterValue: UInt64 = 0
    /// The newest epoch of our own that was heard on the channel.
    private var heardOwnEpoch: UInt64 = 0

    /// The first epoch that was begun on this Redis, the nodes that have not come back to it, and until when we wait
    /// for them: what they alone heard before it was lost they can put back only while nobody goes on from where the
    /// log ends.
    private(set) var branch: UInt64 = 0
    private var awaited: Set<NodeID> = []
    @Packed private(set) var returnsUntil: Moment?

    init() {}

    /// Whether other nodes are in the room, so that a message must be published. `node`: our own.
    func hasOthers(than node: NodeID) -> Bool { values.count > (values[node] == nil ? 0 : 1) }

    /// The nodes' names, in no order.
    var names: [NodeID] { values.keys }

    /// Whether we have heard the `enter` that began that epoch, so that the channel reaches us.
    func heardOwn(_ epoch: UInt64) -> Bool { heardOwnEpoch >= epoch }

    /// Whether messages that Redis lost may still be put back. With `false` nobody is waited for.
    func awaitsReturns(now: Moment) -> Bool { returnsUntil.map { $0 > now } ?? false }

    /// Whether all nodes of the room have entered it again after Redis lost something, or had the time to.
    func isEverybodyBack(now: Moment) -> Bool { !awaitsReturns(now: now) || awaited.isEmpty }

    // MARK: entering

    /// An `enter` goes out: what was heard before is not the epoch that it begins.
    mutating func enters() { heardOwnEpoch = 0 }

    /// We entered at that epoch. A branch that began above it is of a log that is gone.
    mutating func entered(at epoch: UInt64) {
        enterValue = epoch
        if branch > epoch { branch = 0 }
    }

    /// The channel told of an epoch that this node began.
    mutating func heardOwn(epoch: UInt64) { heardOwnEpoch = max(heardOwnEpoch, epoch) }

    /// The subscription is lost.
    mutating func channelLost() { heardOwnEpoch = 0 }

    // MARK: other nodes

    /// Takes over the nodes of a view or a new epoch. `node`: our own, whose name is kept once for all rooms.
    mutating func adopt(_ newValues: [NodeID: UInt64], node: NodeID) {
        values = SmallDictionary()
        for (name, value) in newValues { values[name == node ? node : name] = value }
    }

    /// The node, which had entered with that value, is out. True: it was waited for.
    mutating func gone(_ node: NodeID, value: UInt64) -> Bool {
        if values[node] == value { values[node] = nil }
        return awaited.remove(node) != nil
    }

    /// A view tells of the nodes and of the branch. If Redis came back different since the last view, others may have
    /// something to put back.
    mutating func saw(_ view: RoomView, node: NodeID, waitUntil until: Moment) {
        if view.branch > branch {
            branch = view.branch
            // Who was here: as Redis has it, and as we knew it, for what was lost may be that somebody came.
            awaited = Set((values.keys + view.nodes.keys).filter { $0 != node })
            returnsUntil = until
        }
        noteReturns(view.nodes)
    }

    /// Nodes with a value of this branch, or none, are waited for no more.
    mutating func noteReturns(_ newValues: [NodeID: UInt64]) {
        guard !awaited.isEmpty else { return }
        awaited = awaited.filter { newValues[$0].map { $0 < branch } ?? true }
    }

    /// Nobody is waited for any longer, if the time is over. True: it is over now.
    mutating func endWaiting(now: Moment) -> Bool {
        guard let until = returnsUntil, until <= now else { return false }
        returnsUntil = nil
        awaited = []
        return true
    }

    // MARK: the room's life

    /// We no longer listen: what is known of the nodes may be out of date. Our own value stays, as keys of our messages
    /// hold it.
    mutating func forget() {
        let enterValue = enterValue
        self = RoomNodes()
        self.enterValue = enterValue
    }
}

// MARK: a room at rest

extension RoomNodes {
    /// Nobody is waited for. Ask after ``endWaiting(now:)``.
    var isAtEase: Bool { awaited.isEmpty }

    var count: Int { values.count }

    func pack(into packed: inout PackedBytesWriter) {
        for number in [branch, enterValue, heardOwnEpoch] { packed.add(near: number) }
        packed.add(returnsUntil)
        packed.add(UInt64(values.count))
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            packed.add(name: name.text)
            packed.add(near: value)
        }
    }

    init(_ packed: inout PackedBytesReader, node: NodeID) {
        branch = packed.near()
        enterValue = packed.near()
        heardOwnEpoch = packed.near()
        returnsUntil = packed.moment()
        for _ in 0..<packed.number() {
            let name = NodeID(kept: packed.name())
            values[name == node ? node : name] = packed.near()
        }
    }
}

// MARK: invariants

extension RoomNodes {
    /// Checked after each event in debug builds. `node`: our own.
    func assertInvariants(node: NodeID) {
        assert(!awaited.contains(node), "a node does not wait for itself")
        assert(awaited.isEmpty || returnsUntil != nil, "waiting for nodes has an end")
    }
}
