import ChatCore
import MartletClient
import NIOCore
import NIOPosix

/// The options of a replay.
struct ReplayOptions: Sendable {
    /// What the users speak.
    var dialect = ReplayDialect.martlet
    /// How many sends of one user may be unanswered.
    var window = 8
    /// The speed as a multiple of the recorded one; nil for as fast as possible.
    var speed: Double?
    /// How many events may be in progress in all. This keeps the joins and leaves of a replay at full speed near their
    /// place among the messages.
    var ahead = 1_000
    /// How long nothing may happen, while something should, before the replay is given up.
    var patience: Duration = .seconds(90)
    /// How long no node may answer at the beginning.
    var reaching: Duration = .seconds(10)
    /// How long nothing may arrive after the last event, while a session has not been shown everything.
    var settling: Duration = .seconds(20)
}

/// Plays a trace: hands its events in order to the users on some event loops, and waits until every session was shown
/// everything.
final class ReplayRun: @unchecked Sendable {
    // Proof for @unchecked: apart from `let`, and from `lanes`, which is set once in `init`, everything is used on
    // `home` only.
    let trace: ReplayTrace
    let addresses: [ClientURL]
    let options: ReplayOptions
    let clientOptions: ClientOptions
    private(set) var lanes: [ReplayLane] = []
    private let home: any EventLoop
    private let played: EventLoopPromise<Void>

    private var cursor = 0
    private var underWay = 0
    private var timer: Scheduled<Void>?
    private var began = NIODeadline.now()
    private var moved = NIODeadline.now()
    private var isReached = false
    private var lastTrouble: String?
    private(set) var progress = ReplayProgress.State()

    init(trace: ReplayTrace, addresses: [ClientURL], options: ReplayOptions, group: any EventLoopGroup) {
        self.trace = trace
        self.addresses = addresses
        self.options = options
        var client = ClientOptions()
        client.sendWindow = options.window
        client.showsAll = true
        // A machine that runs thousands of users, and perhaps their nodes too, may be slow.
        client.connectTimeout = .seconds(30)
        client.requestTimeout = .seconds(60)
        clientOptions = client
        home = group.next()
        played = home.makePromise()
        progress.events = trace.events.count
        for loop in group.makeIterator() { lanes.append(ReplayLane(loop: loop, run: self)) }
    }

    // MARK: Playing

    /// Plays all events, and returns when each was answered. Throws a ``ReplayError`` if nothing happens any more.
    func play() async throws {
        home.execute { [self] in
            began = .now()
            moved = began
            pump()
        }
        let watch = home.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [self] _ in watchOver() }
        defer { watch.cancel() }
        try await played.futureResult.get()
    }

    /// A copy of the progress.
    func currentProgress() async -> ReplayProgress.State {
        (try? await home.submit { [self] in progress }.get()) ?? ReplayProgress.State()
    }

    private func pump() {
        timer = nil
        while cursor < trace.events.count, underWay < options.ahead {
            let event = trace.events[cursor]
            if let speed = options.speed {
                let due = began + .nanoseconds(Int64(Double(event.at) * 1_000_000 / speed))
                if due > .now() {
                    timer = home.scheduleTask(deadline: due) { [self] in pump() }
                    return
                }
            }
            let (lane, number) = (lanes[event.user % lanes.count], cursor)
            cursor += 1
            underWay += 1
            lane.loop.execute { lane.enqueue(number) }
        }
        if cursor == trace.events.count, underWay == 0 { played.succeed(()) }
    }

    private func watchOver() {
        let quiet = Duration.nanoseconds((NIODeadline.now() - moved).nanoseconds)
        if !isReached, quiet > options.reaching, let lastTrouble {
            played.fail(ReplayError("no node could be reached: \(lastTrouble)"))
        } else if underWay > 0, quiet > options.patience {
            let text = "\(underWay) events have no answer for \(options.patience)"
            for lane in lanes {
                lane.loop.submit { lane.trouble }.whenSuccess { [self] trouble in
                    if let trouble { played.fail(ReplayError("\(text), for one of \(trouble)")) }
                }
            }
            home.scheduleTask(in: .seconds(1)) { [self] in played.fail(ReplayError(text)) }
        }
    }

    // MARK: From the lanes, on any loop

    func eventsDone(_ count: Int, messages: Int, deliveries: Int) {
        home.execute { [self] in
            underWay -= count
            progress.done += count
            progress.messages += messages
            progress.deliveries += deliveries
            moved = .now()
            if timer == nil { pump() }
        }
    }

    func reached() {
        home.execute { [self] in isReached = true }
    }

    func unreachable(_ text: String) {
        home.execute { [self] in lastTrouble = text }
    }

    // MARK: Afterwards

    /// Waits until every session that stayed was shown everything up to the final positions of its rooms, or until
    /// nothing arrives any more. Returns how many sessions' rooms are behind.
    func settle(_ final: [UInt64]) async throws -> Int {
        var best = Int.max
        var deadline = ContinuousClock.now + options.settling
        while true {
            var behind = 0
            var news = 0
            for lane in lanes {
                let (lag, counts) = try await lane.loop.submit { (lane.behind(final), lane.flushCounts()) }.get()
                behind += lag
                news += counts.deliveries
                try await home.submit { [self] in
                    progress.messages += counts.messages
                    progress.deliveries += counts.deliveries
                }.get()
            }
            if behind == 0 { return 0 }
            if behind < best || news > 0 { deadline = ContinuousClock.now + options.settling }
            best = min(best, behind)
            if ContinuousClock.now >= deadline { return behind }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// The highest seq of each room that any session was shown or sent.
    func highest() async throws -> [UInt64] {
        var highest = [UInt64](repeating: 0, count: trace.rooms.count)
        for lane in lanes {
            let rooms = try await lane.loop.submit { lane.rooms }.get()
            for (index, room) in rooms.enumerated() { highest[index] = max(highest[index], room.highest) }
        }
        return highest
    }

    func close() async throws {
        for lane in lanes { try await lane.loop.submit { lane.closeAll() }.get() }
    }
}
