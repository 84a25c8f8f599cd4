import ChatCore

/// Which master gets what, for one link to a Cluster; and what the link's owner is told of slots that move, fail and come back.
///
/// - A slot that moves is to its rooms what a lost connection is: both its connections go down, what was in flight ends as
///   `.outcomeUnknown`, and when somebody serves it again they come up, with the identity of who does. Nothing else is touched. So
///   rooms need no rule for Clusters.
/// - A master that comes back is not believed before the Cluster was asked again: frozen for a while, it takes writes for a moment that
///   are lost when it hears of its successor.
/// - The same if a master refuses a slot (MOVED, ASK, TRYAGAIN, CLUSTERDOWN): it is *unsettled*, until the Cluster was asked again.
///   While a slot's keys are moved one by one its rooms are away: a function that finds half of a room's keys is refused by Redis.
/// - `hold` goes to the master that has the nodes' keys, everything else of a room to its own; `enter` must not be carried out before
///   its `hold`. So what follows a `hold` waits for its answer, and `enter` fails with it.
struct ClusterRouter {
    typealias PartID = UInt32

    enum Action: Equatable {
        /// Connect to the master there, which serves these slots.
        case open(PartID, ClusterAddress, SlotSet)
        /// Its slots are these from now on.
        case serves(PartID, SlotSet)
        case close(PartID)
        case submit(PartID, BrokerRequest, RequestTag)
        case subscribe(PartID, RoomName)
        case unsubscribe(PartID, RoomName)
        /// Ask the Cluster again: best there, and there only if nobody else answers, for it may not know yet that it is no master any more.
        case look(best: ClusterAddress?, last: ClusterAddress?)
        // For the owner of the link:
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
        /// It was lost before: a server that comes back may have been replaced meanwhile, and be the last to hear of it.
        var isSuspect = false
    }

    /// One kind of connection to a master.
    private struct Side {
        /// Nil: not up.
        var identity: BrokerIdentity?
        /// Slots that the master refused on it.
        var unsettled = SlotSet()

        func reaches(_ slot: HashSlot) -> Bool { identity != nil && !unsettled.contains(slot) }
    }

    private struct Pending {
        var tag: RequestTag
        var slot: HashSlot
        var part: PartID
        /// It is a `hold` of this room, which others wait for.
        var held: RoomName?
    }

    /// A `hold` that is not answered, and what came after it.
    private struct Hold {
        var waiting: [(request: BrokerRequest, tag: RequestTag)] = []
    }

    /// The slot of what nodes say of themselves.
    private let nodesSlot: HashSlot
    private var parts: [PartID: Part] = [:]
    private var nextPart: PartID = 1
    /// By slot; 0: nobody serves it.
    private var owners = [PartID](repeating: 0, count: HashSlot.count)
    private var pending: [UInt64: Pending] = [:]
    private var nextSerial = RequestTag.ignoredSerial + 1
    private var holds: [RoomName: Hold] = [:]
    /// Rooms whose `hold` failed, until the `enter` behind it has.
    private var unheld: Set<RoomName> = []
    /// Slots of rooms that could not be entered because the nodes' master was away.
    private var unentered = SlotSet()

    init(nodesSlot: HashSlot) {
        self.nodesSlot = nodesSlot
    }

    // MARK: Looking

    /// What comes and goes together.
    var scopes: [BrokerScope] { parts.sorted { $0.key < $1.key }.map { scope($0.value.slots) } }

    /// Whether the part speaks for the room.
    func hears(_ room: RoomName, from id: PartID) -> Bool {
        let slot = HashSlot(of: room)
        return owners[slot.number] == id && parts[id]?.subscriptions.reaches(slot) == true
    }

    /// The part that has the room, whether or not it is reached.
    func owner(of room: RoomName) -> PartID? {
        let id = owners[HashSlot(of: room).number]
        return parts[id] == nil ? nil : id
    }

    /// Somebody is away, or refuses some of its slots: the Cluster is to be asked again and again.
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

    /// The Cluster was asked, and this is who serves what: the same as before, or not.
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

    /// What the part gained, and what it refused before, is tried with it from now on.
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

    /// The slots are not the part's any more, or it refused them: as if the connections were lost for them.
    private mutating func takeDown(
        _ slots: SlotSet, of id: PartID, _ reason: String, refused: UInt64? = nil, _ actions: inout [Action]
    ) {
        takeDownCommands(slots, of: id, reason, refused: refused, &actions)
        guard let side = parts[id]?.subscriptions, side.identity != nil else { return }
        let reached = slots.subtracting(side.unsettled)
        parts[id]?.subscriptions.unsettled.formUnion(slots)
        if !reached.isEmpty { actions.append(.subscriptionsDown(reason, scope(reached))) }
    }

    /// `refused`: the request that the master certainly did not carry out.
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

    /// What waits for a `hold` cannot be sent any more.
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

    /// A connection is there. The slots that it reaches; nil: it is not believed yet.
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
        unentered.subtract(slots)
        guard slots.contains(nodesSlot) else { return }
        // Rooms of other masters waited for this one.
        for other in parts.keys.sorted() {
            guard let part = parts[other], let identity = part.commands.identity else { continue }
            let again = unentered.intersection(part.slots).subtracting(part.commands.unsettled)
            if !again.isEmpty { actions.append(.commandsUp(identity, scope(again))) }
        }
        unentered = SlotSet()
    }

    /// Also for a try to connect that failed.
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

    /// The room's channel is not subscribed there any more, or was refused.
    mutating func channelLeft(_ room: RoomName, _ reason: String, from id: PartID, _ actions: inout [Action]) {
        let slot = HashSlot(of: room)
        guard owners[slot.number] == id else { return }
        takeDown(SlotSet([slot]), of: id, reason, &actions)
        var best: ClusterAddress?
        if case .moved(let address)? = ClusterRefusal(reason) { best = address }
        actions.append(.look(best: best, last: nil))
    }

    // MARK: Requests

    mutating func submit(_ request: BrokerRequest, _ tag: RequestTag, _ actions: inout [Action]) {
        if let room = request.roomOfKeys {
            if holds[room] != nil {
                holds[room]?.waiting.append((request, tag))
            } else {
                send(request, tag, of: room, &actions)
            }
        } else if case .hold(let room, _) = request {
            hold(room, request, tag, &actions)
        } else {
            route(request, tag, to: nodesSlot, held: nil, &actions)
        }
    }

    private mutating func send(
        _ request: BrokerRequest, _ tag: RequestTag, of room: RoomName, _ actions: inout [Action]
    ) {
        let slot = HashSlot(of: room)
        if case .enter = request, unheld.remove(room) != nil {
            unentered.insert(slot)
            if tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
            return
        }
        route(request, tag, to: slot, held: nil, &actions)
    }

    private mutating func hold(
        _ room: RoomName, _ request: BrokerRequest, _ tag: RequestTag, _ actions: inout [Action]
    ) {
        unheld.remove(room)
        guard part(for: nodesSlot) != nil else {
            unheld.insert(room)
            if tag.wantsAnswer { actions.append(.complete(tag, .failure(.notConnected))) }
            return
        }
        guard holds[room] == nil else {
            holds[room]?.waiting.append((request, tag))
            return
        }
        holds[room] = Hold()
        route(request, tag, to: nodesSlot, held: room, &actions)
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
        // Unless it went with the others.
        if pending.removeValue(forKey: serial) != nil { finish(request, .failure(.notConnected), &actions) }
    }

    private mutating func finish(
        _ request: Pending, _ result: Result<BrokerReply, BrokerError>, _ actions: inout [Action]
    ) {
        if request.tag.wantsAnswer { actions.append(.complete(request.tag, result)) }
        guard let room = request.held, let hold = holds.removeValue(forKey: room) else { return }
        if case .failure = result { unheld.insert(room) }
        for (request, tag) in hold.waiting { submit(request, tag, &actions) }
    }

    // MARK: Subscriptions

    mutating func subscribe(_ room: RoomName, _ actions: inout [Action]) {
        if let id = listener(of: room) { actions.append(.subscribe(id, room)) }
    }

    mutating func unsubscribe(_ room: RoomName, _ actions: inout [Action]) {
        if let id = listener(of: room) { actions.append(.unsubscribe(id, room)) }
    }

    /// Nil: down. The order is void: the owner subscribes again once the connection is up.
    private func listener(of room: RoomName) -> PartID? {
        let id = owners[HashSlot(of: room).number]
        return hears(room, from: id) ? id : nil
    }
}
