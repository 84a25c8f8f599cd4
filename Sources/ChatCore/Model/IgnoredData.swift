/// Kinds of invalid data in Redis or on a channel that no node and no function of ours wrote. A node ignores such data
/// and uses the valid rest around it. Each occurrence is counted, logged at most once a minute, and found by `martlet
/// doctor`.
public enum IgnoredData: UInt8, CaseIterable, Hashable, Sendable {
    /// A payload on a channel that is not an event.
    case payload
    /// An epoch that is years ahead of the clock, or a number beyond 2^53.
    case bounds
    /// A field of a room's `nodes` that is not a node, or whose value is not an epoch.
    case node
    /// An invalid link of a room's `epochs`; the older links are ignored too.
    case link
    /// A field of a room's `meta` that is not a number.
    case meta
    /// An entry of a log whose ID is not a position.
    case entry
    /// An entry of a roster that is not a list of devices by node, or that holds an invalid name.
    case roster
    /// An invalid name in a list of nodes or rooms.
    case name
    /// An answer of Redis that could not be parsed.
    case reply
    /// A field of a room's rules or sanctions that `martlet_moderate` did not write.
    case rules

    /// The description in the log.
    public var text: String {
        switch self {
        case .payload: "a payload on a room's channel is not an event"
        case .bounds: "a number is beyond 2^53 or an epoch years ahead of the clock"
        case .node: "a field of a room's nodes is not a node with its epoch"
        case .link: "a link of a room's epochs is not an <epoch>-<seq> that follows the one before"
        case .meta: "a field of a room's meta is not a number"
        case .entry: "an entry of a room's log has an ID that is not a position"
        case .roster: "an entry of a roster is not a list of devices by node"
        case .name: "a list of nodes or rooms holds an invalid name"
        case .reply: "an answer could not be parsed"
        case .rules: "a field of a room's rules or sanctions is none of martlet_moderate's"
        }
    }
}

/// A set of ``IgnoredData`` kinds in two bytes, so that recording one costs nothing.
public struct IgnoredKinds: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public init(_ kind: IgnoredData) { rawValue = 1 << UInt16(kind.rawValue) }

    public var kinds: [IgnoredData] { isEmpty ? [] : IgnoredData.allCases.filter { contains(IgnoredKinds($0)) } }
}
