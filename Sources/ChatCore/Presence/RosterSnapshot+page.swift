extension RosterSnapshot {
    /// One page of members in the order of their names, after the member that `cursor` names.
    public func page(after cursor: String?, limit: Int) -> RosterPage {
        RosterPage(of: Array(members.keys), after: cursor, limit: limit) { user in
            Array(Set((members[user] ?? []).map(\.device)))
        }
    }
}

extension RosterPage {
    /// At most `limit` of all `users` with their devices, in the order of their names, after the one that `cursor` names.
    init(of users: [UserID], after cursor: String?, limit: Int, devices: (UserID) -> [DeviceName]) {
        let rest = users.filter { user in cursor.map { user.text > $0 } ?? true }.sorted { $0.text < $1.text }
        let page = rest.prefix(max(1, limit))
        self.init(
            members: page.map { RosterMember(user: $0, devices: devices($0).sorted { $0.text < $1.text }) },
            count: users.count, cursor: page.count < rest.count ? page.last?.text : nil)
    }
}
