/// How many entries a log has had, and how many of them are amendments, which nobody has to read.
///
/// With it the mark of each user becomes a number of unread messages, so an append counts nothing for anybody:
/// (last - amendments) - (mark.seq - mark.amendments).
public struct LogTally: Hashable, Sendable {
    /// The seq of the newest entry.
    public var last: UInt64
    /// The amendments of the room's life.
    public var amendments: UInt64

    public init(last: UInt64, amendments: UInt64 = 0) {
        self.last = last
        self.amendments = min(amendments, last)
    }

    /// The number of messages after the mark. `kept`: the number of entries that the log still has, the most that there
    /// are to read for a user who has read nothing (`mark` is nil).
    public func unread(after mark: ReadMark?, kept: UInt64) -> UInt64 {
        let said = last - amendments
        guard let mark else { return min(said, kept) }
        let read = mark.position.seq - min(mark.amendments, mark.position.seq)
        return said > read ? said - read : 0
    }

    /// The next entry of the log was seen.
    public mutating func saw(seq: UInt64, isAmendment: Bool) {
        guard seq > last else { return }
        last = seq
        if isAmendment { amendments += 1 }
    }
}
