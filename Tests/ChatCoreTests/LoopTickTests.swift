import Testing

@testable import ChatCore

struct LoopTickTests {
    /// An event loop that the test drives: work is called when the test says so.
    private final class Loop: @unchecked Sendable {  // used by one test, on one thread
        var tasks: [@Sendable () -> Void] = []

        func runAll() {
            while !tasks.isEmpty { tasks.removeFirst()() }
        }

        func makeTick() -> LoopTick {
            LoopTick(execute: { self.tasks.append($0) })
        }
    }

    private final class Work: TickWork {
        let errands = LoopTick.Phase.allCases.map { LoopTick.Errand($0) }
        var done: [LoopTick.Phase] = []
        var then: (LoopTick.Phase) -> Void = { _ in }

        func ask(_ phase: LoopTick.Phase, of tick: LoopTick) { tick.ask(errands[phase.rawValue], self) }

        func tickEnded(_ phase: LoopTick.Phase) {
            done.append(phase)
            then(phase)
        }
    }

    @Test func oneTaskDoesAllInOrder() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        for phase in [LoopTick.Phase.sessions, .broker, .deliveries] { work.ask(phase, of: tick) }
        #expect(loop.tasks.count == 1 && work.done.isEmpty)
        loop.tasks.removeFirst()()
        #expect(work.done == [.deliveries, .broker, .sessions] && loop.tasks.isEmpty)
    }

    @Test func anErrandIsDoneOnceHoweverOftenItIsAskedFor() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        for _ in 0..<3 { work.ask(.broker, of: tick) }
        #expect(work.errands[LoopTick.Phase.broker.rawValue].isAsked)
        loop.runAll()
        #expect(work.done == [.broker])
        #expect(!work.errands[LoopTick.Phase.broker.rawValue].isAsked)
        work.ask(.broker, of: tick)
        loop.runAll()
        #expect(work.done == [.broker, .broker])
    }

    @Test func errandsOfOnePhaseAreDoneInTheOrderInWhichTheyWereAskedFor() {
        let loop = Loop()
        let tick = loop.makeTick()
        var order: [Int] = []
        let works = (0..<5).map { number in
            let work = Work()
            work.then = { _ in order.append(number) }
            return work
        }
        // A work that another one schedules again comes after those that wait already.
        works[1].then = { [first = works[3]] _ in
            order.append(1)
            first.ask(.broker, of: tick)
        }
        for number in [3, 1, 4, 0, 2] { works[number].ask(.broker, of: tick) }
        loop.runAll()
        #expect(order == [3, 1, 4, 0, 2, 3])
    }

    @Test func whoAskedIsKeptUntilItIsDone() {
        let loop = Loop()
        let tick = loop.makeTick()
        weak var gone: Work?
        var wasDone = false
        do {
            let work = Work()
            work.then = { _ in wasDone = true }
            work.ask(.broker, of: tick)
            gone = work
        }
        #expect(gone != nil)
        loop.runAll()
        #expect(wasDone && gone == nil)
    }

    @Test func whatALaterPhaseAsksForIsStillOfThisTick() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        var isFirst = true
        work.then = { phase in
            guard phase == .sessions, isFirst else { return }
            isFirst = false
            for phase in [LoopTick.Phase.broker, .sessions, .deliveries] { work.ask(phase, of: tick) }
        }
        work.ask(.sessions, of: tick)
        loop.runAll()
        #expect(work.done == [.sessions, .deliveries, .broker, .sessions])
    }
}
