import ChatCore
import MartletClient

/// One user of the trace: a session that carries out the user's events in order. It lives on its lane's loop.
final class ReplayUser {
    private unowned let lane: ReplayLane
    private let index: Int
    private var session: (any ReplaySession)?
    /// Events that are not done, in order, as indices into the trace.
    private var waiting: [Int] = []
    private var next = 0
    /// Whether a join or leave is in progress: nothing else begins until it is done.
    private var isBusy = false
    private var unanswered = 0
    private var roomsJoined: Set<Int> = []

    init(index: Int, lane: ReplayLane) {
        self.index = index
        self.lane = lane
    }

    func enqueue(_ event: Int) {
        waiting.append(event)
        step()
    }

    /// What the user waits for, if anything.
    var trouble: String? {
        guard isBusy || unanswered > 0 || next < waiting.count else { return nil }
        let name = lane.run.trace.users[index].text
        return "\(name): \(unanswered) sends, \(isBusy ? "a join or leave" : "no join or leave"), "
            + (session?.place ?? "not connected")
    }

    func close() {
        session?.close()
        session = nil
    }

    private func step() {
        while next < waiting.count, !isBusy {
            let event = lane.run.trace.events[waiting[next]]
            switch event.kind {
            case .join: join(event.room)
            case .leave:
                guard unanswered == 0 else { return }
                leave(event.room)
            case .message(let text):
                guard unanswered < lane.run.options.window else { return }
                send(text, event.room)
            }
            next += 1
        }
        if next == waiting.count {
            waiting.removeAll(keepingCapacity: false)
            next = 0
        }
    }

    private func join(_ room: Int) {
        isBusy = true
        let isNew = session == nil
        let session = session ?? lane.makeSession(index)
        self.session = session
        // Joined before the start, so that the first URL names the room for a proxy that hashes on it.
        session.join(lane.run.trace.rooms[room]) { [weak self] result in
            self?.roomsJoined.insert(room)
            self?.finished(result, "join")
        }
        if isNew { session.start() }
    }

    private func leave(_ room: Int) {
        guard let session else { return lane.eventDone() }
        isBusy = true
        session.leave(lane.run.trace.rooms[room]) { [weak self] result in
            guard let self else { return }
            lane.left(user: index, room: room)
            roomsJoined.remove(room)
            finished(result, "leave")
            // A user who has left the last room is closed; a later join opens a new session.
            if roomsJoined.isEmpty, waiting.isEmpty, !isBusy { close() }
        }
    }

    private func finished(_ result: Result<Void, ClientError>, _ what: String) {
        isBusy = false
        if case .failure(let error) = result { lane.failed("\(what) of \(lane.run.trace.users[index])", error) }
        lane.eventDone()
        step()
    }

    private func send(_ text: String, _ room: Int) {
        guard let session else { return lane.eventDone() }
        unanswered += 1
        let print = fingerprint(user: lane.run.trace.users[index].text, text: text)
        session.send(text, in: lane.run.trace.rooms[room]) { [weak self] result in
            guard let self else { return }
            unanswered -= 1
            switch result {
            case .success(let position): lane.acked(room: room, position, print)
            case .failure(let error): lane.failed("send of \(lane.run.trace.users[index])", error)
            }
            lane.eventDone()
            step()
        }
    }
}
