extension RosterSnapshot {
    /// One page of members in the order of their names, after the member that `cursor` names.
    public func page(after cursor: String?, limit: Int) -> RosterPage {
        let users = members.keys.filter { user in cursor.map { user.text > $0 } ?? true }.sorted { $0.text < $1.text }
        let page = users.prefix(max(1, limit))
        let list = page.map { user in
            let names = Set((members[user] ?? []).map(\.device))
            return RosterMember(user: user, devices: names.sorted { $0.text < $1.text })
        }
        return RosterPage(members: list, count: members.count, cursor: page.count < users.count ? page.last?.text : nil)
    }
}
