import Synchronization

/// Whether a relay is registered, so that rooms are noted for it. The keeper sets it, and all loops read it.
public final class RelaySwitch: Sendable {
    private let registered = Atomic<Bool>(false)

    public init() {}

    public var isRegistered: Bool {
        get { registered.load(ordering: .relaxed) }
        set { registered.store(newValue, ordering: .relaxed) }
    }
}
