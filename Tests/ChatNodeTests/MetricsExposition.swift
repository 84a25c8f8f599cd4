/// A strict reader of the Prometheus text exposition format 0.0.4 for tests. It refuses everything that the format does
/// not allow, including what Prometheus itself would accept.
struct Exposition {
    struct Sample: Equatable {
        var name: String
        var labels: [String: String]
        var value: Double
    }

    struct Family {
        var help: String
        var type: String
        var samples: [Sample] = []
    }

    struct Fault: Error, CustomStringConvertible {
        var description: String
    }

    private(set) var families: [String: Family] = [:]

    init(_ text: String) throws(Fault) {
        guard text.hasSuffix("\n") || text.isEmpty else { throw Fault(description: "no line break at the end") }
        var current: String?
        var seen: Set<String> = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init) {
            if line.hasPrefix("# HELP ") {
                let (name, help) = try Self.words(line.dropFirst(7))
                guard families[name] == nil else { throw Fault(description: "family twice: \(name)") }
                families[name] = Family(help: try Self.unescape(help, quotes: false), type: "")
                current = name
            } else if line.hasPrefix("# TYPE ") {
                let (name, type) = try Self.words(line.dropFirst(7))
                guard name == current, families[name]?.type == "", ["counter", "gauge", "histogram"].contains(type)
                else {
                    throw Fault(description: "TYPE out of place: \(line)")
                }
                families[name]?.type = type
            } else {
                let sample = try Self.sample(line)
                guard let current, let family = families[current], !family.type.isEmpty else {
                    throw Fault(description: "sample without family: \(line)")
                }
                let suffixes = family.type == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
                guard suffixes.contains(where: { current + $0 == sample.name }) else {
                    throw Fault(description: "sample of another family: \(line)")
                }
                let identity = "\(sample.name) \(sample.labels.sorted { $0.key < $1.key })"
                guard seen.insert(identity).inserted else { throw Fault(description: "series twice: \(line)") }
                families[current]?.samples.append(sample)
            }
        }
        for (name, family) in families { try Self.check(name, family) }
    }

    /// The value of one series; nil if it does not exist.
    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        families.values.lazy.flatMap(\.samples).first { $0.name == name && $0.labels == labels }?.value
    }

    private static func check(_ name: String, _ family: Family) throws(Fault) {
        guard family.type == "histogram" else { return }
        var series: [[String: String]: [Sample]] = [:]
        for sample in family.samples {
            var labels = sample.labels
            labels["le"] = nil
            series[labels, default: []].append(sample)
        }
        for samples in series.values {
            let buckets = samples.filter { $0.name == name + "_bucket" }
            let bounds = buckets.compactMap { $0.labels["le"].flatMap(Self.number) }
            guard bounds.count == buckets.count, bounds.last == .infinity,
                zip(bounds, bounds.dropFirst()).allSatisfy({ $0 < $1 })
            else {
                throw Fault(description: "bounds of \(name): \(bounds)")
            }
            let counts = buckets.map(\.value)
            guard zip(counts, counts.dropFirst()).allSatisfy({ $0 <= $1 }) else {
                throw Fault(description: "buckets of \(name) are not cumulative: \(counts)")
            }
            guard samples.filter({ $0.name == name + "_sum" }).count == 1,
                samples.filter({ $0.name == name + "_count" }).map(\.value) == [counts.last]
            else { throw Fault(description: "sum or count of \(name)") }
        }
    }

    private static func words(_ text: Substring) throws(Fault) -> (name: String, rest: String) {
        guard let space = text.firstIndex(of: " ") else { throw Fault(description: "no text after the name: \(text)") }
        let name = String(text[..<space])
        guard isName(name, colon: true) else { throw Fault(description: "no metric name: \(name)") }
        return (name, String(text[text.index(after: space)...]))
    }

    private static func sample(_ line: String) throws(Fault) -> Sample {
        var rest = Substring(line)
        let name = String(rest.prefix { $0 != "{" && $0 != " " })
        guard isName(name, colon: true) else { throw Fault(description: "no metric name: \(line)") }
        rest = rest.dropFirst(name.count)
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest = rest.dropFirst()
            while rest.first != "}" {
                let label = String(rest.prefix { $0 != "=" })
                rest = rest.dropFirst(label.count)
                guard isName(label, colon: false), rest.hasPrefix("=\"") else {
                    throw Fault(description: "label: \(line)")
                }
                rest = rest.dropFirst(2)
                var raw = ""
                while let character = rest.first, character != "\"" {
                    raw.append(character)
                    rest = rest.dropFirst()
                    if character == "\\", let next = rest.popFirst() { raw.append(next) }
                }
                guard rest.popFirst() == "\"", labels.updateValue(try unescape(raw, quotes: true), forKey: label) == nil
                else {
                    throw Fault(description: "label value: \(line)")
                }
                if rest.first == "," {
                    rest = rest.dropFirst()
                } else if rest.first != "}" {
                    throw Fault(description: line)
                }
            }
            rest = rest.dropFirst()
        }
        guard rest.popFirst() == " ", let value = number(String(rest)) else {
            throw Fault(description: "value: \(line)")
        }
        return Sample(name: name, labels: labels, value: value)
    }

    private static func number(_ text: String) -> Double? {
        switch text {
        case "+Inf": .infinity
        case "-Inf": -.infinity
        case "NaN": .nan
        default: text.utf8.allSatisfy { "0123456789.e+-".utf8.contains($0) } ? Double(text) : nil
        }
    }

    private static func isName(_ text: String, colon: Bool) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"): true
            default: colon && byte == UInt8(ascii: ":")
            }
        }
    }

    private static func unescape(_ text: String, quotes: Bool) throws(Fault) -> String {
        var result = ""
        var scalars = text.unicodeScalars[...]
        while let scalar = scalars.popFirst() {
            guard scalar == "\\" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            switch scalars.popFirst() {
            case "n": result += "\n"
            case "\\": result += "\\"
            case "\"" where quotes: result += "\""
            default: throw Fault(description: "escape in \(text)")
            }
        }
        return result
    }
}
