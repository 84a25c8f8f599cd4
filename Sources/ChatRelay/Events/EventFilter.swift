public import ChatCore

/// Which events a sink is given.
public struct EventFilter: Hashable, Sendable {
    /// Empty: all types but those of presence and receipts, of which there are too many for whoever has not asked for
    /// them.
    public var kinds: Set<RoomEvent.Kind>
    /// Empty: all rooms. `$sub` in a pattern matches nothing.
    public var rooms: [RoomPattern]

    /// The types with these names: `message.created`, all that begin with `message.` (`message.*`), or all (`*`).
    /// Throws the name that is no type's.
    public static func kinds(_ names: [String]) throws(UnknownType) -> Set<RoomEvent.Kind> {
        var kinds: Set<RoomEvent.Kind> = []
        for name in names {
            let found = RoomEvent.Kind.allCases.filter { kind in
                if name.hasSuffix("*") { return kind.rawValue.hasPrefix(name.dropLast()) }
                return kind.rawValue == name
            }
            guard !found.isEmpty else { throw UnknownType(name: name) }
            kinds.formUnion(found)
        }
        return kinds
    }

    /// No event has that type.
    public struct UnknownType: Error, CustomStringConvertible {
        let name: String

        public var description: String {
            let all = RoomEvent.Kind.allCases.map(\.rawValue).joined(separator: ", ")
            return "\(name.debugDescription) is no type of events; there are: \(all)"
        }
    }

    /// Only what happened from then on (ms since 1970), and gaps.
    private var since: UInt64 = 0

    public static let everything = EventFilter(kinds: [], rooms: [])
    /// What the logs of all rooms say.
    static let messages = EventFilter(kinds: Set(RoomEvent.Kind.allCases.filter { $0.book == .log }), rooms: [])

    public init(kinds: Set<RoomEvent.Kind>, rooms: [RoomPattern]) {
        self.kinds = kinds
        self.rooms = rooms
    }

    /// Gaps are given to every sink that is given the room: nothing may be missing in silence.
    public func accepts(_ event: RoomEvent) -> Bool {
        (event.at.map { $0 >= since } ?? true) && (event.kind == .gap || accepts(event.kind)) && accepts(event.room)
    }

    private func accepts(_ kind: RoomEvent.Kind) -> Bool {
        kinds.isEmpty ? kind.book != .presence && kind.book != .receipts : kinds.contains(kind)
    }

    /// What has to be read for it.
    var books: [RoomBook] {
        RoomBook.allCases.filter { book in RoomEvent.Kind.allCases.contains { $0.book == book && accepts($0) } }
    }

    /// The same without what happened before then (ms since 1970).
    func since(_ time: UInt64) -> EventFilter {
        var filter = self
        filter.since = time
        return filter
    }

    public func accepts(_ room: RoomName) -> Bool {
        rooms.isEmpty || rooms.contains { $0.matches(room, user: nil) }
    }
}
