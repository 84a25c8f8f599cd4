import Synchronization

/// Whether Redis has memory for new rooms. The keeper writes it, all loops read it.
public final class RedisSpace: Sendable {
    private let short = Atomic<Bool>(false)

    public init() {}

    /// So much of Redis' memory is used that no room is begun.
    public var isShort: Bool {
        get { short.load(ordering: .relaxed) }
        set { short.store(newValue, ordering: .relaxed) }
    }
}
