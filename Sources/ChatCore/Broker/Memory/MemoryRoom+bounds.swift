extension MemoryRoom {
    /// Whether the position is within ``PositionBounds`` and not years ahead of the broker's clock.
    func isSound(_ position: Position, now: UInt64) -> Bool {
        position.isWithinBounds && position.epoch <= PositionBounds.newestEpoch(clock: now)
    }

    /// The error of the functions in Redis for a log whose last ID cannot be a node's; nil if the log is sound.
    func problem(now: UInt64) -> BrokerError? {
        guard let log, !isSound(log.last, now: now) else { return nil }
        return .notStored(
            "ERR martlet: the last ID of the log is beyond 2^53 or years ahead, none of ours; see martlet doctor")
    }
}

// MARK: for tests

/// Changes that somebody with redis-cli may make to a room's keys. Only the simulator's vandal makes them.
package enum Vandalism: Sendable, Equatable {
    /// XSETID.
    case lastID(Position)
    /// XSETID to the same seq in an epoch that is that many milliseconds later.
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
            // (Redis refuses an ID below that of the last entry; only a failover leads to an older one.)
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

    /// Repairs what is damaged, like an operator who follows `martlet doctor`. `last` is where the log stood before,
    /// and `isGhost` identifies nodes that never existed (nobody sweeps them in a room that no node holds).
    package mutating func mend(last: Position?, now: UInt64, isGhost: (NodeID) -> Bool) {
        if let log, !isSound(log.last, now: now), let last { self.log?.set(last: last) }
        nodes = nodes.filter { $0.value <= PositionBounds.newestEpoch(clock: now) && !isGhost($0.key) }
    }

    /// Goes back to the epoch of an earlier copy, as if none had begun since.
    package mutating func takeEpoch(of earlier: MemoryRoom) {
        log = earlier.log
        chain = earlier.chain
    }

    /// Goes back to the contents that entries had in an earlier copy, as if nothing had been erased since.
    package mutating func takeContents(of earlier: MemoryRoom) {
        for message in earlier.log?.entries ?? [] { log?.replace(message) }
    }

    /// XDEL of one entry.
    package mutating func erase(_ position: Position) { log?.erase(position) }

    /// The log's last ID.
    package var lastID: Position? { log?.last }
}
