import MartletClient

/// The rules of a chat on a terminal or in a pipe: events (from the client, entered lines, time) go in, actions come
/// out. Pure; the time is an argument.
struct ChatModel {
    /// How long a user is shown as typing after each signal.
    static let typingFor: Duration = .seconds(5)
    /// After this time a stored message of the user is removed from the waiting ones, even if it was never shown
    /// because a gap contains it.
    static let storedFor: Duration = .seconds(5)
    /// The number of messages of a room that can be edited or reacted to.
    static let maxRecent = 200
    /// The number of names kept for completion.
    static let maxPeople = 2_000

    let user: String
    private let keyPrefix: String
    private let history: Int
    /// Whether the end of the input ends the chat, once everything is stored.
    private let endsWithInput: Bool
    /// Whether a person reads what is shown.
    private let reads: Bool
    private(set) var connection = Connection.connecting
    private(set) var current: RoomName
    private(set) var rooms: [RoomName: Room] = [:]
    private(set) var order: [RoomName] = []
    private(set) var pending: [Pending] = []
    private var serial = 0
    /// The number of changes, conversations to begin and looks at the inbox that are not answered.
    private var asked = 0
    /// The number of conversations to begin among them.
    private var begins = 0
    private var failures = 0
    private var inputEnded = false
    private var hasQuit = false
    private var typedAt: Moment?

    /// `keyPrefix`: unique for each start, for the keys of messages.
    init(user: String, room: RoomName, history: Int, keyPrefix: String, endsWithInput: Bool, reads: Bool = false) {
        self.reads = reads
        self.user = user
        self.keyPrefix = keyPrefix
        self.history = history
        self.endsWithInput = endsWithInput
        current = room
    }

    mutating func started() -> [Action] { enter(current) }

    /// Whether another room will be the current one as soon as a node has answered. What is said until then would be
    /// said in the wrong room.
    var isBeginning: Bool { begins > 0 }

    // MARK: What the person does

    mutating func entered(_ line: String, now: Moment) -> [Action] {
        let actions = respond(to: ChatEntry(line))
        for action in actions {
            switch action {
            case .direct:
                asked += 1
                begins += 1
            case .amend, .inbox, .seen: asked += 1
            case .show, .join, .leave, .send, .history, .roster, .signalTyping, .read, .quit: break
            }
        }
        return actions
    }

    private mutating func respond(to entry: ChatEntry) -> [Action] {
        switch entry {
        case .nothing: return []
        case .wrong(let problem): return [.show(.note(problem))]
        case .say(let text): return say(text)
        case .join(let name): return named(name) { $0.enter($1) }
        case .leave(let name): return named(name) { $0.exit($1) }
        case .who(let name): return named(name) { _, room in [.roster(room, cursor: nil)] }
        case .history(let count):
            return [.history(current, before: rooms[current]?.oldest, limit: count)]
        case .rooms:
            return [.show(.note(order.map { $0 == current ? "\($0) (here)" : "\($0)" }.joined(separator: ", ")))]
        case .edit(let text):
            return ofLastOwn {
                .amend(AmendRequest(room: $0, .edit(of: $1.position, text: text, data: $1.content.data)))
            }
        case .delete: return ofLastOwn { .amend(AmendRequest(room: $0, .delete(of: $1.position))) }
        case .react(let emoji, let count, let takesBack): return react(emoji, count, takesBack)
        case .direct(let name): return user(name) { [.direct($0)] }
        case .seen(let name?): return user(name) { [.seen(current, $0)] }
        case .seen(nil):
            guard rooms[current]?.isConversation == true else {
                return [
                    .show(.note("nobody belongs to \(current); /seen USER asks about one user, /who tells who is here"))
                ]
            }
            return [.seen(current, nil)]
        case .inbox: return [.inbox]
        case .status: return [.show(.note(status))]
        case .help: return ChatEntry.helpLines.map { .show(.note($0)) }
        case .quit: return quit()
        }
    }

    /// Handles a line that is longer than any node accepts. Nothing of it is sent.
    mutating func enteredTooLong() -> [Action] {
        failures += 1
        return [.show(.note("not sent: a line of more than \(LineSplitter.maxLine) bytes"))]
    }

    /// The user is typing: tells the others, at most every half of ``typingFor``.
    mutating func typed(now: Moment) -> [Action] {
        guard case .connected = connection, rooms[current]?.isIn == true else { return [] }
        if let typedAt, now - typedAt < Self.typingFor / 2 { return [] }
        typedAt = now
        return [.signalTyping(current)]
    }

    mutating func inputEnded(now: Moment) -> [Action] {
        inputEnded = true
        return endIfDone()
    }

    mutating func quit() -> [Action] {
        guard !hasQuit else { return [] }
        hasQuit = true
        return [.quit(failures == 0 ? 0 : 1)]
    }

    private mutating func say(_ text: String) -> [Action] {
        guard rooms[current] != nil else { return [.show(.note("you are in no room: /join lobby"))] }
        guard !isBeginning else { return [.show(.note("not sent: the conversation is still being begun"))] }
        serial += 1
        let key = "\(keyPrefix)-\(serial)"
        pending.append(Pending(key: key, room: current, text: text))
        typedAt = nil
        return [.send(current, text: text, key: key)]
    }

    /// The user's last message in this room that still has a text.
    private func ofLastOwn(_ action: (RoomName, Message) -> Action) -> [Action] {
        let own = rooms[current]?.recent.last { $0.content.user.text == user && $0.content.deleted == nil }
        guard let own else { return [.show(.note("you have said nothing here lately"))] }
        return [action(current, own)]
    }

    private func react(_ emoji: String, _ count: Int, _ takesBack: Bool) -> [Action] {
        let others = (rooms[current]?.recent ?? []).filter { $0.content.user.text != user && $0.content.deleted == nil }
        guard count <= others.count else { return [.show(.note("there is no such message here"))] }
        let position = others[others.count - count].position
        let operation =
            takesBack
            ? AmendRequest.Operation.unreact(of: position, emoji: emoji) : .react(of: position, emoji: emoji)
        return [.amend(AmendRequest(room: current, operation))]
    }

    private func user(_ name: String, _ body: (UserID) -> [Action]) -> [Action] {
        do throws(NameError) {
            return body(try UserID(name))
        } catch {
            return [.show(.note("invalid user name: \(error)"))]
        }
    }

    /// The person looks at this room, so that its newest message is read.
    private func hasRead(_ room: RoomName) -> [Action] {
        guard reads, room == current, let known = rooms[room], known.isConversation, let newest = known.newest else {
            return []
        }
        return [.read(room, newest)]
    }

    private mutating func named(_ name: String?, _ body: (inout ChatModel, RoomName) -> [Action]) -> [Action] {
        guard let name else { return body(&self, current) }
        do throws(NameError) {
            return body(&self, try RoomName(name))
        } catch {
            return [.show(.note("invalid room name: \(error)"))]
        }
    }

    private mutating func enter(_ room: RoomName) -> [Action] {
        current = room
        rooms[room]?.unread = 0
        guard rooms[room] == nil else { return hasRead(room) }
        rooms[room] = Room()
        order.append(room)
        return [.join(room, history: history)]
    }

    private mutating func exit(_ room: RoomName) -> [Action] {
        guard rooms[room] != nil else { return [.show(.note("you are not in \(room)"))] }
        return [.leave(room)]
    }

    private mutating func forget(_ room: RoomName) {
        rooms[room] = nil
        order.removeAll { $0 == room }
        if current == room, let other = order.last {
            current = other
            rooms[other]?.unread = 0
        }
    }

    private var status: String {
        let place = rooms[current]?.newest.map { ", at position \($0)" } ?? ""
        switch connection {
        case .connecting: return "connecting"
        case .connected(let welcome):
            return
                "connected to \(welcome.node) as \(welcome.user), device \(welcome.device), "
                + "session \(welcome.session); in \(current)\(place)"
        case .waiting(let reason, _): return "not connected: \(reason.text); in \(current)\(place)"
        case .closed: return "closed"
        }
    }

    // MARK: What the client tells

    mutating func received(_ event: ClientEvent, now: Moment) -> [Action] {
        switch event {
        case .connected(let welcome):
            connection = .connected(welcome)
            return [.show(.connected(welcome))]
        case .disconnected(let reason, let retryIn):
            connection = retryIn.map { .waiting(reason, until: now + $0) } ?? .closed
            for room in order {
                rooms[room]?.isIn = false
                rooms[room]?.typing = [:]
            }
            if retryIn == nil, !hasQuit {
                hasQuit = true
                return [.show(.disconnected(reason, retryIn: nil)), .quit(1)]
            }
            return [.show(.disconnected(reason, retryIn: retryIn))]
        case .draining(let wait): return [.show(.draining(reconnectAfter: wait))]
        case .joined(let joined): return self.joined(joined)
        case .left(let room):
            forget(room)
            return [.show(.left(room))] + endIfDone()
        case .message(let room, let message): return shown(message, in: room)
        case .changed(let room, let change): return changed(room, change)
        case .receipts(let room, let reads): return [.show(.receipts(room, reads))]
        case .participants(let room, let changes): return [.show(.participants(room, changes))]
        case .head: return []
        case .notice(let notice): return noticed(notice)
        case .gap(let room, let gap): return [.show(.gap(room, gap))]
        case .reset(let room, let reset):
            // What was shown is void: it can neither be changed nor be read any more.
            rooms[room]?.oldest = nil
            rooms[room]?.newest = reset.position
            rooms[room]?.recent = []
            return [.show(.reset(room, reset))]
        case .presence(let room, let joined, let left, let count):
            changed(room, joined: joined, left: left, count: count)
            return [.show(.presence(room, joined: joined, left: left, count: count))]
        case .signal(let room, let user, let name, let data):
            if name == "typing" { rooms[room]?.typing[user] = now + Self.typingFor }
            return [.show(.signal(room, user: user, name: name, data: data))]
        case .fault(let fault): return [.show(.fault(fault))]
        }
    }

    private mutating func joined(_ joined: JoinedRoom) -> [Action] {
        guard rooms[joined.room] != nil else { return [] }
        rooms[joined.room]?.isIn = true
        rooms[joined.room]?.count = joined.count
        rooms[joined.room]?.newest = joined.position
        if let members = joined.members { rooms[joined.room]?.people = Set(members.map(\.user)) }
        let own = joined.receipts?.own
        rooms[joined.room]?.isConversation = own != nil
        rooms[joined.room]?.toRead = own.flatMap { $0.unread > 0 ? ($0.read?.seq ?? 0, $0.unread) : nil }
        return [.show(.joined(joined))]
    }

    /// An earlier message has changed.
    private mutating func changed(_ name: RoomName, _ change: Message) -> [Action] {
        guard rooms[name] != nil else { return [] }
        rooms[name]?.newest = change.position
        var now: Message?
        for target in change.content.amended {
            guard let index = rooms[name]?.recent.firstIndex(where: { $0.position == target }),
                let message = rooms[name]?.recent[index]
            else { continue }
            let changed = message.changed(by: change)
            rooms[name]?.recent[index] = changed
            now = now ?? changed
        }
        return [.show(.changed(name, change, now: now))] + hasRead(name)
    }

    private mutating func noticed(_ notice: UserNotice) -> [Action] {
        if notice.kind == .read, notice.room != current { rooms[notice.room]?.unread = 0 }
        // Whoever begins a conversation is told of it like everybody in it.
        if notice.kind == .invited, notice.by == user { return [] }
        return [.show(.notice(notice))]
    }

    private mutating func shown(_ message: Message, in name: RoomName) -> [Action] {
        guard rooms[name] != nil else { return [] }
        let user = message.content.user
        rooms[name]?.typing[user] = nil
        if rooms[name]?.oldest == nil { rooms[name]?.oldest = message.position }
        rooms[name]?.newest = message.position
        rooms[name]?.recent.append(message)
        if let count = rooms[name]?.recent.count, count > Self.maxRecent {
            rooms[name]?.recent.removeFirst(count - Self.maxRecent)
        }
        var first: [Action] = []
        if let toRead = rooms[name]?.toRead, message.position.seq > toRead.after {
            rooms[name]?.toRead = nil
            if user.text != self.user { first = [.show(.unread(name, toRead.count))] }
        }
        if name != current { rooms[name]?.unread += 1 }
        if let count = rooms[name]?.people.count, count < Self.maxPeople { rooms[name]?.people.insert(user) }
        if let key = message.content.key, user.text == self.user {
            pending.removeAll { $0.key == key && $0.room == name && $0.state != .sending }
            if let index = pending.firstIndex(where: { $0.key == key && $0.room == name }) {
                // The answer is still to come, and completes it.
                pending[index].state = .stored(since: Moment(nanoseconds: 0))
            }
        }
        return first + [.show(.message(name, message))] + hasRead(name) + endIfDone()
    }

    private mutating func changed(_ name: RoomName, joined: [UserID], left: [UserID], count: Int) {
        guard rooms[name] != nil else { return }
        rooms[name]?.count = count
        for user in joined where (rooms[name]?.people.count ?? 0) < Self.maxPeople { rooms[name]?.people.insert(user) }
        for user in left {
            rooms[name]?.people.remove(user)
            rooms[name]?.typing[user] = nil
        }
    }

    // MARK: Answers

    mutating func joinFinished(_ room: RoomName) -> [Action] {
        rooms[room]?.wasIn = true
        return endIfDone()
    }

    mutating func joinFailed(_ room: RoomName, _ error: ClientError) -> [Action] {
        // The client keeps trying after a timeout; only a refusal ends it.
        if case .timedOut = error {
            let actions: [Action] = [.show(.note("\(room): no answer to the join yet"))]
            guard inputEnded, endsWithInput, !hasQuit else { return actions }
            failures += 1
            return actions + quit()
        }
        guard error != .closed else { return [] }
        forget(room)
        failures += 1
        let actions: [Action] = [.show(.note("cannot join \(room): \(error.text)"))]
        return order.isEmpty && !hasQuit ? actions + quit() : actions
    }

    mutating func sendFinished(_ key: String, _ result: Result<Sent, ClientError>, now: Moment) -> [Action] {
        guard let index = pending.firstIndex(where: { $0.key == key }) else { return [] }
        let send = pending[index]
        switch result {
        case .success(let sent):
            if send.state == .sending, !sent.repeated {
                // The events of the client arrive separately, so the message itself may still be on the way.
                pending[index].state = .stored(since: now)
            } else {
                pending.remove(at: index)
            }
            return [.show(.sent(send.room, key: key, sent))] + endIfDone()
        case .failure(let error):
            pending.remove(at: index)
            failures += 1
            return [.show(.notSent(send.room, text: send.text, error))] + endIfDone()
        }
    }

    /// A message was changed.
    mutating func amended() -> [Action] {
        answered()
        return endIfDone()
    }

    /// A conversation was begun: it is the current room from now on.
    mutating func begun(_ room: RoomName) -> [Action] {
        answered()
        begins = max(0, begins - 1)
        return enter(room) + endIfDone()
    }

    /// A conversation with that user was not begun.
    mutating func notBegun(_ user: UserID, _ error: ClientError) -> [Action] {
        begins = max(0, begins - 1)
        return failed("a conversation with \(user)", error)
    }

    mutating func inboxRead(_ page: InboxPage) -> [Action] {
        answered()
        return [.show(.inbox(page))] + endIfDone()
    }

    mutating func seenRead(_ users: [UserID], _ online: OnlineUsers) -> [Action] {
        answered()
        let line = users.isEmpty ? ChatLine.note("nobody else belongs to it") : .seen(users, online)
        return [.show(line)] + endIfDone()
    }

    /// Something that was asked for did not come about.
    mutating func failed(_ what: String, _ error: ClientError) -> [Action] {
        answered()
        guard error != .closed else { return [] }
        failures += 1
        return [.show(.note("\(what): \(error.text)"))] + endIfDone()
    }

    private mutating func answered() { asked = max(0, asked - 1) }

    mutating func historyRead(
        _ room: RoomName, _ result: Result<HistoryPage, ClientError>
    ) -> [Action] {
        switch result {
        case .success(let page):
            if let first = page.messages.first { rooms[room]?.oldest = first.position }
            return [.show(.earlier(room, page))]
        case .failure(let error): return [.show(.note("no history of \(room): \(error.text)"))]
        }
    }

    mutating func rosterRead(_ room: RoomName, _ result: Result<RosterPage, ClientError>) -> [Action] {
        switch result {
        case .success(let page):
            rooms[room]?.count = page.count
            for member in page.members where (rooms[room]?.people.count ?? 0) < Self.maxPeople {
                rooms[room]?.people.insert(member.user)
            }
            let next = page.cursor.map { [Action.roster(room, cursor: $0)] } ?? []
            return [.show(.people(room, page))] + next
        case .failure(let error): return [.show(.note("who is in \(room) cannot be read: \(error.text)"))]
        }
    }

    /// Handles the passing of time. Called every second.
    mutating func ticked(now: Moment) -> [Action] {
        for room in order {
            let typing = rooms[room]?.typing.filter { $0.value > now }
            rooms[room]?.typing = typing ?? [:]
        }
        pending.removeAll {
            guard case .stored(let since) = $0.state else { return false }
            return now - since >= Self.storedFor
        }
        return endIfDone()
    }

    /// Other users who are typing in the current room, ordered by name.
    func typing(now: Moment) -> [UserID] {
        (rooms[current]?.typing ?? [:]).filter { $0.value > now && $0.key.text != user }.keys.sorted {
            $0.text < $1.text
        }
    }

    private mutating func endIfDone() -> [Action] {
        guard inputEnded, endsWithInput, pending.isEmpty, asked == 0, rooms.values.allSatisfy(\.wasIn) else {
            return []
        }
        return quit()
    }
}
