/// The Prometheus text exposition format 0.0.4
/// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details).
enum PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// `name`, with an underscore for every character that the name of a metric must not have:
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    static func metricName(_ name: String) -> String {
        legal(name) { $0 == UInt8(ascii: ":") }
    }

    /// The same for the name of a label: `[a-zA-Z_][a-zA-Z0-9_]*`. Names that Prometheus reserves are changed: `__…`,
    /// and `le` and `quantile`, which describe samples of histograms and summaries.
    static func labelName(_ name: String) -> String {
        let legal = legal(name) { _ in false }
        return legal.hasPrefix("__") || legal == "le" || legal == "quantile" ? "label_" + legal : legal
    }

    /// The text inside the braces: `a="1",b="2"`, ordered by name; empty without labels. If two labels have the same
    /// name, the first one counts. Values are cut after 128 characters.
    static func labels(_ labels: [(String, String)]) -> String {
        var seen: Set<String> = []
        let pairs = labels.map { (labelName($0.0), $0.1) }.filter { seen.insert($0.0).inserted }.sorted { $0.0 < $1.0 }
        return pairs.map { "\($0)=\"\(labelValue(String($1.prefix(128))))\"" }.joined(separator: ",")
    }

    static func labelValue(_ text: String) -> String {
        escape(text, quotes: true)
    }

    static func help(_ text: String) -> String {
        escape(text, quotes: false)
    }

    /// The number in the form that Go's `ParseFloat` reads.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if let whole = Int64(exactly: value) { return "\(whole)" }
        return "\(value)"
    }

    private static func escape(_ text: String, quotes: Bool) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    private static func legal(_ name: String, or extra: (UInt8) -> Bool) -> String {
        var bytes: [UInt8] = name.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                byte
            default: extra(byte) ? byte : UInt8(ascii: "_")
            }
        }
        if bytes.first.map({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) ?? true {
            bytes.insert(UInt8(ascii: "_"), at: 0)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
