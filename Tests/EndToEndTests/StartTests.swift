import Foundation
import Glibc
import TestSupport
import Testing

/// Messages to somebody who starts a node or a tool with a mistake in its configuration.
@Suite(.serialized, .inTurn)
struct StartTests {
    @Test func aPrivateAuthorityIsNamedByAFileAndItsLackIsSaidInWords() async throws {
        let redis = try await PrivateRedis.start(.init(tls: true))
        defer { redis.stop() }
        let url = "rediss://127.0.0.1:\(redis.tlsPort)"
        let strange = try await Program.run(["doctor", "--redis", url, "--wait", "0"])
        #expect(strange.code == 1)
        #expect(strange.output.contains("certificate verify failed: self-signed certificate"), "\(strange.output)")
        #expect(strange.output.contains("MARTLET_REDIS_CA=file.pem") && !strange.output.contains("OPENSSL"))
        let known = try await Program.run(
            ["doctor", "--redis", url, "--wait", "0"], environment: ["MARTLET_REDIS_CA": redis.certificatePath])
        #expect(known.code == 0, "\(known.output)")
        let node = try await TestNode.start("node", redis: url, ["MARTLET_REDIS_CA": redis.certificatePath])
        try await node.terminate()

        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": url, "MARTLET_REDIS_CA": "/nowhere/ca.pem",
        ])
        #expect(code == 78 && output.contains("MARTLET_REDIS_CA is \"/nowhere/ca.pem\""), "\(output)")
        #expect(output.contains("No such file or directory"), "\(output)")
        let garbled = redis.directory.appending(path: "garbled.pem").path
        try Data("no certificate".utf8).write(to: URL(filePath: garbled))
        let (second, why) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": url, "MARTLET_REDIS_CA": garbled,
        ])
        #expect(second == 69 && why.contains("file \(garbled): it holds no PEM certificate"), "\(why)")
    }

    @Test func aRedisThatWantsACertificateGetsOne() async throws {
        let redis = try await PrivateRedis.start(.init(tls: true))
        defer { redis.stop() }
        _ = try redis.cli("CONFIG", "SET", "tls-ca-cert-file", redis.certificatePath)
        _ = try redis.cli("CONFIG", "SET", "tls-auth-clients", "yes")
        let files = [
            "MARTLET_REDIS_CA": redis.certificatePath, "MARTLET_REDIS_CERTIFICATE": redis.certificatePath,
            "MARTLET_REDIS_KEY": redis.directory.appending(path: "redis.key").path,
        ]
        let url = "rediss://127.0.0.1:\(redis.tlsPort)"
        let known = try await Program.run(["doctor", "--redis", url, "--wait", "0"], environment: files)
        #expect(known.code == 0, "\(known.output)")
        let strange = try await Program.run(
            ["doctor", "--redis", url, "--wait", "0"], environment: ["MARTLET_REDIS_CA": redis.certificatePath])
        #expect(strange.code == 1 && strange.output.contains("MARTLET_REDIS_CERTIFICATE"), "\(strange.output)")
    }

    @Test func aPlainRedisIsNoSentinelAndThatIsSaidAtOnce() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "0", "MARTLET_REDIS_URL": "redis+sentinel://127.0.0.1:\(redis.port)/mymaster",
        ])
        #expect(code == 69)
        #expect(
            output.contains("is no sentinel but a plain Redis: let MARTLET_REDIS_URL name it with redis://"),
            "\(output)")
    }

    @Test func aPortThatIsTakenIsTheLastThingSaid() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let (code, output) = try await TestNode.refuse([
            "MARTLET_PORT": "\(redis.port)", "MARTLET_REDIS_URL": redis.url,
        ])
        #expect(code == 69)
        let lines = output.split(separator: "\n")
        #expect(lines.last?.contains("the address is in use by another program") ?? false, "\(output)")
        #expect(!output.contains("is down") && !output.contains("SwiftNIO"), "\(output)")
    }

    @Test func optionsThatAreVariablesAreNamed() async throws {
        let port = try await Program.run(["serve", "--port", "9000"])
        #expect(port.code == 64 && port.error.contains("set MARTLET_PORT"), "\(port.error)")
        let version = try await Program.run(["--version"])
        #expect(version.code == 0 && version.output.hasPrefix("martlet "))
        let (code, output) = try await TestNode.refuse([
            "MARTLET_ALLOWED_ORIGINS": "https://*.example", "MARTLET_LINGER": "3",
        ])
        #expect(code == 78 && output.contains("there are no patterns") && output.contains("such as 15s"), "\(output)")
    }

    @Test func aSecondSignalEndsADrainAtOnce() async throws {
        let redis = try await PrivateRedis.start()
        defer { redis.stop() }
        let node = try await TestNode.start("node", redis: redis.url, ["MARTLET_DRAIN_TIME": "5m"])
        let ana = try await Watcher.connect("ana", node)
        node.signal(SIGINT)
        try await eventually("it drains") { node.output.contains("leaving, telling sessions to reconnect") }
        try await eventually("it ends", within: .seconds(20)) {
            node.signal(SIGINT)
            return node.output.contains("second signal to stop, exiting at once")
        }
        await ana.close()
    }
}
