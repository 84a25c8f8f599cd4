import ChatCore
import Testing

struct TimeSearchTests {
    private let ana: UserID

    init() throws { ana = try UserID("ana") }

    /// A log as a node would read it: positions in order, and the time of each.
    private struct Log {
        var entries: [(position: Position, at: UInt64)]
        let ana: UserID

        func answer(_ anchor: HistoryQuery.Anchor) -> Message? {
            let found: (position: Position, at: UInt64)? =
                switch anchor {
                case .before(let position): entries.last { $0.position < position }
                case .after(let position): entries.first { $0.position > position }
                case .newest: entries.last
                default: nil
                }
            return found.map { entry in
                Message(
                    position: entry.position,
                    content: MessageContent(user: ana, at: entry.at, text: "x"))
            }
        }

        /// The message that the search finds, and how many questions it had.
        func find(_ time: UInt64) -> (position: Position?, questions: Int) {
            var search = TimeSearch(time: time)
            var questions = 0
            while case .ask(let anchor) = search.step {
                questions += 1
                guard questions <= TimeSearch.mostQuestions else { break }
                search.take(answer(anchor))
            }
            guard case .found(let place) = search.step else { return (nil, questions) }
            return (entries.first { $0.position >= place }?.position, questions)
        }

        func first(at time: UInt64) -> Position? { entries.first { $0.at >= time }?.position }
    }

    @Test func itFindsTheFirstMessageOfATime() {
        let log = Log(
            entries: (1...1_000).map { (Position(epoch: 10_000, seq: UInt64($0)), 10_000 + UInt64($0 / 3) * 100) },
            ana: ana)
        for time in stride(from: UInt64(9_000), to: 45_000, by: 50) {
            let (found, questions) = log.find(time)
            #expect(found == log.first(at: time), "\(time)")
            #expect(questions <= 13)
        }
    }

    /// Histories that began anew, logs whose beginning was trimmed, and messages that are gone.
    @Test(arguments: 0..<200) func itFindsItInAnyHistory(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var entries: [(position: Position, at: UInt64)] = []
        var (clock, seq) = (UInt64(1_000_000), UInt64(0))
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            clock += UInt64.random(in: 1...10_000, using: &random)
            let epoch = clock
            for _ in 0..<Int.random(in: 0...60, using: &random) {
                clock += UInt64.random(in: 0...2_000, using: &random)
                seq += 1
                if Int.random(in: 0..<8, using: &random) > 0 {
                    entries.append((Position(epoch: epoch, seq: seq), clock))
                }
            }
        }
        let log = Log(entries: Array(entries.dropFirst(Int.random(in: 0...20, using: &random))), ana: ana)
        for _ in 0..<100 {
            let time = UInt64.random(in: 999_000...clock + 1_000, using: &random)
            #expect(log.find(time).position == log.first(at: time), "seed \(seed), time \(time)")
        }
    }

    /// Messages that were brought in with their own times, which are older than the epochs that they are in, and then
    /// messages that were said.
    @Test(arguments: 0..<200) func itFindsWhatWasBroughtIn(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var entries: [(position: Position, at: UInt64)] = []
        var (said, epoch, seq) = (UInt64(1_000_000), UInt64(50_000_000_000), UInt64(0))
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            epoch += UInt64.random(in: 1...1_000_000_000, using: &random)
            for _ in 0..<Int.random(in: 0...60, using: &random) {
                said += UInt64.random(in: 0...100_000, using: &random)
                seq += 1
                if Int.random(in: 0..<8, using: &random) > 0 {
                    entries.append((Position(epoch: epoch, seq: seq), said))
                }
            }
        }
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            epoch += UInt64.random(in: 1...1_000_000_000, using: &random)
            for step in 0..<UInt64.random(in: 0...30, using: &random) {
                seq += 1
                entries.append((Position(epoch: epoch, seq: seq), epoch + step))
            }
        }
        let log = Log(entries: entries, ana: ana)
        for _ in 0..<50 {
            let times = [UInt64.random(in: 999_000...said + 1_000, using: &random), epoch - 5, epoch + 5, epoch + 40]
            for time in times {
                #expect(log.find(time).position == log.first(at: time), "seed \(seed), time \(time)")
            }
        }
    }

    @Test func thereMayBeNothingAtAll() {
        #expect(Log(entries: [], ana: ana).find(5) == (nil, 2))
        #expect(Log(entries: [], ana: ana).find(.max) == (nil, 2))
    }

    /// What a search reads is charged: whoever brought in long messages pays for them, not the others.
    @Test func itsCostIsThatOfWhatItRead() throws {
        let long = Message(
            position: Position(epoch: 5, seq: 1),
            content: MessageContent(user: ana, at: 5, text: String(repeating: "x", count: 60_000)))
        var search = TimeSearch(time: 9)
        search.take(long)
        search.take(nil)
        #expect(search.cost >= 2 * RequestCost.timeQuestion + 60_000 * RequestCost.byteIn)

        let query = HistoryQuery(anchor: .time(9), limit: 10)
        var page = HistoryPage(messages: [long], newest: nil, hasOlder: true, hasNewer: false)
        let without = RequestCost.page(page, of: query)
        page.searchCost = RequestCost.timeSearch
        #expect(RequestCost.page(page, of: query) == without, "as much as was assumed")
        page.searchCost = RequestCost.timeSearch + 3_000_000
        #expect(RequestCost.page(page, of: query) == without + 3_000_000)
        #expect(page.limited(toBytes: 1, anchor: query.anchor).searchCost == page.searchCost)
    }
}
