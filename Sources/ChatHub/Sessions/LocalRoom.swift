import ChatCore

/// The live sessions of one room on one loop: the array that a broadcast walks. Beside them those that are catching up:
/// of what is broadcast they get presence alone, as everything else will come with their pages.
///
/// Made by the room's home loop and handed around as a token; its contents are touched on the members' loop only.
public final class LocalRoom: @unchecked Sendable {
    // Proof for @unchecked: `room` and `home` are constant; the rest is confined to one loop (see above).

    struct Member {
        var session: SessionID
        /// Differs for different users, nearly always: so that a broadcast need not look into every session for who its user is.
        var userHash: Int
        var outlet: any SessionOutlet
    }

    public let room: RoomName
    /// Most rooms have one member on a loop, or none: it is kept in place. Nil: there is none at all.
    private var first: Member?
    private var others: [Member] = []
    /// Where a session is, once there are too many to look through: 0 is the first, others follow.
    private var indices: [SessionID: Int] = [:]
    /// Sessions that are sent what they missed first.
    package private(set) var catchingUp: [SessionID: any SessionOutlet] = [:]

    /// Up to so many members are looked through, in less time than hashing takes.
    private static let fewMembers = 16

    init(room: RoomName) {
        self.room = room
    }

    /// How many sessions are live.
    var count: Int { first == nil ? 0 : others.count + 1 }

    /// Each live session, as they were when the call began.
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

    /// From now on broadcasts are for the session.
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

    /// The session is sent what it missed first.
    func addCatchingUp(_ session: SessionID, _ outlet: any SessionOutlet) {
        remove(session)
        catchingUp[session] = outlet
    }

    func remove(_ session: SessionID) {
        if !catchingUp.isEmpty { catchingUp[session] = nil }
        guard let index = index(of: session) else { return }
        // The last one takes its place.
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
        // Its capacity, which only grows, goes with the last of them.
        if others.isEmpty { others = [] }
        guard !indices.isEmpty else { return }
        indices[session] = nil
        if moved.session != session { indices[moved.session] = index }
    }
}
