import ChatCore

/// Reads parts of replies that outsiders can write. Values beyond ``PositionBounds`` are left out, and noted.
extension RedisCodec {
    /// The number; nil if it is not one, or beyond the bounds.
    func bounded(_ reply: RESPReply) -> UInt64? {
        guard let number = reply.unsigned, PositionBounds.holds(number) else { return nil }
        return number
    }

    /// The position; nil, and noted, if it is not one.
    func place(of reply: RESPReply, _ kind: IgnoredData) -> Position? {
        if reply.kind == .string || reply.kind == .status, let position = reply.withBytes({ Position(utf8: $0) }) {
            return position
        }
        reply.leaveOut(kind)
        return nil
    }

    /// The epoch chain of a log whose last position is `last`. If links of the chain are broken, only the part after
    /// the last broken one counts, as if the older links were lost, and history begins there. The room checks their
    /// order.
    func chain(_ reply: RESPReply, history: RESPReply, _ last: Position, base: UInt64) -> EpochChain {
        var links: [EpochLink] = []
        links.reserveCapacity(reply.count)
        var isBroken = false
        for index in 0..<reply.count {
            if let link = place(of: reply[index], .link) {
                links.append(EpochLink(epoch: link.epoch, base: link.seq))
            } else {
                links.removeAll()
                isBroken = true
            }
        }
        if links.isEmpty {
            links = [EpochLink(epoch: last.epoch, base: base)]
            isBroken = true
        }
        var begin = bounded(history)
        if begin == nil { history.leaveOut(.meta) }
        if isBroken { begin = max(begin ?? 0, links[0].epoch) }
        return EpochChain(links: links, history: begin ?? links[0].epoch)
    }

    /// The first epoch that was begun on this Redis; 0 if it cannot be read.
    func branch(_ reply: RESPReply) -> UInt64 {
        if let branch = bounded(reply) { return branch }
        reply.leaveOut(.meta)
        return 0
    }
}
