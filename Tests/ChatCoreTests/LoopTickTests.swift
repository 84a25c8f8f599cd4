import Testing

@testable import ChatCore

struct LoopTickTests {
    /// A loop under the test's hand: what is given to it is called when the test says so.
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
        var done: [LoopTick.Phase] = []
        var then: (LoopTick.Phase) -> Void = { _ in }

        func tickEnded(_ phase: LoopTick.Phase) {
            done.append(phase)
            then(phase)
        }
    }

    @Test func oneTaskDoesAllInOrder() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        for phase in [LoopTick.Phase.rest, .sessions, .broker, .deliveries, .broker] { tick.ask(phase, work) }
        #expect(loop.tasks.count == 1 && work.done.isEmpty)
        loop.tasks.removeFirst()()
        #expect(
            work.done == [.deliveries, .broker, .broker, .sessions], "its rest is behind what else the loop was given")
        loop.runAll()
        #expect(work.done.count == 5 && work.done.last == .rest)
    }

    @Test func whatALaterPhaseAsksForIsStillOfThisTickAndComesBeforeItsRest() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        var isFirst = true
        work.then = { phase in
            guard phase == .sessions, isFirst else { return }
            isFirst = false
            tick.ask(.rest, work)
            tick.ask(.broker, work)
            tick.ask(.sessions, work)
            tick.ask(.deliveries, work)
        }
        tick.ask(.sessions, work)
        loop.runAll()
        #expect(work.done == [.sessions, .deliveries, .broker, .sessions, .rest])
    }

    @Test func whatTheRestAsksForIsTheNextTicksBehindOtherTasks() {
        let loop = Loop()
        let (tick, work) = (loop.makeTick(), Work())
        var order: [String] = []
        work.then = { phase in
            order.append("\(phase)")
            guard order.count == 1 else { return }
            tick.ask(.rest, work)
            tick.ask(.broker, work)
        }
        tick.ask(.rest, work)
        nonisolated(unsafe) var hasOther = false
        loop.tasks.append { hasOther = true }
        loop.tasks.removeFirst()()
        #expect(order == ["rest"] && !hasOther && loop.tasks.count == 2)
        loop.runAll()
        #expect(order == ["rest", "broker", "rest"] && hasOther)
        tick.ask(.broker, work)
        loop.runAll()
        #expect(order == ["rest", "broker", "rest", "broker"])
    }
}
