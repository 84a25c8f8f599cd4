extension MemoryRoom {
    /// Whether it is within ``PositionBounds`` and not years ahead of the broker's clock.
    func isSound(_ position: Position, now: UInt64) -> Bool {
        position.isWithinBounds && position.epoch <= PositionBounds.newestEpoch(clock: now)
    }

    /// What Redis' functions say of a log whose last ID no node made; nil: all is well.
    func problem(now: UInt64) -> BrokerError? {
        guard let log, !isSound(log.last, now: now) else { return nil }
        return .notStored(
            "ERR martlet: the last ID of the log is beyond 2^53 or years ahead, none of ours; see martlet doctor")
    }
}

// MARK: for tests

/// What somebody with redis-cli does to a room's keys. The simulator's vandal does it; nobody else.
package enum Vandalism: Sendable, Equatable {
    /// XSETID.
    case lastID(Position)
    /// XSETID to the same seq in an epoch that much later.
    case ahead(UInt64)
    /// HSET of a field in `nodes`.
    case node(NodeID, UInt64)
    /// LPUSH to the chain.
    case link(EpochLink)
    case history(UInt64)
    case branch(UInt64)
    /// XADD to the presence stream.
    case presence(Position)
    case run(String)
}

extension MemoryRoom {
    package mutating func suffer(_ deed: Vandalism) {
        switch deed {
        case .lastID(let position):
            // (Redis refuses an ID below that of the last entry; an older one is what a failover makes.)
            if let last = log?.last, position > last { log?.set(last: position) }
        case .ahead(let milliseconds):
            if let last = log?.last {
                log?.set(last: Position(epoch: last.epoch &+ milliseconds, seq: last.seq))
            }
        case .node(let node, let value): nodes[node] = value
        case .link(let link): chain?.links.insert(link, at: 0)
        case .history(let epoch): chain?.history = epoch
        case .branch(let epoch): branch = epoch
        case .presence(let position): presence = position
        case .run(let run): self.run = run
        }
    }

    /// Puts right what is broken, as an operator does who reads `martlet doctor`: `last` is where the log stood before, and `isGhost` names
    /// nodes that never were (nobody sweeps them in a room that nobody holds).
    package mutating func mend(last: Position?, now: UInt64, isGhost: (NodeID) -> Bool) {
        if let log, !isSound(log.last, now: now), let last { self.log?.set(last: last) }
        nodes = nodes.filter { $0.value <= PositionBounds.newestEpoch(clock: now) && !isGhost($0.key) }
    }

    /// Where the log stands.
    package var lastID: Position? { log?.last }
}
