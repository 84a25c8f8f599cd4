public import ChatCore

/// What a tool looks at.
public enum RedisTarget: Sendable, Hashable, CustomStringConvertible {
    case single(RedisURL)
    /// `nodesSlot`: the slot of what nodes say of themselves.
    case cluster(ClusterURL, nodesSlot: HashSlot)

    public var isCluster: Bool {
        switch self {
        case .single: false
        case .cluster: true
        }
    }

    /// Who we are there; nil: the default user.
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
