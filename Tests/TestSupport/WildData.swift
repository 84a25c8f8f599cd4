import ChatCore

/// Payloads and fields as a stranger may publish or write them: the shapes that nodes use, with numbers near every
/// power of two, invalid names, and JSON of any depth. The same seed gives the same data.
package struct WildData {
    package var generator: SplitMix64
    /// Valid node IDs, so that not every payload is refused at its first field.
    package var nodes = ["n1-00000001", "n2-00000002"]
    package var epoch: UInt64 = 1_795_230_114_073

    package init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    package mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &generator) }
    package mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }
    package mutating func pick(_ words: [String]) -> String { words.randomElement(using: &generator) ?? "" }

    /// A whole number, or one that does not fit into 64 bits, or no number at all.
    package mutating func number() -> String {
        switch below(12) {
        case 0: return "\(below(4))"
        case 1: return "-\(below(3))"
        case 2: return String(repeating: "9", count: 1 + below(400))
        case 3:
            return pick([
                "", "nan", "inf", "0x10", "1e5", " 7", "+7", "7.0", "٣", "null", "\u{0}", "18446744073709551616",
            ])
        case 4...6:
            return "\(epoch &+ UInt64(below(5)) &- 2)"
        default:
            let power: UInt64 = 1 << UInt64(below(64))
            let near = UInt64(below(5))
            return "\(oneIn(2) ? power &+ near : power &- near)"
        }
    }

    package mutating func position() -> String {
        switch below(10) {
        case 0: return number()
        case 1: return "\(number())-\(number())-\(number())"
        default: return "\(number())-\(number())"
        }
    }

    package mutating func name() -> String {
        switch below(6) {
        case 0:
            return pick(["", "\u{3164}", "a\u{202E}b", "{x}", "a:b", "\u{0}", "\u{E000}", "say", "\u{1F468}\u{200D}"])
        case 1: return String(repeating: "x", count: below(300))
        default: return pick(nodes + ["ana", "bob", "phone"])
        }
    }

    private mutating func quoted(_ text: String) -> String {
        var json = "\""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5C: json += "\\" + String(Character(scalar))
            case 0..<0x20: json += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
            default: json.unicodeScalars.append(scalar)
            }
        }
        return json + "\""
    }

    private mutating func value(_ text: String) -> String { oneIn(5) ? text : quoted(text) }

    package mutating func json(depth: Int = 0) -> String {
        switch below(depth > 4 ? 4 : 8) {
        case 0: return number()
        case 1: return quoted(name())
        case 2: return pick(["true", "null", "{}", "[]", "", "1e999999999", "-0", "1e-400"])
        case 3:
            let count = 1 + below(oneIn(10) ? 2_000 : 40)
            return String(repeating: "[", count: count) + String(repeating: "]", count: count)
        case 4, 5: return "[" + (0..<below(4)).map { _ in json(depth: depth + 1) }.joined(separator: ",") + "]"
        default:
            return "{"
                + (0..<below(4)).map { _ in quoted(name()) + ":" + json(depth: depth + 1) }.joined(separator: ",") + "}"
        }
    }

    private mutating func nodeList() -> String {
        switch below(6) {
        case 0: return json()
        default:
            let fields = (0..<below(4)).map { _ in quoted(name()) + ":" + value(number()) }
            return "{" + fields.joined(separator: ",") + "}"
        }
    }

    private mutating func changes() -> String {
        if oneIn(8) { return json() }
        let list = (0..<below(4)).map { _ in
            #"{"user":\#(quoted(name())),"device":\#(quoted(name())),"node":\#(quoted(name())),"joined":\#(pick(["true", "false", "1"]))}"#
        }
        return "[" + list.joined(separator: ",") + "]"
    }

    /// One payload of a channel.
    package mutating func payload() -> String {
        var members: [String] = []
        func add(_ name: String, _ json: String) { members.append("\"\(name)\":\(json)") }
        let type = pick(["message", "epoch", "epoch", "gone", "presence", "signal", "party", "\u{0}"])
        if !oneIn(40) { add("type", quoted(type)) }
        if !oneIn(40) { add("position", value(position())) }
        if !oneIn(4) { add("base", value(number())) }
        if !oneIn(40) { add("epoch", value(number())) }
        add("nodes", nodeList())
        add("by", quoted(name()))
        add("node", quoted(name()))
        add("value", value(number()))
        add("last", value(position()))
        add("after", value(position()))
        add("count", value(number()))
        add("changes", changes())
        if !oneIn(3) { add("run", quoted(oneIn(2) ? "" : name())) }
        add("session", value(number()))
        add("user", quoted(name()))
        add("name", quoted(name()))
        if oneIn(2) { add("data", json()) }
        if !oneIn(8) {
            add(
                "entry",
                #"{"user":\#(quoted(name())),"at":\#(quoted(number())),"text":"wild","data":\#(quoted(json()))}"#)
        }
        if oneIn(6) { members.shuffle(using: &generator) }
        let payload = "{" + members.joined(separator: ",") + "}"
        guard oneIn(15) else { return payload }
        return String(payload.prefix(below(payload.count + 1)))
    }
}
