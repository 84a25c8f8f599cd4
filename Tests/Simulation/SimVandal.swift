import ChatCore

/// A user of redis-cli with bad intentions and no knowledge: no node could have published or written these data. (With
/// knowledge, anybody who can write to Redis can send any message to any room.)
enum SimVandal {
    private static let year: UInt64 = 31_536_000_000

    /// A number near a power of two, or near the clock.
    static func number(_ random: inout SimRandom) -> UInt64 {
        let near = UInt64(random.below(3))
        if random.oneIn(5) { return SimWorld.wallStart + random.below(2 * PositionBounds.ahead) }
        let power: UInt64 = 1 << UInt64(20 + random.below(44))
        return random.oneIn(2) ? power &+ near : power &- near
    }

    private static func position(_ random: inout SimRandom) -> Position {
        Position(epoch: number(&random), seq: number(&random))
    }

    static func event(_ random: inout SimRandom) -> ChannelEvent {
        guard let stranger = try? NodeID("vandal-1"), let user = try? UserID("vandal") else {
            preconditionFailure("both are names")
        }
        switch random.below(5) {
        case 0:
            let content = MessageContent(user: user, at: number(&random), text: "nonsense")
            let base = random.oneIn(2) ? nil : number(&random)
            return .message(Message(position: position(&random), content: content), base: base)
        case 1, 2:
            let nodes = random.oneIn(2) ? [:] : [stranger: number(&random)]
            return .epoch(number(&random), base: number(&random), nodes: nodes, by: stranger)
        case 3: return .gone(stranger, value: number(&random), nodes: [:], last: position(&random))
        default:
            let (after, next) = (position(&random), position(&random))
            return .presence(PresenceNotice(after: after, position: next, changes: [], count: random.below(9)))
        }
    }

    static func deed(_ random: inout SimRandom) -> Vandalism {
        guard let ghost = try? NodeID("ghost-\(random.below(3))") else { preconditionFailure("that is a name") }
        switch random.below(9) {
        case 0: return .lastID(Position(epoch: PositionBounds.largest - number(&random) % year, seq: random.below(99)))
        case 1: return .lastID(Position(epoch: number(&random), seq: .max - number(&random) % 9))
        case 2: return .ahead(random.below(4 * year))
        case 3: return .node(ghost, number(&random))
        case 4: return .link(EpochLink(epoch: number(&random), base: number(&random)))
        case 5: return .history(number(&random))
        case 6: return .branch(number(&random))
        case 7: return .presence(Position(epoch: .max - random.below(9), seq: number(&random)))
        default: return .run("never mind")
        }
    }
}

extension SimWorld {
    func spoil(_ room: Int, _ deed: Vandalism) {
        log("room\(room) is spoiled: \(deed)")
        hasLost = true
        isVandalised = true
        switch deed {
        case .lastID, .ahead: moved.insert(room)
        case .node, .link, .history, .branch, .presence, .run: break
        }
        servers[primary].spoil(room, deed)
    }

    func mend(_ room: Int) {
        log("room\(room) is mended")
        servers[primary].mend(room, now: wall(servers[primary].skew))
    }
}

extension SimRedis {
    mutating func spoil(_ index: Int, _ deed: Vandalism) {
        var before: Position?
        var after: Position?
        rooms[index].broker.spoil(names[index]) { room in
            before = room.lastID
            room.suffer(deed)
            after = room.lastID
        }
        let newest = PositionBounds.newestEpoch(clock: SimWorld.wallStart)
        if before != after, let before, before.isWithinBounds, before.epoch <= newest { rooms[index].stoodAt = before }
    }

    mutating func mend(_ index: Int, now: UInt64) {
        let before = rooms[index].stoodAt
        rooms[index].broker.spoil(names[index]) { $0.mend(last: before, now: now) { $0.text.hasPrefix("ghost-") } }
        rooms[index].stoodAt = nil
    }
}
