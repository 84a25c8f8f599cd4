import ChatCore
import Testing

@testable import ChatAccess

/// When a key set is fetched.
struct KeySetRefreshTests {
    private let start = Moment(nanoseconds: 5_000_000_000)
    private func at(_ seconds: Double) -> Moment { start + .milliseconds(Int64(seconds * 1_000)) }

    private func fetched(_ seconds: Double = 0) -> KeySetRefresh {
        var refresh = KeySetRefresh(now: start)
        #expect(refresh.check(now: at(seconds)) == .fetch)
        refresh.succeeded(now: at(seconds))
        return refresh
    }

    @Test func theFirstFetchIsAtTheStart() {
        var refresh = KeySetRefresh(now: start)
        #expect(refresh.deadline == start && refresh.state == .missing(since: start, problem: nil))
        #expect(refresh.state.warning == nil)
        #expect(refresh.check(now: start) == .fetch && refresh.isFetching && refresh.deadline == nil)
        #expect(refresh.check(now: at(100)) == .nothing)
        refresh.succeeded(now: at(1))
        #expect(refresh.state == .fetched(at: at(1)) && !refresh.isFetching && refresh.deadline == at(3_601))
    }

    @Test func thenEveryHour() {
        var refresh = fetched()
        for hour in 1...5 {
            let due = Double(hour) * 3_600
            #expect(refresh.check(now: at(due - 0.001)) == .nothing)
            #expect(refresh.check(now: at(due)) == .fetch)
            refresh.succeeded(now: at(due))
        }
    }

    @Test func anUnknownKeyFetchesAtMostOnceInTenSeconds() {
        var refresh = fetched()
        var fetches = 0
        for tenth in 1...1_000 {
            let now = at(Double(tenth) / 10)
            guard refresh.unknownKey(now: now) == .fetch else { continue }
            fetches += 1
            refresh.succeeded(now: now)
        }
        #expect(fetches == 10)
        // A fetch for an unknown key counts as a fetch of the hour.
        #expect(refresh.deadline == at(3_700))
    }

    @Test func fetchesDoNotOverlap() {
        var refresh = fetched()
        #expect(refresh.unknownKey(now: at(20)) == .fetch)
        #expect(refresh.unknownKey(now: at(20)) == .nothing && refresh.isFetching)
        #expect(refresh.unknownKey(now: at(40)) == .nothing && refresh.check(now: at(5_000)) == .nothing)
        refresh.succeeded(now: at(5_000))
        // From the beginning of the last one.
        #expect(refresh.unknownKey(now: at(5_000)) == .fetch)
    }

    @Test func failuresAreRetriedAtGrowingIntervals() {
        var refresh = KeySetRefresh(now: start)
        var now = 0.0
        for wait in [10, 20, 40, 80, 160, 300, 300, 300] as [Double] {
            #expect(refresh.check(now: at(now)) == .fetch)
            refresh.failed("status 500", now: at(now))
            #expect(refresh.state == .missing(since: start, problem: "status 500"))
            #expect(refresh.state.warning?.contains("status 500") == true)
            #expect(refresh.deadline == at(now + wait))
            #expect(refresh.check(now: at(now + wait - 0.001)) == .nothing)
            now += wait
        }
        #expect(refresh.check(now: at(now)) == .fetch)
        refresh.succeeded(now: at(now))
        #expect(refresh.state == .fetched(at: at(now)) && refresh.state.warning == nil)
        #expect(refresh.deadline == at(now + 3_600))
        // After a success, the intervals begin anew.
        #expect(refresh.check(now: at(now + 3_600)) == .fetch)
        refresh.failed("status 500", now: at(now + 3_600))
        #expect(refresh.deadline == at(now + 3_610))
    }

    @Test func failuresKeepTheKeys() {
        var refresh = fetched()
        #expect(refresh.check(now: at(3_600)) == .fetch)
        refresh.failed("no answer", now: at(3_605))
        #expect(refresh.state == .stale(since: at(0), problem: "no answer"))
        #expect(refresh.state.warning?.contains("no answer") == true)
        #expect(refresh.check(now: at(3_615)) == .fetch)
        refresh.failed("status 404", now: at(3_615))
        #expect(refresh.state == .stale(since: at(0), problem: "status 404"))
        #expect(refresh.unknownKey(now: at(3_620)) == .nothing)
        #expect(refresh.unknownKey(now: at(3_625)) == .fetch)
        refresh.succeeded(now: at(3_626))
        #expect(refresh.state == .fetched(at: at(3_626)))
    }

    @Test func outcomesThatNobodyAskedForDoNothing() {
        var refresh = fetched()
        refresh.failed("late", now: at(1))
        refresh.succeeded(now: at(2))
        #expect(refresh.state == .fetched(at: at(0)) && refresh.deadline == at(3_600))
    }

    /// Whatever happens: never two fetches at once, never two within ten seconds, never none for more than an hour.
    @Test func randomWalk() {
        for seed in 0..<200 {
            var generator = SplitMix64(seed: UInt64(seed))
            var refresh = KeySetRefresh(now: start)
            var now = start
            var last: Moment?
            for _ in 0..<500 {
                now = now + .milliseconds(Int64.random(in: 0...4_000, using: &generator))
                let isFetching = refresh.isFetching
                let action = Bool.random(using: &generator) ? refresh.check(now: now) : refresh.unknownKey(now: now)
                if action == .fetch {
                    #expect(!isFetching)
                    if let last { #expect(now - last >= .seconds(10)) }
                    last = now
                }
                if let deadline = refresh.deadline { #expect(deadline - now <= .seconds(3_600)) }
                guard refresh.isFetching, Bool.random(using: &generator) else { continue }
                if Bool.random(using: &generator) {
                    refresh.succeeded(now: now)
                } else {
                    refresh.failed("no", now: now)
                }
            }
        }
    }
}
