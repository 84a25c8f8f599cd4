/// Kinds of what Redis or a channel holds that no node and no function of ours wrote, and that is left out: each is counted, logged once a
/// minute, and found by `martlet doctor`. The sound rest around it counts.
public enum IgnoredData: UInt8, CaseIterable, Hashable, Sendable {
    /// A payload on a channel that is no event.
    case payload
    /// An epoch that is years ahead of the clock, or a number beyond 2^53.
    case bounds
    /// A field of a room's `nodes` that is no node, or whose value is no epoch.
    case node
    /// A link of a room's `epochs` that is none; the older ones count no more.
    case link
    /// A field of a room's `meta` that is no number.
    case meta
    /// An entry of a log whose ID is no position.
    case entry
    /// What a roster holds of a user that is no list of devices by node, or a name in it that is none.
    case roster
    /// A name in a list of nodes or rooms that is none.
    case name
    /// An answer of Redis of which nothing could be read.
    case reply

    /// What is logged, for people.
    public var text: String {
        switch self {
        case .payload: "a payload on a room's channel is no event"
        case .bounds: "a number is beyond 2^53 or an epoch years ahead of the clock"
        case .node: "a field of a room's nodes is no node with its epoch"
        case .link: "a link of a room's epochs is no <epoch>-<seq> that follows the one before"
        case .meta: "a field of a room's meta is no number"
        case .entry: "an entry of a room's log has an ID that is no position"
        case .roster: "a roster holds what is no list of devices by node"
        case .name: "a list of nodes or rooms holds what is no name"
        case .reply: "an answer makes no sense"
        }
    }
}

/// Some kinds of ``IgnoredData``; a byte or two, so that noting costs nothing.
public struct IgnoredKinds: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public init(_ kind: IgnoredData) { rawValue = 1 << UInt16(kind.rawValue) }

    public var kinds: [IgnoredData] { isEmpty ? [] : IgnoredData.allCases.filter { contains(IgnoredKinds($0)) } }
}
