public import ChatCore

/// The Redis that a tool inspects.
public enum RedisTarget: Sendable, Hashable, CustomStringConvertible {
    case single(RedisURL)
    /// `nodesSlot` is the slot of the nodes' keys.
    case cluster(ClusterURL, nodesSlot: HashSlot)

    public var isCluster: Bool {
        switch self {
        case .single: false
        case .cluster: true
        }
    }

    /// The user to log in as; nil is the default user.
    public var user: String? {
        switch self {
        case .single(let url): url.user
        case .cluster(let url, _): url.seeds.first?.user
        }
    }

    /// The URL without its password.
    public var description: String {
        switch self {
        case .single(let url): url.description
        case .cluster(let url, _): url.description
        }
    }
}
