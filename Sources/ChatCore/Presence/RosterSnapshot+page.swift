/// Where a page of a roster that is read from the broker begins: behind a name and, if the roster is too large to be
/// read at once, in one of its parts. As text, `~<part>` is the begin of a part and `~<part>~<name>` a name within it.
public struct RosterCursor: Sendable, Hashable {
    /// The cursor for the broker.
    public var part: UInt64 = 0
    /// The last name of that part that the client was told.
    public var name: String?

    /// Reads any text: a text that is not one of our cursors counts as a name.
    public init(_ text: String?) {
        guard let text else { return }
        name = text
        guard text.utf8.first == UInt8(ascii: "~") else { return }
        let rest = text.dropFirst()
        let end = rest.firstIndex(of: "~") ?? rest.endIndex
        guard let part = UInt64(rest[..<end]), part > 0 else { return }
        self.part = part
        name = end == rest.endIndex ? nil : String(rest[rest.index(after: end)...])
    }

    init(part: UInt64, name: String?) {
        self.part = part
        self.name = name
    }

    /// The text that a client hands back.
    var text: String? {
        guard part > 0 else { return name }
        return name.map { "~\(part)~\($0)" } ?? "~\(part)"
    }
}

extension RosterSnapshot {
    /// A page of this part of the roster: its members in the order of their names, behind the name in the cursor. A
    /// roster that is read in parts is in the order of names within each part.
    public func page(at place: RosterCursor, limit: Int) -> RosterPage {
        var page = RosterPage(of: Array(members.keys), after: place.name, limit: limit) { user in
            Array(Set((members[user] ?? []).map(\.device)))
        }
        page.count = count
        if let name = page.cursor {
            page.cursor = RosterCursor(part: place.part, name: name).text
        } else if cursor > 0 {
            page.cursor = RosterCursor(part: cursor, name: nil).text
        }
        return page
    }
}

extension RosterPage {
    /// At most `limit` of all `users` with their devices, in the order of their names, after the one that `cursor`
    /// names.
    init(of users: [UserID], after cursor: String?, limit: Int, devices: (UserID) -> [DeviceName]) {
        let rest = users.filter { user in cursor.map { user.text > $0 } ?? true }.sorted { $0.text < $1.text }
        let page = rest.prefix(max(1, limit))
        self.init(
            members: page.map { RosterMember(user: $0, devices: devices($0).sorted { $0.text < $1.text }) },
            count: users.count, cursor: page.count < rest.count ? page.last?.text : nil)
    }
}
