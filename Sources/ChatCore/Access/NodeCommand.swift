/// Something that every node has to apply: an entry of the stream of commands.
public enum NodeCommand: Hashable, Sendable {
    /// Revokes the subject's tokens that were issued before a time; the revocation is forgotten at `until`. Both in
    /// milliseconds since 1970. Nil leaves the time to the broker: now, and 30 days from now.
    case revoke(Revocations.Subject, issuedBefore: UInt64?, until: UInt64?)
    /// Bans or mutes the user in all rooms, in place of an earlier sanction of the same kind. `time`: for how long, in
    /// milliseconds since the command was given; nil for ever.
    case impose(Sanction.Kind, on: UserID, for: UInt64?, reason: String)
    case lift(Sanction.Kind, from: UserID)
}

/// A command as it is in the stream.
public struct CommandEntry: Hashable, Sendable {
    /// Its place in the stream, by which readers continue.
    public var position: Position
    /// Nil if this version does not know the command, or the entry is none.
    public var command: NodeCommand?
    /// Who ordered it, as they said themselves.
    public var by: String

    /// The sanction that the command imposes; nil if it imposes none. Its time begins with the entry, by Redis' clock.
    public var sanction: Sanction? {
        guard case .impose(_, _, let time, let reason)? = command else { return nil }
        return Sanction(
            until: time.map { min($0 + position.epoch, PositionBounds.largest) }, reason: reason, by: by,
            at: position.epoch)
    }

    public init(position: Position, command: NodeCommand?, by: String) {
        self.position = position
        self.command = command
        self.by = by
    }
}

extension NodeCommand {
    /// The default of ``revoke(_:issuedBefore:until:)``.
    public static let revocationLife: UInt64 = 30 * 86_400_000

    /// The same command with its times filled in. `now`: in milliseconds since 1970.
    func dated(_ now: UInt64) -> NodeCommand {
        switch self {
        case .revoke(let subject, let before, let until):
            .revoke(subject, issuedBefore: before ?? now, until: until ?? now + Self.revocationLife)
        case .impose, .lift: self
        }
    }
}
