import FoundationEssentials
import Glibc
import Logging
import NIOConcurrencyHelpers
import Testing

@testable import ChatNode

@Suite struct LogTests {
    private final class Lines: Sendable {
        private let lines = NIOLockedValueBox<[String]>([])
        func append(_ line: String) { lines.withLockedValue { $0.append(line) } }
        var all: [String] { lines.withLockedValue { $0 } }
    }

    private struct Broken: Error, CustomStringConvertible {
        var description: String { "it broke\n2026-01-01T00:00:00.000Z error forged" }
    }

    private func logger(
        _ format: NodeConfiguration.Log.Format, level: Logger.Level = .info, provider: Logger.MetadataProvider? = nil
    ) -> (Logger, Lines) {
        let lines = Lines()
        var log = NodeConfiguration.Log()
        log.format = format
        log.level = level
        let logger = Logger(label: "test") { [log] _ in
            NodeLogHandler(log, metadataProvider: provider, now: { Date(timeIntervalSince1970: 1_795_230_900.125) }) {
                lines.append($0)
            }
        }
        return (logger, lines)
    }

    @Test func aTextLineIsTimeLevelMessageAndKeysInOrder() {
        var (logger, lines) = logger(.text)
        logger[metadataKey: LogKey.node] = "west-1-0a1b2c3d"
        logger.notice("node is ready", metadata: [LogKey.shard: "3", LogKey.address: "127.0.0.1:8080"])
        #expect(
            lines.all == [
                "2026-11-21T03:15:00.125Z notice node is ready address=127.0.0.1:8080 node.id=west-1-0a1b2c3d shard=3\n"
            ])
    }

    @Test func aJSONLineIsOneObject() throws {
        var (logger, lines) = logger(.json)
        logger[metadataKey: LogKey.node] = "n"
        logger.warning(
            "slow \"quoted\"",
            metadata: [
                LogKey.error: "a\n\u{1B}\u{9B}\u{2028}\u{202E}\\ 안녕", "level": "fake", "list": ["a", "b"],
                "map": ["k": "v"],
            ])
        #expect(
            lines.all == [
                #"{"time":"2026-11-21T03:15:00.125Z","level":"warning","message":"slow \"quoted\"","#
                    + #""error":"a\n\u001b\u009b\u2028\u202e\\ 안녕","level_":"fake","list":["a","b"],"map":{"k":"v"},"node.id":"n"}"#
                    + "\n"
            ])
        struct Line: Decodable { var level: String, message: String, error: String }
        let read = try JSONDecoder().decode(Line.self, from: Data(try #require(lines.all.first).utf8))
        #expect(read.level == "warning")
        #expect(read.error == "a\n\u{1B}\u{9B}\u{2028}\u{202E}\\ 안녕")
    }

    @Test(arguments: [
        ("plain", "plain"), ("안녕👋", "안녕👋"), ("", #""""#), ("two words", #""two words""#), ("a=b", #""a=b""#),
        ("x\n2026-11-21T03:15:00.125Z error forged", #""x\n2026-11-21T03:15:00.125Z error forged""#),
        ("\u{1B}[31mred", #""\u{1B}[31mred""#), ("a\"b", #""a\"b""#), ("back\\slash", #""back\\slash""#),
        ("\u{202E}gnp.exe", #""\u{202E}gnp.exe""#), ("non\u{A0}breaking", "\"non\u{A0}breaking\""),
    ])
    func aValueCannotForgeALineOrAKey(value: String, shown: String) {
        let (logger, lines) = logger(.text)
        logger.info("said", metadata: ["name": "\(value)"])
        #expect(lines.all == ["2026-11-21T03:15:00.125Z info said name=\(shown)\n"])
    }

    @Test(arguments: NodeConfiguration.Log.Format.allCases)
    func everyLineIsOneLineWhateverItHolds(format: NodeConfiguration.Log.Format) {
        let (logger, lines) = logger(format)
        for value in 0..<0x3000 {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let text = String(Character(scalar))
            logger.info("m\(text)m", metadata: ["k\(text)": "v\(text)v"])
        }
        for line in lines.all {
            #expect(line.hasSuffix("\n") && !line.dropLast().unicodeScalars.contains(where: Printable.isTreacherous))
        }
    }

    @Test(arguments: NodeConfiguration.Log.Format.allCases)
    func aLongValueIsCut(format: NodeConfiguration.Log.Format) {
        let (logger, lines) = logger(format)
        logger.info("long", metadata: ["name": "\(String(repeating: "x", count: 1_000_000))"])
        #expect((lines.all.first?.utf8.count ?? .max) < 1_300)
    }

    @Test func onlyWhatIsImportantEnoughIsWritten() {
        let (logger, lines) = logger(.text, level: .warning)
        logger.notice("no")
        logger.warning("yes")
        #expect(lines.all == ["2026-11-21T03:15:00.125Z warning yes\n"])
    }

    @Test func metadataOfTheLineWinsOverThatOfTheContextAndOfTheLogger() {
        var (logger, lines) = logger(.text, provider: Logger.MetadataProvider { ["a": "provider", "b": "provider"] })
        logger[metadataKey: "a"] = "logger"
        logger[metadataKey: "c"] = "logger"
        logger.info("m", metadata: ["b": "line"])
        #expect(lines.all == ["2026-11-21T03:15:00.125Z info m a=provider b=line c=logger\n"])
    }

    @Test func anErrorIsShownLikeAnyOtherValue() {
        let (logger, lines) = logger(.text)
        logger.error("failed", error: Broken())
        #expect(
            lines.all == [
                #"2026-11-21T03:15:00.125Z error failed error="it broke\n2026-01-01T00:00:00.000Z error forged""# + "\n"
            ])
    }

    @Test func keysAreShortDifferentAndWellFormed() {
        #expect(Set(LogKey.all).count == LogKey.all.count)
        for key in LogKey.all {
            #expect((1...15).contains(key.utf8.count), "\(key)")
            #expect(key.utf8.allSatisfy { (0x61...0x7A).contains($0) || $0 == UInt8(ascii: ".") }, "\(key)")
        }
    }
}
