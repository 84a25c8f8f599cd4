/// One link of a room's history: from `epoch` on, messages had seqs above `base`.
public struct EpochLink: Hashable, Sendable {
    public var epoch: UInt64
    public var base: UInt64

    public init(epoch: UInt64, base: UInt64) {
        self.epoch = epoch
        self.base = base
    }
}

/// The log's verdict on a position that somebody still holds.
public enum Verdict: Hashable, Sendable {
    /// Everything after the position is still there.
    case ok
    /// The log no longer holds the seqs `first...last`.
    case gap(first: UInt64, last: UInt64)
    /// The position belongs to a history that the log no longer continues (failover, flush, restart with a lost tail).
    case rewound
}

/// The epochs of a room's log with the seq at which each began, oldest first. The chain distinguishes a position of
/// this history from one of a branch that was lost, although both look contiguous by seq (race 9).
///
/// Epochs without messages are dropped when the next one begins, and so are those that ended below the log's first
/// entry, so the chain is never longer than the log + 2.
public struct EpochChain: Hashable, Sendable {
    public var links: [EpochLink]
    /// The epoch at which history began, or began afresh. A position of an older epoch is rewound.
    public var history: UInt64

    public init(links: [EpochLink], history: UInt64) {
        self.links = links
        self.history = history
    }

    /// Judges `position` (always a message's position, or where history began) against a log whose last seq is `last`
    /// in epoch `epoch` and whose first entry after `position` has the seq `firstAfter` (nil: there is none).
    public func verdict(of position: Position?, epoch: UInt64, last: UInt64, firstAfter: UInt64?) -> Verdict {
        guard let position else { return .ok }
        // Seq 0 is never a message, so nothing was shown that could be void.
        guard position.seq > 0 else { return judge(after: 0, firstAfter ?? last + 1) }
        if position > Position(epoch: epoch, seq: last) || position.seq > last { return .rewound }
        if position.epoch < history { return .rewound }
        if let next = links.first(where: { $0.epoch > position.epoch }), next.base < position.seq { return .rewound }
        if let oldest = links.first, position.epoch > oldest.epoch,
            !links.contains(where: { $0.epoch == position.epoch })
        {
            return .rewound
        }
        return judge(after: position.seq, firstAfter ?? last + 1)
    }

    private func judge(after seq: UInt64, _ next: UInt64) -> Verdict {
        if next == seq + 1 { return .ok }
        return next > seq + 1 ? .gap(first: seq + 1, last: next - 1) : .rewound
    }

    /// The base of `epoch`; nil if the chain does not know it.
    public func base(of epoch: UInt64) -> UInt64? {
        links.last(where: { $0.epoch == epoch })?.base
    }

    /// Adds the epoch that has just begun.
    public mutating func begin(epoch: UInt64, base: UInt64) {
        if let newest = links.last {
            guard epoch > newest.epoch else { return }
            if newest.base == base && newest.epoch != history { links.removeLast() }
        }
        links.append(EpochLink(epoch: epoch, base: base))
    }

    /// This chain, which the log had in `epoch` when its last seq was `last`, extended by the epochs that `other` knows
    /// of since then. Returns nil if these began below `last`, and so are not of the same history.
    public func continued(by other: EpochChain, after epoch: UInt64, last: UInt64) -> EpochChain? {
        let newer = other.links.drop { $0.epoch <= epoch }
        guard newer.first.map({ $0.base >= last }) ?? true else { return nil }
        var chain = self
        for link in newer { chain.begin(epoch: link.epoch, base: link.base) }
        return chain
    }

    /// This chain of the log, extended backwards, down to the entry `seq`, by the earlier epochs in `other`, an earlier
    /// chain of the same history: the log may have been trimmed below what a node remembers. `shown` is the seq up to
    /// which `other` followed every message; beyond it `other` may lack epochs.
    public func reachingBack(by other: EpochChain, toEntry seq: UInt64, shown: UInt64) -> EpochChain {
        guard other.history == history, let first = links.first, first.base <= shown,
            let place = other.links.firstIndex(of: first), place > other.links.startIndex
        else { return self }
        var chain = EpochChain(links: other.links[..<place] + links, history: history)
        chain.prune(firstEntry: seq)
        return chain
    }

    /// Forgets epochs that ended before the log's first entry.
    public mutating func prune(firstEntry seq: UInt64) {
        while links.count > 1, seq > 0, links[1].base < seq - 1 { links.removeFirst() }
    }
}

extension EpochChain {
    /// The epoch of the message with that seq, existing or future, as far as the chain reaches; nil for an empty chain.
    public func epoch(of seq: UInt64) -> UInt64? {
        links.last(where: { $0.base < seq })?.epoch ?? links.first?.epoch
    }
}
