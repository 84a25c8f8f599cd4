import ChatCore

/// The live sessions of one room on one loop, as the array over which a broadcast iterates, and the sessions that are
/// catching up. Of all broadcasts, the latter get only presence, because everything else comes with their pages.
///
/// It is created by the room's home loop and passed around as a token; its contents are accessed only on the members'
/// loop.
public final class LocalRoom: @unchecked Sendable {
    // Proof for @unchecked: `room` and `home` are constant; the rest is confined to one loop (see above).

    struct Member {
        var session: SessionID
        /// Nearly always differs for different users, so that a broadcast need not look up each session's user.
        var userHash: Int
        var outlet: any SessionOutlet
    }

    public let room: RoomName
    /// Most rooms have at most one member on a loop, so the first one is stored inline. Nil if there is none.
    private var first: Member?
    private var others: [Member] = []
    /// The index of each session, when there are too many for a linear search: 0 is the first, others follow.
    private var indices: [SessionID: Int] = [:]
    /// Sessions that are first sent what they missed.
    package private(set) var catchingUp: [SessionID: any SessionOutlet] = [:]

    /// Up to this many members a linear search takes less time than hashing.
    private static let fewMembers = 16

    init(room: RoomName) {
        self.room = room
    }

    /// The number of live sessions.
    var count: Int { first == nil ? 0 : others.count + 1 }

    /// Each session that is live when the call begins.
    @inline(__always)
    func forEachMember(_ body: (Member) -> Void) {
        let others = others
        if let first { body(first) }
        for member in others { body(member) }
    }

    private func index(of session: SessionID) -> Int? {
        guard indices.isEmpty else { return indices[session] }
        if first?.session == session { return 0 }
        return others.firstIndex { $0.session == session }.map { $0 + 1 }
    }

    /// Adds a live session, which gets all broadcasts from now on.
    func add(_ session: SessionID, _ outlet: any SessionOutlet) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard index(of: session) == nil else { return }
        let member = Member(session: session, userHash: outlet.user.hashValue, outlet: outlet)
        guard let first else {
            self.first = member
            return
        }
        others.append(member)
        if !indices.isEmpty {
            indices[session] = others.count
        } else if count > Self.fewMembers {
            indices[first.session] = 0
            for (index, member) in others.enumerated() { indices[member.session] = index + 1 }
        }
    }

    /// Adds a session that is first sent what it missed.
    func addCatchingUp(_ session: SessionID, _ outlet: any SessionOutlet) {
        remove(session)
        catchingUp[session] = outlet
    }

    func remove(_ session: SessionID) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard let index = index(of: session) else { return }
        // The last session takes its place.
        guard let moved = others.popLast() else {
            first = nil
            indices = [:]
            return
        }
        if index == 0 {
            first = moved
        } else if index <= others.count {
            others[index - 1] = moved
        }
        // The array's capacity only grows, so it is released with the last element.
        if others.isEmpty { others = [] }
        guard !indices.isEmpty else { return }
        indices[session] = nil
        if moved.session != session { indices[moved.session] = index }
    }
}
