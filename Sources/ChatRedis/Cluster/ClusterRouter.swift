import ChatCore

/// Decides, for one link to a Cluster, which master gets which request, and what the link's owner is told about slots
/// that move, fail and recover.
///
/// - To its entities, a slot that moves looks like a lost connection: both connections go down, requests in flight end
///   as `.outcomeUnknown`, and when a master serves the slot again, the connections come up with the identity of that
///   master. Nothing else is affected, so rooms need no rules for Clusters.
/// - A master that comes back is not trusted before the Cluster was queried again: if it was frozen for a while, it
///   accepts writes for a moment, which are lost when it learns of its successor.
/// - The same applies if a master refuses a slot (MOVED, ASK, TRYAGAIN, CLUSTERDOWN): the slot is *unsettled* until the
///   Cluster was queried again. While its keys are migrated one by one, its rooms are unavailable, as Redis refuses a
///   function that finds only some of a room's keys.
/// - `hold` goes to the master of the part of the node's list (``Holdings``), which may differ from the room's, and
///   while the old list is kept also to the master of the nodes. `enter` must not be carried out before its `hold`. So
///   requests after a `hold` wait for all its answers, and `enter` fails if one of these is a failure.
struct ClusterRouter {
    typealias PartID = UInt32

    enum Action: Equatable {
        /// Connect to the master at this address, which serves these slots.
        case open(PartID, ClusterAddress, SlotSet)
        /// The part serves these slots from now on.
        case serves(PartID, SlotSet)
        case close(PartID)
        case submit(PartID, BrokerRequest, RequestTag)
        case subscribe(PartID, Entity)
        case unsubscribe(PartID, Entity)
        /// Query the Cluster again: preferably at the first address, and at the second only if nobody else answers, as
        /// that node may not know yet that it is not a master any more.
        case look(best: ClusterAddress?, last: ClusterAddress?)
        // Actions for the owner of the link:
        case complete(RequestTag, Result<BrokerReply, BrokerError>)
        case commandsUp(BrokerIdentity, BrokerScope)
        case commandsDown(String, BrokerScope)
        case subscriptionsUp(BrokerIdentity, BrokerScope)
        case subscriptionsDown(String, BrokerScope)
    }

    private struct Part {
        var address: ClusterAddress
        var slots: SlotSet
        var commands = Side()
        var subscriptions = Side()
        /// Whether it was lost before. A server that comes back may have been replaced meanwhile, and may be the last
        /// to learn of that.
        var isSuspect = false
    }

    /// One of the two connections to a master.
    private struct Side {
        /// Nil if it is not up.
        var identity: BrokerIdentity?
        /// Slots that the master refused on this connection.
        var unsettled = SlotSet()

        func reaches(_ slot: HashSlot) -> Bool { identity != nil && !unsettled.contains(slot) }
    }

    private struct Pending {
        var tag: RequestTag
        var slot: HashSlot
        var part: PartID
        /// The room of this `hold`; other requests wait for it.
        var held: RoomName?
    }

    /// A `hold` that is not answered, and the requests that were submitted after it.
    private struct Hold {
        var tag: RequestTag
        /// The number of lists whose answer is missing.
        var open: Int
        /// The first failure, and the slot of the list that was not written.
        var failure: (result: Result<BrokerReply, BrokerError>, list: HashSlot)?
        var waiting: [(request: BrokerRequest, tag: RequestTag)] = []
    }

    /// The slot of ``Entity/nodes``.
    private let nodesSlot: HashSlot
    /// ``BrokerLink/keepsOldList``. Until the versions of all nodes are known, nodes of schema 1 are expected.
    private(set) var keepsOldList = true
    private var parts: [PartID: Part] = [:]
    private var nextPart: PartID = 1
    /// By slot; 0 if nobody serves it.
    private var owners = [PartID](repeating: 0, count: HashSlot.count)
    private var pending: [UInt64: Pending] = [:]
    private var nextSerial = RequestTag.ignoredSerial + 1
    private var holds: [RoomName: Hold] = [:]
    /// Rooms whose `hold` failed, with the slot of the list, until the `enter` after it has failed too.
    private var unheld: [RoomName: HashSlot] = [:]
    /// Slots of rooms that could not be entered because the master of a list was unavailable, by the slot of the list.
    private var unentered: [HashSlot: SlotSet] = [:]

    init(nodesSlot: HashSlot) {
        self.nodesSlot = nodesSlot
    }

    // MARK: Look-up

    /// The parts that come up and go down as a whole.
    var scopes: [BrokerScope] { parts.sorted { $0.key < $1.key }.map { scope($0.value.slots) } }

    /// Whether the part is subscribed for the entity.
    func hears(_ entity: Entity, from id: PartID) -> Bool {
        let slot = entity.slot(nodes: nodesSlot)
        return owners[slot.number] == id && parts[id]?.subscriptions.reaches(slot) == true
    }

    /// The part that serves the entity, whether or not it can be reached.
    func owner(of entity: Entity) -> PartID? {
        let id = owners[entity.slot(nodes: nodesSlot).number]
        return parts[id] == nil ? nil : id
    }

    /// Whether a master is unavailable or refuses some of its slots. While this is true, the Cluster is queried
    /// repeatedly.
    var isTroubled: Bool {
        parts.values.contains {
            $0.commands.identity == nil || $0.subscriptions.identity == nil || !$0.commands.unsettled.isEmpty
                || !$0.subscriptions.unsettled.isEmpty
        }
    }

    private func scope(_ slots: SlotSet) -> BrokerScope {
        BrokerScope(slots, holdsNodes: slots.contains(nodesSlot))
    }

    // MARK: The Cluster

    /// The Cluster was queried, with this result.
    mutating func cameToKnow(_ topology: ClusterTopology, _ actions: inout [Action]) {
        var wanted: [ClusterAddress: SlotSet] = [:]
        for master in topology.masters { wanted[master.address, default: SlotSet()].formUnion(master.slots) }
        var gained: [PartID: SlotSet] = [:]
        for id in parts.keys.sorted() {
            guard let part = parts[id] else { continue }
            let slots = wanted.removeValue(forKey: part.address) ?? SlotSet()
            let lost = part.slots.subtracting(slots)
            if !lost.isEmpty { takeDown(lost, of: id, "another master serves its slots", &actions) }
            gained[id] = slots.subtracting(part.slots)
            for slot in lost.slots { owners[slot.number] = 0 }
            parts[id]?.slots = slots
            if slots.isEmpty {
                parts[id] = nil
                actions.append(.close(id))
            } else if slots != part.slots {
                actions.append(.serves(id, slots))
            }
        }
        for (address, slots) in wanted.sorted(by: { $0.key.description < $1.key.description }) where !slots.isEmpty {
            let id = nextPart
            nextPart += 1
            parts[id] = Part(address: address, slots: slots)
            actions.append(.open(id, address, slots))
        }
        for (id, part) in parts { for slot in part.slots.slots { owners[slot.number] = id } }
        for id in parts.keys.sorted() { settle(id, gained[id] ?? SlotSet(), &actions) }
    }

    /// Uses the part from now on for slots that it gained, and for slots that it refused before.
    private mutating func settle(_ id: PartID, _ gained: SlotSet, _ actions: inout [Action]) {
        guard let part = parts[id] else { return }
        if part.commands.identity != nil, part.subscriptions.identity != nil { parts[id]?.isSuspect = false }
        parts[id]?.commands.unsettled = SlotSet()
        parts[id]?.subscriptions.unsettled = SlotSet()
        let subscriptions = part.subscriptions.unsettled.intersection(part.slots).union(gained)
        if let identity = part.subscriptions.identity, !subscriptions.isEmpty {
            actions.append(.subscriptionsUp(identity, scope(subscriptions)))
        }
        let commands = part.commands.unsettled.intersection(part.slots).union(gained)
        if let identity = part.commands.identity, !commands.isEmpty { up(id, identity, commands, &actions) }
    }

    /// The part does not serve the slots any more, or refused them: for these slots both connections count as lost.
    private mutating func takeDown(
        _ slots: SlotSet, of id: PartID, _ reason: String, refused: UInt64? = nil, _ actions: inout [Action]
    ) {
        takeDownCommands(slots, of: id, reason, refused: refused, &actions)
        guard let side = parts[id]?.subscriptions, side.identity != nil else { return }
        let reached = slots.subtracting(side.unsettled)
        parts[id]?.subscriptions.unsettled.formUnion(slots)
        if !reached.isEmpty { actions.append(.subscriptionsDown(reason, scope(reached))) }
    }

    /// `refused` is the request that the master certainly did not carry out.
    private mutating func takeDownCommands(
        _ slots: SlotSet, of id: PartID, _ reason: String, refused: UInt64? = nil, _ actions: inout [Action]
    ) {
        guard let side = parts[id]?.commands, side.identity != nil else { return }
        let reached = slots.subtracting(side.unsettled)
        parts[id]?.commands.unsettled.formUnion(slots)
        guard !reached.isEmpty else { return }
        actions.append(.commandsDown(reason, scope(reached)))
        let lost = pending.filter { $0.value.part == id && slots.contains($0.value.slot) }.sorted { $0.key < $1.key }
        for (serial, request) in lost {
            pending[serial] = nil
            finish(request, .failure(serial == refused ? .notConnected : .outcomeUnknown), &actions)
        }
        dropWaiting(in: slots, &actions)
    }

    /// Fails the requests that wait for a `hold` and cannot be sent any more.
    private mutating func dropWaiting(in slots: SlotSet, _ actions: inout [Action]) {
        for room in holds.keys where slots.contains(HashSlot(of: room)) {
            let waiting = holds[room]?.waiting ?? []
            holds[room]?.waiting = []
            for (_, tag) in waiting where tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
        }
    }

    // MARK: Connections

    mutating func commandsUp(_ id: PartID, _ identity: BrokerIdentity, _ actions: inout [Action]) {
        if let slots = came(id, on: \.commands, identity, &actions) { up(id, identity, slots, &actions) }
    }

    /// A connection is up. Returns the slots that it reaches; nil if the master is not trusted yet.
    private mutating func came(
        _ id: PartID, on side: WritableKeyPath<Part, Side>, _ identity: BrokerIdentity, _ actions: inout [Action]
    ) -> SlotSet? {
        guard let part = parts[id] else { return nil }
        guard part.isSuspect else {
            parts[id]?[keyPath: side] = Side(identity: identity)
            return part.slots
        }
        parts[id]?[keyPath: side] = Side(identity: identity, unsettled: part.slots)
        actions.append(.look(best: nil, last: part.address))
        return nil
    }

    private mutating func up(
        _ id: PartID, _ identity: BrokerIdentity, _ slots: SlotSet, _ actions: inout [Action]
    ) {
        actions.append(.commandsUp(identity, scope(slots)))
        // Rooms of other masters may have waited for lists that this master keeps.
        var waited = SlotSet()
        for (list, rooms) in unentered where slots.contains(list) {
            waited.formUnion(rooms)
            unentered[list] = nil
        }
        waited.subtract(slots)
        guard !waited.isEmpty else { return }
        for other in parts.keys.sorted() {
            guard let part = parts[other], let identity = part.commands.identity else { continue }
            let again = waited.intersection(part.slots).subtracting(part.commands.unsettled)
            if !again.isEmpty { actions.append(.commandsUp(identity, scope(again))) }
        }
    }

    /// Also called for a failed attempt to connect.
    mutating func commandsDown(_ id: PartID, _ reason: String, _ actions: inout [Action]) {
        guard let part = parts[id] else { return }
        if part.commands.identity == nil {
            actions.append(.commandsDown(reason, scope(part.slots)))
        } else {
            takeDownCommands(part.slots, of: id, reason, &actions)
        }
        parts[id]?.commands = Side()
        parts[id]?.isSuspect = true
        actions.append(.look(best: nil, last: part.address))
    }

    mutating func subscriptionsUp(_ id: PartID, _ identity: BrokerIdentity, _ actions: inout [Action]) {
        guard let slots = came(id, on: \.subscriptions, identity, &actions) else { return }
        actions.append(.subscriptionsUp(identity, scope(slots)))
    }

    mutating func subscriptionsDown(_ id: PartID, _ reason: String, _ actions: inout [Action]) {
        guard let part = parts[id] else { return }
        let reached = part.slots.subtracting(part.subscriptions.unsettled)
        parts[id]?.subscriptions = Side()
        parts[id]?.isSuspect = true
        if !reached.isEmpty { actions.append(.subscriptionsDown(reason, scope(reached))) }
        actions.append(.look(best: nil, last: part.address))
    }

    /// The entity's channel is not subscribed there any more, or the subscription was refused.
    mutating func channelLeft(_ entity: Entity, _ reason: String, from id: PartID, _ actions: inout [Action]) {
        let slot = entity.slot(nodes: nodesSlot)
        guard owners[slot.number] == id else { return }
        takeDown(SlotSet([slot]), of: id, reason, &actions)
        var best: ClusterAddress?
        if case .moved(let address)? = ClusterRefusal(reason) { best = address }
        actions.append(.look(best: best, last: nil))
    }

    // MARK: Requests

    /// Returns true if all held rooms have to be written into the old list.
    mutating func keepOldList(_ isKept: Bool) -> Bool {
        let begins = isKept && !keepsOldList
        keepsOldList = isKept
        return begins
    }

    mutating func submit(_ request: BrokerRequest, _ tag: RequestTag, _ actions: inout [Action]) {
        switch request {
        case .hold(let room, let node, false): return hold(room, by: node, tag, &actions)
        case .release(let room, let node, false) where keepsOldList:
            let nobody = RequestTag(owner: 0, generation: 0, serial: RequestTag.ignoredSerial)
            route(.release(room: room, node: node, inOldList: true), nobody, to: nodesSlot, held: nil, &actions)
        default: break
        }
        let entity = request.entity
        if case .room(let room) = entity {
            if holds[room] != nil {
                holds[room]?.waiting.append((request, tag))
                return
            }
            if case .enter = request, let list = unheld.removeValue(forKey: room) {
                unentered[list, default: SlotSet()].insert(HashSlot(of: room))
                if tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
                return
            }
        }
        route(request, tag, to: entity.slot(nodes: nodesSlot), held: nil, &actions)
    }

    private mutating func hold(
        _ room: RoomName, by node: NodeID, _ tag: RequestTag, _ actions: inout [Action]
    ) {
        guard holds[room] == nil else {
            holds[room]?.waiting.append((.hold(room: room, node: node), tag))
            return
        }
        unheld[room] = nil
        var lists = [(slot: Holdings.slot(of: room), isOld: false)]
        if keepsOldList { lists.append((nodesSlot, true)) }
        if let away = lists.first(where: { part(for: $0.slot) == nil }) {
            unheld[room] = away.slot
            if tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
            return
        }
        holds[room] = Hold(tag: tag, open: lists.count)
        for list in lists {
            let request = BrokerRequest.hold(room: room, node: node, inOldList: list.isOld)
            route(request, tag, to: list.slot, held: room, &actions)
        }
    }

    private func part(for slot: HashSlot) -> PartID? {
        let id = owners[slot.number]
        return parts[id]?.commands.reaches(slot) == true ? id : nil
    }

    private mutating func route(
        _ request: BrokerRequest, _ tag: RequestTag, to slot: HashSlot, held: RoomName?, _ actions: inout [Action]
    ) {
        guard let id = part(for: slot) else {
            if tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
            return
        }
        guard tag.wantsAnswer || held != nil else { return actions.append(.submit(id, request, tag)) }
        let serial = nextSerial
        nextSerial += 1
        pending[serial] = Pending(tag: tag, slot: slot, part: id, held: held)
        actions.append(.submit(id, request, RequestTag(owner: 0, generation: 0, serial: serial)))
    }

    mutating func completed(
        _ serial: UInt64, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        guard let request = pending[serial] else { return }
        guard case .failure(.notStored(let text)) = result, let refusal = ClusterRefusal(text) else {
            pending[serial] = nil
            return finish(request, result, &actions)
        }
        let slots = SlotSet([request.slot])
        switch refusal {
        case .moved(let address):
            takeDown(slots, of: request.part, text, refused: serial, &actions)
            actions.append(.look(best: address, last: nil))
        case .migrating, .down:
            takeDownCommands(slots, of: request.part, text, refused: serial, &actions)
            actions.append(.look(best: nil, last: nil))
        }
        // Unless it was failed together with the others.
        if pending.removeValue(forKey: serial) != nil { finish(request, .failure(.notConnected), &actions) }
    }

    private mutating func finish(
        _ request: Pending, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        guard let room = request.held else {
            if request.tag.wantsAnswer { actions.append(.complete(request.tag, result)) }
            return
        }
        guard var hold = holds[room] else { return }
        hold.open -= 1
        if case .failure = result, hold.failure == nil { hold.failure = (result, request.slot) }
        guard hold.open == 0 else {
            holds[room] = hold
            return
        }
        holds[room] = nil
        if let failure = hold.failure { unheld[room] = failure.list }
        if hold.tag.wantsAnswer { actions.append(.complete(hold.tag, hold.failure?.result ?? result)) }
        for (request, tag) in hold.waiting { submit(request, tag, &actions) }
    }

    // MARK: Subscriptions

    mutating func subscribe(_ entity: Entity, _ actions: inout [Action]) {
        if let id = listener(of: entity) { actions.append(.subscribe(id, entity)) }
    }

    mutating func unsubscribe(_ entity: Entity, _ actions: inout [Action]) {
        if let id = listener(of: entity) { actions.append(.unsubscribe(id, entity)) }
    }

    /// Nil if the connection is down. Then the request is dropped: the owner subscribes again once the connection is
    /// up.
    private func listener(of entity: Entity) -> PartID? {
        let id = owners[entity.slot(nodes: nodesSlot).number]
        return hears(entity, from: id) ? id : nil
    }
}
