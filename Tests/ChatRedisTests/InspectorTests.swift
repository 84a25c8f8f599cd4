import TestSupport
import Testing

@testable import ChatRedis

@Suite struct RedisAdviceTests {
    private func subjects(_ configuration: [String: String], _ info: [String: String] = [:]) -> [String] {
        RedisAdvice.on(configuration: configuration, info: info).map { "\($0.weight) \($0.subject)" }
    }

    @Test(arguments: [
        ("stream-node-max-bytes", "4096", "512"), ("appendonly", "no", "yes"), ("timeout", "30", "0"),
        ("tcp-keepalive", "0", "300"), ("lazyfree-lazy-expire", "no", "yes"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
        (
            "client-output-buffer-limit", "normal 0 0 0 slave 1 1 60 pubsub 33554432 8388608 60",
            "normal 0 0 0 slave 1 1 60 pubsub 268435456 67108864 60"
        ),
    ])
    func eachSettingIsWarnedOfAndPassesAsWeWantIt(name: String, bad: String, good: String) {
        let found = subjects([name: bad])
        #expect(found.count == 1)
        #expect(found.first?.hasPrefix("warning \(name)") == true)
        #expect(subjects([name: good]).isEmpty)
    }

    @Test func whatBreaksAPromiseMustBeChanged() {
        #expect(subjects(["maxmemory": "1000", "maxmemory-policy": "volatile-ttl"]) == ["must maxmemory-policy"])
        #expect(subjects(["maxmemory": "1000"], ["used_memory": "850"]) == ["warning maxmemory"])
        #expect(subjects(["maxmemory": "1000"], ["used_memory": "1000"]) == ["must maxmemory"])
        #expect(subjects([:], ["aof_enabled": "1", "aof_last_write_status": "err"]) == ["must aof_last_write_status"])
        #expect(subjects([:], ["rdb_last_bgsave_status": "err"]) == ["must rdb_last_bgsave_status"])
    }

    @Test func othersAreWarnedOf() {
        #expect(subjects(["appendonly": "yes", "appendfsync": "no"]) == ["warning appendfsync"])
        #expect(subjects([:], ["connected_clients": "80", "maxclients": "100"]) == ["warning maxclients"])
        #expect(subjects([:], ["pubsub_patterns": "1"]) == ["warning pubsub_patterns"])
        // An output limit of 0 means no limit.
        #expect(subjects(["client-output-buffer-limit": "pubsub 0 0 0"]).isEmpty)
    }

    @Test func whatIsNotKnownIsNotJudged() {
        #expect(subjects([:]).isEmpty)
        #expect(subjects(["client-output-buffer-limit": "nonsense", "timeout": "x"]).isEmpty)
    }

    @Test func ourOwnConfigurationPassesOnARealServer() async throws {
        let redis = try await PrivateRedis.start(
            PrivateRedis.Options(configuration: [
                "stream-node-max-bytes 512", "appendonly yes", "client-output-buffer-limit pubsub 256mb 64mb 60",
                "lazyfree-lazy-expire yes",
            ]))
        defer { redis.stop() }
        let inspector = try await RedisInspector.connect(try RedisURL(redis.url), name: "test")
        #expect(try await RedisAdvice.ask(inspector).advice == [])
        try redis.cli("CONFIG", "SET", "stream-node-max-bytes", "4096")
        #expect(try await RedisAdvice.ask(inspector).advice.map(\.subject) == ["stream-node-max-bytes"])
    }
}

@Suite struct RedisInspectorTests {
    @Test func batchesAreAnsweredEachWithItsOwnErrors() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let inspector = try await RedisInspector.connect(try RedisURL(redis.url), name: "test")
        #expect(inspector.server.version.hasPrefix("7."))
        async let one = inspector.ask([["SET", "a", "1"], ["GET", "a"], ["LPOP", "a"], ["GET", "b"]])
        async let two = inspector.ask("HSET", "h", "안녕", "x")
        let replies = try await one
        #expect(replies[1] == .string("1"))
        #expect(replies[1].integer == 1)
        #expect(replies[2].error?.hasPrefix("WRONGTYPE") == true)
        #expect(replies[3] == .null)
        #expect(try await two == .integer(1))
        #expect(try await inspector.ask("HGETALL", "h").pairs == ["안녕": .string("x")])
        #expect(try await inspector.ask("INFO", "server").info["redis_mode"] == "standalone")
        #expect(try await inspector.ask([]).isEmpty)
    }

    @Test func aServerThatDoesNotAnswerOrGoesIsAnErrorAndStaysOne() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        // The timeout includes the connection, which may take more than a moment on a busy machine.
        let inspector = try await RedisInspector.connect(try RedisURL(redis.url), name: "test", timeout: .seconds(4))
        redis.freeze()
        let late = await #expect(throws: RedisSetupError.self) { try await inspector.ask("PING") }
        #expect(late?.code == .timedOut)
        redis.thaw()
        await #expect(throws: RedisSetupError.self) { try await inspector.ask("PING") }
        let gone = try await RedisInspector.connect(try RedisURL(redis.url), name: "test")
        redis.kill()
        await #expect(throws: RedisSetupError.self) { try await gone.ask("PING") }
        let nobody = await #expect(throws: RedisSetupError.self) {
            try await RedisInspector.connect(try RedisURL(redis.url), name: "test")
        }
        #expect(nobody?.code == .unreachable)
    }
}
