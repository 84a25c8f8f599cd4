import ChatCore
import TestSupport
import Testing

/// Which messages a hook is asked about, and when each goes on: as sequences, and with random ones.
@Suite struct HookQueueTests {
    /// A queue with what it did, in words: `?a1` asks about the message a1, `xa1` abandons that question, and `a1+`
    /// lets the message go on.
    private struct Run {
        var queue: HookQueue<String>
        var now = Moment(nanoseconds: 1_000_000_000)
        var did: [String] = []
        private var numbers: [String: UInt64] = [:]

        init(timeout: Duration = .milliseconds(500), questions: Int = 64, ofRoom: Int = 8, waiting: Int = 100) throws {
            var settings = HookSettings()
            settings.timeout = timeout
            settings.questions = questions
            settings.questionsOfRoom = ofRoom
            settings.waitingInRoom = waiting
            queue = HookQueue(settings)
        }

        /// The first letter names the room.
        @discardableResult
        mutating func came(_ item: String) throws -> Bool {
            var actions: [HookQueue<String>.Action] = []
            let isTaken = queue.came(item, in: try RoomName(String(item.prefix(1))), now: now, &actions)
            note(actions)
            return isTaken
        }

        mutating func answered(_ item: String, _ decision: HookDecision = .allow) {
            var actions: [HookQueue<String>.Action] = []
            queue.answered(numbers[item] ?? 0, decision, &actions)
            note(actions)
        }

        mutating func passes(_ time: Duration) {
            now = now + time
            var actions: [HookQueue<String>.Action] = []
            queue.timePassed(now: now, &actions)
            note(actions)
        }

        private mutating func note(_ actions: [HookQueue<String>.Action]) {
            for action in actions {
                switch action {
                case .ask(let number, let item):
                    numbers[item] = number
                    did.append("?\(item)")
                case .abandon(let number): did.append("x\(numbers.first { $0.value == number }?.key ?? "")")
                case .release(let item, .allow): did.append("\(item)+")
                case .release(let item, .refuse(let reason)): did.append("\(item)-\(reason)")
                case .release(let item, .replace(let text)): did.append("\(item)=\(text)")
                case .release(let item, .none(let trouble)): did.append("\(item)!\(trouble)")
                }
            }
        }

        /// What was done since the last call.
        mutating func done() -> String {
            defer { did = [] }
            return did.joined(separator: " ")
        }
    }

    @Test func aMessageGoesOnWithItsAnswer() throws {
        var run = try Run()
        try run.came("a1")
        #expect(run.done() == "?a1" && run.queue.count == 1 && run.queue.asked == 1)
        run.answered("a1", .replace(text: "x"))
        #expect(run.done() == "a1=x" && run.queue.count == 0 && run.queue.asked == 0 && run.queue.deadline == nil)
    }

    @Test func theOrderOfARoomIsThatInWhichItsMessagesCame() throws {
        var run = try Run()
        for item in ["a1", "a2", "b1", "a3"] { try run.came(item) }
        #expect(run.done() == "?a1 ?a2 ?b1 ?a3")
        run.answered("a3")
        run.answered("a2", .refuse(reason: "no"))
        #expect(run.done().isEmpty)
        run.answered("b1")
        #expect(run.done() == "b1+")
        run.answered("a1")
        #expect(run.done() == "a1+ a2-no a3+")
    }

    @Test func aRoomThatIsAskedAboutSlowlyLeavesTurnsToOthers() throws {
        var run = try Run(questions: 3, ofRoom: 2)
        for item in ["a1", "a2", "a3", "a4", "b1", "c1", "b2"] { try run.came(item) }
        #expect(run.done() == "?a1 ?a2 ?b1")
        run.answered("b1")
        #expect(run.done() == "b1+ ?c1")
        run.answered("c1")
        #expect(run.done() == "c1+ ?b2")
        run.answered("a2")
        run.answered("b2")
        #expect(run.done() == "?a3 b2+")
        run.answered("a1")
        #expect(run.done() == "a1+ a2+ ?a4")
    }

    @Test func nothingWaitsLongerThanTheTimeout() throws {
        var run = try Run(questions: 1)
        try run.came("a1")
        run.passes(.milliseconds(100))
        try run.came("b1")
        #expect(run.queue.deadline == Moment(nanoseconds: 1_500_000_000))
        run.passes(.milliseconds(399))
        #expect(run.done() == "?a1")
        run.passes(.milliseconds(1))
        #expect(run.done() == "xa1 a1!late ?b1")
        run.answered("a1")
        #expect(run.done().isEmpty, "an answer that comes too late means nothing")
        run.passes(.milliseconds(100))
        #expect(run.done() == "xb1 b1!late" && run.queue.count == 0)
    }

    @Test func whatIsLateBeforeItsTurnIsNotAskedAbout() throws {
        var run = try Run(ofRoom: 1)
        for item in ["a1", "a2", "a3"] { try run.came(item) }
        run.passes(.milliseconds(499))
        try run.came("a4")
        run.passes(.milliseconds(1))
        #expect(run.done() == "?a1 xa1 a1!late a2!late a3!late ?a4")
        run.answered("a4", .none(.unreachable))
        #expect(run.done() == "a4!unreachable")
    }

    @Test func aFullQueueTakesNoMore() throws {
        var run = try Run(ofRoom: 1, waiting: 2)
        #expect(try run.came("a1") && run.came("a2"))
        #expect(try !run.came("a3") && run.came("b1"))
        run.answered("a1")
        #expect(try run.came("a3"))
        #expect(run.done() == "?a1 ?b1 a1+ ?a2")
    }

    @Test func anAnswerToNoQuestionMeansNothing() throws {
        var run = try Run(ofRoom: 1)
        run.answered("a1")
        for item in ["a1", "a2"] { try run.came(item) }
        run.answered("a1")
        run.answered("a1", .refuse(reason: "twice"))
        #expect(run.done() == "?a1 a1+ ?a2")
    }

    @Test(arguments: 1...20)
    func whateverHappensEachGoesOnOnceInOrderAndInTime(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var settings = HookSettings()
        settings.questions = 1 + Int(random.next() % 5)
        settings.questionsOfRoom = 1 + Int(random.next() % 3)
        settings.waitingInRoom = 6
        settings.waiting = 14
        var queue = HookQueue<(room: Int, number: Int)>(settings)
        let rooms = try (0..<4).map { try RoomName("r\($0)") }
        var now = Moment(nanoseconds: 1)
        var asked: [UInt64: Int] = [:]
        var came: [Int: Moment] = [:]
        var (released, perRoom, next) = ([[Int]](repeating: [], count: 4), [Int](repeating: 0, count: 4), 0)
        var expected = [[Int]](repeating: [], count: 4)
        for _ in 0..<2_000 {
            var actions: [HookQueue<(room: Int, number: Int)>.Action] = []
            switch random.next() % 8 {
            case 0...3:
                let room = Int(random.next() % 4)
                if queue.came((room, next), in: rooms[room], now: now, &actions) {
                    expected[room].append(next)
                    came[next] = now
                    next += 1
                }
            case 4...6:
                if let number = asked.keys.sorted().dropFirst(Int(random.next() % 3)).first {
                    perRoom[asked.removeValue(forKey: number) ?? 0] -= 1
                    queue.answered(number, random.next() % 2 == 0 ? .allow : .refuse(reason: ""), &actions)
                }
            default:
                now = now + .milliseconds(Int64(random.next() % 200))
                if let deadline = queue.deadline, deadline <= now { queue.timePassed(now: now, &actions) }
                #expect(queue.deadline.map { $0 > now } ?? true)
            }
            for action in actions {
                switch action {
                case .ask(let number, let item):
                    asked[number] = item.room
                    perRoom[item.room] += 1
                case .abandon(let number): perRoom[asked.removeValue(forKey: number) ?? 0] -= 1
                case .release(let item, let decision):
                    released[item.room].append(item.number)
                    let waited = now - (came[item.number] ?? now)
                    if case .none(.late) = decision { #expect(waited >= settings.timeout) }
                }
            }
            #expect(asked.count == queue.asked && asked.count <= settings.questions)
            #expect(perRoom.allSatisfy { $0 <= settings.questionsOfRoom })
            let waiting = (0..<4).map { expected[$0].count - released[$0].count }
            #expect(waiting.reduce(0, +) == queue.count && queue.count <= settings.waiting)
            #expect(waiting.allSatisfy { $0 <= settings.waitingInRoom })
            // Something is asked about whenever something may be.
            if queue.count > 0 { #expect(queue.asked > 0) }
        }
        var actions: [HookQueue<(room: Int, number: Int)>.Action] = []
        queue.timePassed(now: now + .seconds(1), &actions)
        for case .release(let item, _) in actions { released[item.room].append(item.number) }
        #expect(released == expected && queue.count == 0 && queue.asked == 0)
        #expect(next > 100)
    }
}
