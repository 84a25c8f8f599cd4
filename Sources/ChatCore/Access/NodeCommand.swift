/// Something that every node has to apply: an entry of the stream of commands.
public enum NodeCommand: Hashable, Sendable {
    /// Revokes the subject's tokens that were issued before a time; the revocation is forgotten at `until`. Both in
    /// milliseconds since 1970. Nil leaves the time to the broker: now, and 30 days from now.
    case revoke(Revocations.Subject, issuedBefore: UInt64?, until: UInt64?)
}

/// A command as it is in the stream.
public struct CommandEntry: Hashable, Sendable {
    /// Its place in the stream, by which readers continue.
    public var position: Position
    /// Nil if this version does not know the command, or the entry is none.
    public var command: NodeCommand?
    /// Who ordered it, as they said themselves.
    public var by: String

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
        }
    }
}
