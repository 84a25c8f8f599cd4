import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import ChatAccess

/// A key set that changes while it is used.
struct KeySetSourceTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.any()

    private func keySet(_ keys: String...) -> [UInt8] { Fixtures.keySet(keys.map { Fixtures.jwk($0) }) }

    /// What a node does with the outcomes.
    private final class Keys: Sendable {
        private let state = NIOLockedValueBox((keys: TokenKeys(), outcomes: [String]()))

        var outcomes: [String] { state.withLockedValue { $0.outcomes } }

        func take(_ outcome: KeySetSource.Outcome) {
            state.withLockedValue { state in
                switch outcome {
                case .keys(let keys, let skipped):
                    state.keys = keys
                    state.outcomes.append("\(keys.count) keys, \(skipped.count) skipped")
                case .failed(let problem): state.outcomes.append(problem)
                }
            }
        }

        /// The name of the problem with a token; nil if it is accepted.
        func problem(_ algorithm: TokenAlgorithm) -> String? {
            let verifier = TokenVerifier(state.withLockedValue { $0.keys })
            let result = verifier.verify(Fixtures.token(algorithm, "joserfc"), now: Fixtures.now)
            guard case .failure(let problem) = result else { return nil }
            return problem.name
        }
    }

    @Test func theKeysOfAnIssuerAreFollowed() async throws {
        func ok(_ names: String...) -> KeySetServer.Answer {
            KeySetServer.ok(String(decoding: Fixtures.keySet(names.map { Fixtures.jwk($0) }), as: UTF8.self))
        }
        let server = try await KeySetServer(ok("rsa", "rsa1024"))
        let fetcher = try KeySetFetcher(try KeySetURL("http://127.0.0.1:\(server.port)/"), deadline: .seconds(60))
        var settings = KeySetRefresh.Settings()
        settings.shortest = .milliseconds(50)
        let keys = Keys()
        let source = KeySetSource(
            on: loop, settings: settings, fetch: { fetcher.fetch(on: $0) }, onOutcome: { keys.take($0) })
        #expect(source.state.warning == nil)
        #expect(try await source.start().get())
        #expect(keys.outcomes == ["1 keys, 1 skipped"])
        #expect(keys.problem(.rs256) == nil && keys.problem(.es256) == "unknownKey")
        // The issuer has a new key, which a token names.
        server.answer(ok("rsa", "p256"))
        try await eventually("the new key is there") {
            _ = try await source.unknownKey().get()
            return keys.problem(.es256) == nil
        }
        #expect(keys.problem(.rs256) == nil)
        // The issuer fails in several ways, and the keys stay.
        for (answer, problem) in [
            (KeySetServer.Answer.send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), "status 500"),
            (KeySetServer.ok("<html>"), "not JSON"), (KeySetServer.ok("{\"keys\":[]}"), "empty"),
        ] {
            server.answer(answer)
            try await eventually("a warning that says: \(problem)") {
                _ = try await source.unknownKey().get()
                return source.state.warning?.contains(problem) == true
            }
            #expect(keys.problem(.rs256) == nil && keys.problem(.es256) == nil)
        }
        // It is asked again by itself, and the old key is gone.
        server.answer(ok("p256"))
        try await eventually("the key set is fetched again") { source.state.warning == nil }
        #expect(keys.problem(.rs256) == "unknownKey" && keys.problem(.es256) == nil)
        source.stop()
        #expect(try await source.unknownKey().get() == false)
        #expect(try await source.start().get() == false)
        await server.close()
    }

    @Test func allWhoMissAKeyWaitForOneFetch() async throws {
        let promise = loop.makePromise(of: [UInt8].self)
        let fetches = NIOLockedValueBox(0)
        let keys = Keys()
        var settings = KeySetRefresh.Settings()
        settings.shortest = .seconds(3_600)
        let source = KeySetSource(
            on: loop, settings: settings,
            fetch: { _ in
                fetches.withLockedValue { $0 += 1 }
                return promise.futureResult
            }, onOutcome: { keys.take($0) })
        let waiting = [source.start(), source.unknownKey(), source.unknownKey(), source.start()]
        // All of them were asked before the fetch ends.
        try await loop.submit {}.get()
        promise.succeed(keySet("p256"))
        for future in waiting { #expect(try await future.get()) }
        #expect(keys.problem(.es256) == nil)
        // Asked again too soon.
        #expect(try await source.unknownKey().get() == false)
        #expect(fetches.withLockedValue { $0 } == 1 && keys.outcomes.count == 1)
        source.stop()
    }

    @Test func stoppingAnswersWhoWaits() async throws {
        let promise = loop.makePromise(of: [UInt8].self)
        let keys = Keys()
        let source = KeySetSource(on: loop, fetch: { _ in promise.futureResult }, onOutcome: { keys.take($0) })
        let waiting = [source.start(), source.unknownKey()]
        source.stop()
        for future in waiting { #expect(try await future.get() == false) }
        promise.succeed(keySet("p256"))
        try await loop.submit {}.get()
        #expect(keys.outcomes == [])
    }
}
