/// The messages that wait until an operator's hook has decided about them: which are asked about now, and when each
/// goes on to its room.
///
/// - The messages of a room go on in the order in which they came, whatever the order of the answers.
/// - No message waits longer than ``HookSettings/timeout``; without an answer it goes on with ``HookDecision/none``.
/// - Rooms take turns, and none has more than ``HookSettings/questionsOfRoom`` of the ``HookSettings/questions`` at
///   once, so a room that is asked about often, or slowly, does not keep others from being asked about.
///
/// Pure: whoever runs it performs ``Action``s, reports answers, and calls ``timePassed(now:_:)`` at ``deadline``. Each
/// message goes on exactly once.
public struct HookQueue<Item> {
    public enum Action {
        /// Ask the hook. The number identifies the question.
        case ask(UInt64, Item)
        /// The answer to that question no longer matters.
        case abandon(UInt64)
        /// The message goes on.
        case release(Item, HookDecision)
    }

    private struct Entry {
        enum State {
            case waiting, asked
            case decided(HookDecision)
        }

        var room: RoomName
        var item: Item
        var deadline: Moment
        var state = State.waiting
    }

    private struct Room {
        /// The numbers of its messages, in the order in which they came.
        var order = FIFO<UInt64>()
        /// Those that were not asked about yet.
        var waiting = FIFO<UInt64>()
        /// The number of its questions that are asked now.
        var asked = 0
        /// Whether it is in ``HookQueue/turns``.
        var hasTurn = false
    }

    private let settings: HookSettings
    private var entries: [UInt64: Entry] = [:]
    private var rooms: [RoomName: Room] = [:]
    /// Rooms that have something to ask.
    private var turns = FIFO<RoomName>()
    /// All messages in the order in which they came, which is that of their deadlines. Some may have gone on.
    private var arrivals = FIFO<UInt64>()
    private var next: UInt64 = 1
    /// The number of questions that are asked now.
    public private(set) var asked = 0

    public init(_ settings: HookSettings = HookSettings()) {
        self.settings = settings
    }

    /// The number of messages that wait.
    public var count: Int { entries.count }

    /// When ``timePassed(now:_:)`` is to be called; nil if no message waits.
    public var deadline: Moment? { arrivals.first.flatMap { entries[$0]?.deadline } }

    // MARK: events

    /// A message came. False: too many wait already, and it is not taken.
    public mutating func came(_ item: Item, in room: RoomName, now: Moment, _ actions: inout [Action]) -> Bool {
        guard entries.count < settings.waiting, (rooms[room]?.order.count ?? 0) < settings.waitingInRoom else {
            return false
        }
        let number = next
        next += 1
        entries[number] = Entry(room: room, item: item, deadline: now + settings.timeout)
        arrivals.append(number)
        rooms[room, default: Room()].order.append(number)
        rooms[room, default: Room()].waiting.append(number)
        wantsTurn(room)
        ask(&actions)
        return true
    }

    /// The hook has answered the question; `.none`: there is no answer, and will be none.
    public mutating func answered(_ number: UInt64, _ decision: HookDecision, _ actions: inout [Action]) {
        guard let entry = entries[number], case .asked = entry.state else { return }
        decide(number, entry, decision, &actions)
        ask(&actions)
    }

    /// Lets the messages go on that have waited long enough.
    public mutating func timePassed(now: Moment, _ actions: inout [Action]) {
        while let number = arrivals.first, let entry = entries[number], entry.deadline <= now {
            if case .decided = entry.state {
                // Those before it in its room would have been late before it, so it has gone on.
                assertionFailure("a decided message waits behind none of its room")
            }
            if case .asked = entry.state { actions.append(.abandon(number)) }
            decide(number, entry, .none(.late), &actions)
        }
        ask(&actions)
    }

    // MARK: parts

    private mutating func decide(
        _ number: UInt64, _ entry: Entry, _ decision: HookDecision, _ actions: inout [Action]
    ) {
        if case .asked = entry.state {
            asked -= 1
            rooms[entry.room]?.asked -= 1
        }
        entries[number]?.state = .decided(decision)
        release(entry.room, &actions)
        wantsTurn(entry.room)
    }

    /// The room's first messages go on, as far as they are decided.
    private mutating func release(_ name: RoomName, _ actions: inout [Action]) {
        while let number = rooms[name]?.order.first, let entry = entries[number],
            case .decided(let decision) = entry.state
        {
            _ = rooms[name]?.order.popFirst()
            entries[number] = nil
            actions.append(.release(entry.item, decision))
        }
        while let number = arrivals.first, entries[number] == nil { _ = arrivals.popFirst() }
        forgetIfEmpty(name)
    }

    private mutating func forgetIfEmpty(_ name: RoomName) {
        guard let room = rooms[name], room.order.isEmpty, !room.hasTurn else { return }
        rooms[name] = nil
    }

    /// Puts the room at the end of those that ask, if it may ask something.
    private mutating func wantsTurn(_ name: RoomName) {
        guard let room = rooms[name], !room.hasTurn, !room.waiting.isEmpty, room.asked < settings.questionsOfRoom
        else { return }
        rooms[name]?.hasTurn = true
        turns.append(name)
    }

    private mutating func ask(_ actions: inout [Action]) {
        while asked < settings.questions, let name = turns.popFirst() {
            rooms[name]?.hasTurn = false
            while let number = rooms[name]?.waiting.popFirst() {
                // It may have been late before it was asked about.
                guard let entry = entries[number], case .waiting = entry.state else { continue }
                entries[number]?.state = .asked
                asked += 1
                rooms[name]?.asked += 1
                actions.append(.ask(number, entry.item))
                break
            }
            wantsTurn(name)
            forgetIfEmpty(name)
        }
    }
}

/// What became of a question.
public enum HookDecision: Hashable, Sendable {
    /// Why the hook has not decided.
    public enum Trouble: String, Hashable, Sendable, CaseIterable {
        /// It did not answer in time, or the message did not get its turn in time.
        case late
        /// No connection, or it was closed before the answer.
        case unreachable
        /// It answered, but not with a decision.
        case badAnswer
    }

    case allow
    case refuse(reason: String)
    /// The message is stored with this text in place of its own.
    case replace(text: String)
    case none(Trouble)
}

/// How a hook is asked.
public struct HookSettings: Hashable, Sendable {
    /// How long a message may wait, for its turn and for the answer.
    public var timeout: Duration = .milliseconds(500)
    /// Whether a message is stored about which the hook has not decided.
    public var allowsUndecided = true
    /// The most questions that are asked at once, and the most of one room.
    public var questions = 64
    public var questionsOfRoom = 8
    /// The most messages that wait, and the most of one room.
    public var waiting = 16_384
    public var waitingInRoom = 1_024

    public init() {}
}
