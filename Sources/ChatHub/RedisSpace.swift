import Synchronization

/// Whether Redis has memory for new rooms. The keeper sets it, and all loops read it.
public final class RedisSpace: Sendable {
    private let short = Atomic<Bool>(false)

    public init() {}

    /// Whether so much of Redis' memory is used that no new room may be created.
    public var isShort: Bool {
        get { short.load(ordering: .relaxed) }
        set { short.store(newValue, ordering: .relaxed) }
    }
}
