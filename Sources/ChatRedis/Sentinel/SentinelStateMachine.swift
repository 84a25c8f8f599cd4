import ChatCore

/// Determines which Redis is the master, from the answers of all listed sentinels.
///
/// Each sentinel has a permanent connection, on which it is queried periodically and sends `+switch-master` in between.
/// The answer with the highest configuration epoch is the newest (redis.io "Sentinel", "Configuration epochs"): a
/// sentinel that was partitioned off gives an older one, and is ignored. An answer with an *older* epoch than the
/// accepted one replaces it only if a majority of the listed sentinels gives it long after the last change: then the
/// sentinels were set up anew.
///
/// An address is only a candidate: the client asks the Redis there for its role, and calls ``troubled(now:_:)`` if it
/// is not a master. Pure: time is an argument, and sentinels are identified by their index in the list.
struct SentinelStateMachine {
    struct Settings: Equatable {
        var sentinels: Int
        /// The interval at which a sentinel is queried, and at which its silence is noticed.
        var askInterval: Duration = .seconds(2)
        /// The time limit for connecting, and for an answer.
        var deadline: Duration = .seconds(1)
        /// The minimum interval between queries of one sentinel, however often the master fails.
        var shortestPause: Duration = .milliseconds(100)
        /// At the start, how long the first answer waits for those of other sentinels.
        var patience: Duration = .milliseconds(300)
        /// How long after the last change an older epoch is accepted from a majority.
        var stubbornness: Duration = .seconds(10)
    }

    struct Address: Hashable, Sendable {
        var host: String
        var port: Int
    }

    /// The answer of a sentinel.
    enum Answer: Equatable {
        /// The master, and the configuration epoch in which it was promoted.
        case master(Address, epoch: UInt64)
        /// It monitors no master of that name.
        case unknownName
    }

    enum Action: Equatable {
        case connect(Int)
        /// Query the sentinel on its connection.
        case ask(Int)
        case close(Int)
        /// The master is at this address.
        case lead(to: Address)
        /// A sentinel that had answered is unreachable now, or one answers again: for the log.
        case lost(Int, String)
        case back(Int)
    }

    private enum Phase: Equatable {
        /// Can transition to: connecting.
        case waiting(until: Moment)
        /// Can transition to: asked, waiting.
        case connecting(since: Moment)
        /// Can transition to: listening, waiting.
        case asked(since: Moment)
        /// Can transition to: asked, waiting.
        case listening(asked: Moment, askAt: Moment)
    }

    private struct Sentinel {
        var phase: Phase
        var word: Word?
        /// Why it has no answer; nil if no attempt has ended yet.
        var trouble: String?
        var knowsName = true
        var failures = 0
        var asksAgain = false
    }

    private struct Word: Equatable {
        var address: Address
        var epoch: UInt64
        var at: Moment
    }

    private let settings: Settings
    private var sentinels: [Sentinel] = []
    private var firstWordAt: Moment?
    private var believed: Word?

    init(_ settings: Settings) {
        self.settings = settings
    }

    /// The currently accepted master.
    var master: Address? { believed?.address }

    /// The reasons, in the sentinels' order, if every sentinel was tried and none has an answer.
    var troubles: [String]? {
        let texts = sentinels.compactMap { $0.word == nil ? $0.trouble : nil }
        return texts.count == sentinels.count && !texts.isEmpty ? texts : nil
    }

    /// Whether all sentinels that answer monitor no master of that name.
    var isNameUnknown: Bool {
        sentinels.contains { !$0.knowsName } && sentinels.allSatisfy { $0.word == nil }
    }

    // MARK: Events

    mutating func started(now: Moment, _ actions: inout [Action]) {
        guard sentinels.isEmpty else { return }
        for index in 0..<settings.sentinels {
            sentinels.append(Sentinel(phase: .connecting(since: now)))
            actions.append(.connect(index))
        }
    }

    /// The connection is established, and the first query is sent on it.
    mutating func connected(_ index: Int, now: Moment, _ actions: inout [Action]) {
        guard sentinels.indices.contains(index), case .connecting = sentinels[index].phase else { return }
        sentinels[index].phase = .asked(since: now)
        actions.append(.ask(index))
    }

    mutating func answered(_ index: Int, _ answer: Answer, now: Moment, _ actions: inout [Action]) {
        guard sentinels.indices.contains(index), case .asked(let since) = sentinels[index].phase else { return }
        if sentinels[index].failures > 0 { actions.append(.back(index)) }
        sentinels[index].failures = 0
        let again = sentinels[index].asksAgain ? settings.shortestPause : settings.askInterval
        sentinels[index].asksAgain = false
        sentinels[index].phase = .listening(asked: since, askAt: since + again)
        switch answer {
        case .master(let address, let epoch):
            sentinels[index].word = Word(address: address, epoch: epoch, at: since)
            sentinels[index].trouble = nil
            sentinels[index].knowsName = true
            if firstWordAt == nil { firstWordAt = now }
        case .unknownName:
            sentinels[index].word = nil
            sentinels[index].trouble = "watches no master of that name"
            sentinels[index].knowsName = false
        }
        decide(now: now, &actions)
    }

    /// The sentinel announced `+switch-master`. The announcement lacks the epoch, so the sentinel is queried again.
    mutating func switched(now: Moment, _ actions: inout [Action]) {
        askAll(now: now, after: .zero, &actions)
    }

    /// The connection could not be established, is lost, or returned an error.
    mutating func failed(_ index: Int, _ reason: String, now: Moment, _ actions: inout [Action]) {
        guard sentinels.indices.contains(index) else { return }
        if case .waiting = sentinels[index].phase { return }
        let pause = min(.milliseconds(100 * Int64(1 << min(sentinels[index].failures, 5))), settings.askInterval)
        if sentinels[index].failures == 0 { actions.append(.lost(index, reason)) }
        sentinels[index].failures += 1
        sentinels[index].word = nil
        sentinels[index].trouble = reason
        sentinels[index].asksAgain = false
        sentinels[index].phase = .waiting(until: now + pause)
        decide(now: now, &actions)
    }

    /// The master failed, or is not a master: a sentinel may know a new one by now.
    mutating func troubled(now: Moment, _ actions: inout [Action]) {
        askAll(now: now, after: settings.shortestPause, &actions)
    }

    /// When to call ``timerFired(now:_:)``; nil before ``started(now:_:)``.
    var nextWake: Moment? {
        var wakes = sentinels.map { sentinel in
            switch sentinel.phase {
            case .waiting(let until): until
            case .connecting(let since), .asked(let since): since + settings.deadline
            case .listening(_, let askAt): askAt
            }
        }
        if believed == nil, let firstWordAt { wakes.append(firstWordAt + settings.patience) }
        return wakes.min()
    }

    mutating func timerFired(now: Moment, _ actions: inout [Action]) {
        for index in sentinels.indices {
            switch sentinels[index].phase {
            case .waiting(let until):
                guard until <= now else { continue }
                sentinels[index].phase = .connecting(since: now)
                actions.append(.connect(index))
            case .connecting(let since), .asked(let since):
                guard since + settings.deadline <= now else { continue }
                actions.append(.close(index))
                failed(index, "does not answer in \(settings.deadline)", now: now, &actions)
            case .listening(_, let askAt):
                guard askAt <= now else { continue }
                sentinels[index].phase = .asked(since: now)
                actions.append(.ask(index))
            }
        }
        // The wait for silent sentinels is over, and `nextWake` must not return it again.
        if believed == nil, let first = firstWordAt, first + settings.patience <= now {
            decide(now: now, &actions)
            if believed == nil { firstWordAt = nil }
        }
    }

    // MARK: Rules

    private mutating func askAll(now: Moment, after pause: Duration, _ actions: inout [Action]) {
        for index in sentinels.indices {
            switch sentinels[index].phase {
            case .listening(let asked, let askAt):
                if asked + pause <= now {
                    sentinels[index].phase = .asked(since: now)
                    actions.append(.ask(index))
                } else {
                    sentinels[index].phase = .listening(asked: asked, askAt: min(askAt, asked + pause))
                }
            case .asked:
                // The pending answer may be older than the information that is needed.
                sentinels[index].asksAgain = true
            case .waiting, .connecting:
                break
            }
        }
    }

    private mutating func decide(now: Moment, _ actions: inout [Action]) {
        let words = sentinels.compactMap(\.word)
        guard let best = newest(words) else { return }
        guard let old = believed else {
            let settled = sentinels.allSatisfy { $0.word != nil || $0.trouble != nil }
            let waited = firstWordAt.map { $0 + settings.patience <= now } ?? false
            guard settled || isMajority(words.count) || waited else { return }
            return believe(best, now: now, &actions)
        }
        if best.epoch > old.epoch {
            believe(best, now: now, &actions)
        } else if best.epoch == old.epoch {
            // The address changed without a failover, as by `sentinel announce-ip`, or was set by hand.
            guard best.address != old.address, isMajority(votes(for: best, words)) else { return }
            believe(best, now: now, &actions)
        } else {
            let later = words.filter { $0.at >= old.at + settings.stubbornness }
            guard isMajority(later.count), let best = newest(later) else { return }
            believe(best, now: now, &actions)
        }
    }

    private mutating func believe(_ word: Word, now: Moment, _ actions: inout [Action]) {
        let isOther = word.address != believed?.address
        believed = Word(address: word.address, epoch: word.epoch, at: now)
        if isOther { actions.append(.lead(to: word.address)) }
    }

    /// The answer with the highest epoch; at the same epoch the most frequent address, and then the first one.
    private func newest(_ words: [Word]) -> Word? {
        var best: Word?
        for word in words {
            guard let chosen = best else {
                best = word
                continue
            }
            if (word.epoch, votes(for: word, words)) > (chosen.epoch, votes(for: chosen, words)) { best = word }
        }
        return best
    }

    private func votes(for word: Word, _ words: [Word]) -> Int {
        words.filter { $0.epoch == word.epoch && $0.address == word.address }.count
    }

    private func isMajority(_ count: Int) -> Bool { count > settings.sentinels / 2 }
}
