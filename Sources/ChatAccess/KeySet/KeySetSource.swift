import ChatCore
import NIOConcurrencyHelpers
import NIOCore

/// Keeps the keys of a key set's URL up to date: runs ``KeySetRefresh`` and fetches.
public final class KeySetSource: @unchecked Sendable {
    // Proof for @unchecked: `refresh`, `timer`, `isStopped` and `waiting` are used on `loop` only.

    /// The outcome of a fetch.
    public enum Outcome: Sendable {
        /// The keys of the set, and what was skipped in it.
        case keys(TokenKeys, skipped: [KeyProblem])
        /// There are no new keys; the last ones stay valid.
        case failed(String)
    }

    /// Fetches the bytes of the set on the given loop; see ``KeySetFetcher/fetch(on:)``.
    public typealias Fetch = @Sendable (any EventLoop) -> EventLoopFuture<[UInt8]>

    private let loop: any EventLoop
    private let fetch: Fetch
    private let onOutcome: @Sendable (Outcome) -> Void
    private let shown: NIOLockedValueBox<KeySetRefresh.State>
    private var refresh: KeySetRefresh
    private var timer: Scheduled<Void>?
    private var isStopped = false
    private var waiting: [EventLoopPromise<Bool>] = []

    /// `onOutcome` is called on `loop` after each fetch, before anybody who waits for it continues.
    public init(
        on loop: any EventLoop, settings: KeySetRefresh.Settings = KeySetRefresh.Settings(), fetch: @escaping Fetch,
        onOutcome: @escaping @Sendable (Outcome) -> Void
    ) {
        self.loop = loop
        self.fetch = fetch
        self.onOutcome = onOutcome
        refresh = KeySetRefresh(settings, now: Self.now)
        shown = NIOLockedValueBox(refresh.state)
    }

    /// What `/readyz` says. From any thread.
    public var state: KeySetRefresh.State { shown.withLockedValue { $0 } }

    /// Begins to fetch. From any thread; the future says whether there are keys after the first fetch.
    @discardableResult
    public func start() -> EventLoopFuture<Bool> {
        let promise = loop.makePromise(of: Bool.self)
        loop.execute {
            guard !self.isStopped else { return promise.succeed(false) }
            let action = self.refresh.check(now: Self.now)
            guard self.refresh.isFetching else { return promise.succeed(self.refresh.hasKeys) }
            self.waiting.append(promise)
            self.perform(action)
        }
        return promise.futureResult
    }

    /// Ends all work. From any thread.
    public func stop() {
        loop.execute {
            self.isStopped = true
            self.timer?.cancel()
            self.timer = nil
            self.release(false)
        }
    }

    /// A token names a key that is not among the keys. True if the set was fetched since, so that the token should be
    /// verified again; at once false if the set may not be fetched again so soon. From any thread.
    public func unknownKey() -> EventLoopFuture<Bool> {
        let promise = loop.makePromise(of: Bool.self)
        loop.execute {
            guard !self.isStopped else { return promise.succeed(false) }
            let action = self.refresh.unknownKey(now: Self.now)
            guard self.refresh.isFetching else { return promise.succeed(false) }
            self.waiting.append(promise)
            self.perform(action)
        }
        return promise.futureResult
    }

    private static var now: Moment { Moment(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    private func perform(_ action: KeySetRefresh.Action) {
        timer?.cancel()
        timer = nil
        switch action {
        case .fetch:
            fetch(loop).hop(to: loop).whenComplete { result in self.ended(result) }
        case .nothing:
            guard !isStopped, let deadline = refresh.deadline else { return }
            timer = loop.scheduleTask(deadline: .uptimeNanoseconds(deadline.nanoseconds)) {
                self.perform(self.refresh.check(now: Self.now))
            }
        }
    }

    private func ended(_ result: Result<[UInt8], any Error>) {
        guard !isStopped else { return }
        var outcome: Outcome
        switch result {
        case .success(let bytes):
            var skipped: [KeyProblem] = []
            do throws(KeyProblem) {
                outcome = .keys(try TokenKeys(keySet: bytes, skipped: &skipped), skipped: skipped)
            } catch {
                outcome = .failed("\(error)")
            }
        case .failure(let error):
            outcome = .failed(FetchErrorText.of(error))
        }
        switch outcome {
        case .keys: refresh.succeeded(now: Self.now)
        case .failed(let problem): refresh.failed(problem, now: Self.now)
        }
        shown.withLockedValue { $0 = refresh.state }
        onOutcome(outcome)
        if case .keys = outcome { release(true) } else { release(false) }
        perform(.nothing)
    }

    private func release(_ isFetched: Bool) {
        let waiting = self.waiting
        self.waiting = []
        for promise in waiting { promise.succeed(isFetched) }
    }
}
