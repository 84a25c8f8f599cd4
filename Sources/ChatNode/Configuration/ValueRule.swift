import ChatCore
import ChatGateway
import ChatRedis
import Glibc

/// The rule for one kind of value in the environment: how it is read and shown, and what an operator is told about a
/// wrong one.
struct ValueRule<Value: Sendable>: Sendable {
    /// The type, in one word, for the table: `duration`.
    var type: String
    /// The range for the table: `1s to 10m`. Empty if there is none.
    var range: String
    /// The text after "expected": `a duration from 1s to 10m, such as 15s`.
    var expected: String
    var parse: @Sendable (String) throws(Misfit) -> Value
    /// The value as text that `parse` can read, except for secrets.
    var show: @Sendable (Value) -> String
    /// A given value as a problem may quote it.
    var quote: @Sendable (String) -> String = { Printable.quoted($0) }
}

extension ValueRule where Value == Int {
    static func int(_ range: ClosedRange<Int>) -> Self {
        let text = "\(range.lowerBound) to \(range.upperBound)"
        return ValueRule(
            type: "int", range: text, expected: "a whole number from \(text)",
            parse: { raw throws(Misfit) in
                guard !raw.isEmpty, raw.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
                    throw Misfit(hint(forNumber: raw))
                }
                guard let value = Int(raw), range.contains(value) else { throw Misfit("it is out of range") }
                return value
            },
            show: { "\($0)" }
        )
    }

    static func bytes(_ range: ClosedRange<Int>) -> Self {
        let text = "\(ByteText.show(range.lowerBound)) to \(ByteText.show(range.upperBound))"
        return ValueRule(
            type: "bytes", range: text, expected: "a number of bytes from \(text), such as 65536 or 64KiB",
            parse: { raw throws(Misfit) in
                let value = try ByteText.parse(raw)
                guard range.contains(value) else { throw Misfit("it is out of range") }
                return value
            },
            show: ByteText.show
        )
    }

    /// Kubernetes puts `tcp://10.0.0.7:80` into MARTLET_PORT when a service is called martlet.
    private static func hint(forNumber raw: String) -> String? {
        raw.hasPrefix("tcp://") || raw.hasPrefix("udp://")
            ? "Kubernetes wrote it for a service of this name: set enableServiceLinks to false" : nil
    }
}

extension ValueRule where Value == Duration {
    /// The unit in which a duration is counted.
    enum Step {
        case microseconds, milliseconds, seconds
    }

    static func duration(_ range: ClosedRange<Duration>, in step: Step = .milliseconds) -> Self {
        let text = "\(DurationText.show(range.lowerBound)) to \(DurationText.show(range.upperBound))"
        let suffix = step == .seconds ? ", in whole seconds" : ""
        return ValueRule(
            type: "duration", range: text + suffix,
            expected: "a duration from \(text)\(suffix), such as \(DurationText.show(example(in: range, step)))",
            parse: { raw throws(Misfit) in
                let value = try DurationText.parse(raw)
                guard range.contains(value) else { throw Misfit("it is out of range") }
                switch step {
                case .microseconds: return value
                case .milliseconds where value == .milliseconds(value.wholeMilliseconds): return value
                case .milliseconds: throw Misfit("only whole milliseconds")
                case .seconds where value == .seconds(value.components.seconds): return value
                case .seconds: throw Misfit("clients are told whole seconds")
                }
            },
            show: DurationText.show
        )
    }
}

extension ValueRule where Value == Duration {
    /// A typical value for an example, which neither end of the range is.
    private static func example(in range: ClosedRange<Duration>, _ step: Step) -> Duration {
        let usual: [Duration] = [
            .seconds(15), .seconds(60), .seconds(3_600), .seconds(5), .seconds(1), .milliseconds(200), .milliseconds(5),
            .microseconds(500),
        ]
        return usual.first { range.lowerBound < $0 && $0 < range.upperBound } ?? range.upperBound
    }
}

extension ValueRule where Value == String {
    /// A text that `isValid` accepts.
    static func string(_ range: String, expected: String, isValid: @escaping @Sendable (String) -> Bool) -> Self {
        ValueRule(
            type: "string", range: range, expected: expected,
            parse: { raw throws(Misfit) in
                guard isValid(raw) else { throw Misfit() }
                return raw
            },
            show: { $0 }
        )
    }
}

extension ValueRule where Value == String {
    /// A file that can be read now.
    static let file = ValueRule(
        type: "path", range: "", expected: "the path of a file that can be read, such as /etc/martlet/redis.pem",
        parse: { raw throws(Misfit) in
            guard access(raw, R_OK) == 0 else { throw Misfit(strerror(errno).map { String(cString: $0) }) }
            return raw
        },
        show: { $0 }
    )
}

extension ValueRule {
    /// One of several words.
    static func word(_ words: [(name: String, value: Value)]) -> Self where Value: Equatable {
        let names = words.map(\.name)
        return ValueRule(
            type: "word", range: names.joined(separator: ", "), expected: "one of \(names.joined(separator: ", "))",
            parse: { raw throws(Misfit) in
                guard let word = words.first(where: { $0.name == raw.lowercased() }) else {
                    throw Misfit(NearestName.of(raw.lowercased(), among: names).map { "did you mean \($0)?" })
                }
                return word.value
            },
            show: { value in words.first { $0.value == value }?.name ?? "?" }
        )
    }

    /// The same rule for a value that may be absent, which is shown as `none` and can be written so. For values that
    /// cannot be the word `none` themselves.
    func orNone() -> ValueRule<Value?> {
        let (parse, show) = (parse, show)
        return ValueRule<Value?>(
            type: type, range: range.isEmpty ? range : range + ", or none", expected: expected + ", or none",
            parse: { raw throws(Misfit) in raw == "none" ? nil : try parse(raw) },
            show: { $0.map(show) ?? "none" },
            quote: quote
        )
    }

    /// The same rule for a value that may be absent, which is shown as `none`.
    func optional(none: String = "none") -> ValueRule<Value?> {
        let (parse, show) = (parse, show)
        return ValueRule<Value?>(
            type: type, range: range, expected: expected,
            parse: { raw throws(Misfit) in try parse(raw) },
            show: { $0.map(show) ?? none },
            quote: quote
        )
    }
}

extension ValueRule where Value == NodeConfiguration.Secret {
    /// Any text that a person may have chosen as a password. Control characters are refused, because they are usually
    /// left over from a file.
    static let secret = ValueRule(
        type: "string, secret", range: "", expected: "a text without control characters",
        parse: { raw throws(Misfit) in
            guard !raw.unicodeScalars.contains(where: Printable.isTreacherous) else {
                throw Misfit(raw.hasSuffix("\n") ? "it ends with a line break" : nil)
            }
            return NodeConfiguration.Secret(raw)
        },
        show: { "\($0)" },
        quote: { _ in "***" }
    )
}

extension ValueRule where Value == NodeConfiguration.BrokerAddress {
    static let address = ValueRule(
        type: "URL",
        range:
            "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, "
            + "redis+cluster://, rediss+cluster://, memory:",
        expected: "redis://[[user]:password@]host[:port][/database], rediss://… (TLS), unix:///path, "
            + "redis+sentinel://[[user]:password@]host[:port],host…/master-name[/database], "
            + "redis+cluster://[[user]:password@]host[:port],host… or memory:",
        parse: { raw throws(Misfit) in
            do throws(RedisURLError) {
                return try NodeConfiguration.BrokerAddress(raw)
            } catch {
                throw Misfit(error.description)
            }
        },
        show: { "\($0)" },
        quote: { Printable.quoted(NodeConfiguration.BrokerAddress.redacted($0)) }
    )
}

extension ValueRule where Value == NodeConfiguration.TrustedAddresses {
    static let addresses = ValueRule(
        type: "list", range: "none, or addresses",
        expected: "none, or addresses and ranges separated by commas, such as loopback,local,203.0.113.7,2001:db8::/48",
        parse: { raw throws(Misfit) in
            guard let addresses = NodeConfiguration.TrustedAddresses(raw) else {
                throw Misfit("a range is an address, a slash and a number of bits")
            }
            return addresses
        },
        show: { $0.description }
    )
}

extension ValueRule where Value == NodeConfiguration.Origins {
    static let origins = ValueRule(
        type: "list", range: "* or origins",
        expected: "* or origins separated by commas, such as https://chat.example,http://localhost:3000",
        parse: { raw throws(Misfit) in
            guard let origins = NodeConfiguration.Origins(raw) else {
                throw Misfit(NodeConfiguration.Origins.hint(raw))
            }
            return origins
        },
        show: { "\($0)" }
    )
}

/// A value that consists of parts with commas between them. An empty part is a part: its rule says what is wrong.
enum CommaList {
    static func parse<Part>(
        _ raw: String, _ part: (String) throws(Misfit) -> Part
    ) throws(Misfit) -> [Part] {
        var parts: [Part] = []
        for text in raw.split(separator: ",", omittingEmptySubsequences: false) { parts.append(try part(String(text))) }
        return parts
    }

    /// `none`: what stands for a list without parts.
    static func show(_ parts: [String], none: String) -> String {
        parts.isEmpty ? none : parts.joined(separator: ",")
    }
}
