import FoundationEssentials
import Logging
import NIOConcurrencyHelpers

/// Writes log lines for people or for programs. Every event is exactly one line, whatever its values contain: nothing
/// that a client sends can end a line, begin another one or change the colours of a terminal.
struct NodeLogHandler: LogHandler {
    /// Receives a whole line, including its line break.
    typealias Sink = @Sendable (String) -> Void

    /// The number of characters of a value that are shown.
    static let valueLimit = 1_024

    var logLevel: Logger.Level
    var metadata = Logger.Metadata()
    var metadataProvider: Logger.MetadataProvider?
    private let format: NodeConfiguration.Log.Format
    private let sink: Sink
    private let now: @Sendable () -> Date

    init(
        _ log: NodeConfiguration.Log, metadataProvider: Logger.MetadataProvider? = nil,
        now: @escaping @Sendable () -> Date = { Date() }, sink: @escaping Sink = { LogWriter.standard.write($0) }
    ) {
        logLevel = log.level
        format = log.format
        self.metadataProvider = metadataProvider
        self.now = now
        self.sink = sink
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var all = metadata
        if let provider = metadataProvider { all.merge(provider.get()) { _, new in new } }
        if let own = event.metadata { all.merge(own) { _, new in new } }
        if let error = event.error { all[LogKey.error] = "\(error)" }
        let pairs = all.sorted { $0.key < $1.key }
        let time = now().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        switch format {
        case .text: sink(Self.text(time, event, pairs))
        case .json: sink(Self.json(time, event, pairs))
        }
    }

    /// `2026-11-21T03:15:00.123Z notice node is ready node.id=west-1-0a1b2c3d`
    private static func text(_ time: String, _ event: LogEvent, _ pairs: [(key: String, value: Logger.MetadataValue)])
        -> String
    {
        var line = "\(time) \(event.level.rawValue) \(Printable.escaped(event.message.description, limit: valueLimit))"
        for (key, value) in pairs {
            line += " \(Printable.escaped(key, limit: 64))=\(textValue("\(value)"))"
        }
        return line + "\n"
    }

    /// The text itself if it is unambiguous, otherwise in quotes, so that a value cannot look like a key and another
    /// value.
    private static func textValue(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy { byte in
                byte > 0x20 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "=") && byte != UInt8(ascii: "\\")
            }
        let hasTricks = text.unicodeScalars.contains { Printable.isTreacherous($0) || $0.properties.isWhitespace }
        return isPlain && !hasTricks && text.unicodeScalars.count <= valueLimit
            ? text : Printable.quoted(text, limit: valueLimit)
    }

    /// `{"time":"…","level":"notice","message":"node is ready","node.id":"west-1-0a1b2c3d"}`. A key that equals one of
    /// the first three gets an underscore.
    private static func json(_ time: String, _ event: LogEvent, _ pairs: [(key: String, value: Logger.MetadataValue)])
        -> String
    {
        var line = "{\"time\":\(JSONText.string(time)),\"level\":\"\(event.level.rawValue)\""
        line += ",\"message\":\(JSONText.string(event.message.description))"
        for (key, value) in pairs {
            let isTaken = ["time", "level", "message"].contains(key)
            line += ",\(JSONText.string(isTaken ? key + "_" : key)):\(JSONText.value(value))"
        }
        return line + "}\n"
    }
}

/// JSON for log lines (RFC 8259).
private enum JSONText {
    static func value(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): string(text)
        case .stringConvertible(let value): string("\(value)")
        case .array(let values): "[" + values.map(Self.value).joined(separator: ",") + "]"
        case .dictionary(let pairs):
            "{"
                + pairs.sorted { $0.key < $1.key }.map { "\(string($0.key)):\(Self.value($0.value))" }.joined(
                    separator: ",") + "}"
        }
    }

    /// A JSON string, shortened like any value, in which characters that would disturb a terminal are escaped too.
    static func string(_ text: String) -> String {
        var result = "\""
        var left = NodeLogHandler.valueLimit
        for scalar in text.unicodeScalars {
            guard left > 0 else {
                result += "…"
                break
            }
            left -= 1
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where Printable.isTreacherous(scalar):
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension NodeLogHandler {
    /// The line that reports how many lines were dropped because nothing read them in time.
    static func droppedLine(_ count: Int, _ log: NodeConfiguration.Log) -> String {
        let line = NIOLockedValueBox("")
        var log = log
        log.level = .trace
        let logger = Logger(label: "martlet") { [log] _ in
            NodeLogHandler(log, sink: { text in line.withLockedValue { $0 = text } })
        }
        logger.warning("log lines were dropped because nobody read them", metadata: [LogKey.count: "\(count)"])
        return line.withLockedValue { $0 }
    }
}

/// Output of a process that has no logger yet, or is about to end.
enum StandardError {
    /// Writes `text`, and waits a moment until it has been written.
    static func write(_ text: String) {
        LogWriter.standard.write(text)
        LogWriter.standard.flush(within: .seconds(1))
    }
}

extension NodeConfiguration.Log {
    /// A logger that writes as configured, whatever the global logging system of swift-log is.
    public func makeLogger(label: String = "martlet") -> Logger {
        Logger(label: label) { _ in NodeLogHandler(self) }
    }

    /// Makes all loggers of the process, including those of libraries, write as configured. Call it once, before the
    /// first logger is made: swift-log traps the second time.
    public func bootstrap() {
        let log = self
        LogWriter.standard.configure(limit: queueBytes) { NodeLogHandler.droppedLine($0, log) }
        LoggingSystem.bootstrap(
            { _, provider in NodeLogHandler(log, metadataProvider: provider) }, metadataProvider: nil)
    }
}
