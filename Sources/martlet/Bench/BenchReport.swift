import ChatJSON
import Histogram

/// The result of a run, for people and for programs.
enum BenchReport {
    static func text(_ outcome: BenchOutcome) -> String {
        let result = outcome.result
        var lines = [headline(outcome)]
        lines.append(
            row(
                "joined",
                "\(outcome.plan.connections) in \(milliseconds(outcome.joinedIn)), each " + spread(result.joining)))
        if !outcome.isIdle {
            let seconds = Double(outcome.elapsed) / 1e9
            lines.append(
                row(
                    "delivered",
                    "\(result.measuredDeliveries) of \(result.measuredSends) messages, "
                        + "\(Int(Double(result.measuredDeliveries) / seconds)) a second"))
            if result.sameNode.totalCount > 0 { lines.append(row("same node", spread(result.sameNode))) }
            if result.crossNode.totalCount > 0 { lines.append(row("other node", spread(result.crossNode))) }
            var all = result.sameNode
            all.add(result.crossNode)
            lines += picture(all)
        }
        lines += costs(outcome)
        if !outcome.isIdle { lines.append(row("accounts", accounts(result))) }
        for (trouble, count) in result.troubles.sorted(by: { $0.key < $1.key }) {
            lines.append(row("trouble", "\(count) × \(trouble)"))
        }
        if let limit = result.ownLimit { lines.append(row("beware", limit)) }
        return lines.joined(separator: "\n")
    }

    private static func headline(_ outcome: BenchOutcome) -> String {
        let plan = outcome.plan
        let pace =
            switch plan.pace {
            case .open(let perSecond, let burst):
                "\(short(perSecond)) messages/s each" + (burst > 1 ? " in bursts of \(burst)" : "")
            case .closed(let inFlight): "flat out, \(inFlight) in flight in each"
            }
        let place = plan.nodesPerRoom.map { ", a room on \($0)" } ?? ""
        let what = outcome.isIdle ? "idle" : "\(pace), \(plan.size) bytes"
        let dialect = plan.dialect == .martlet ? "" : " (\(plan.dialect.rawValue))"
        return "\(plan.rooms) rooms × \(plan.members) members on \(plan.nodes) nodes\(dialect)\(place), \(what), "
            + "\(short(plan.seconds)) s"
    }

    private static func costs(_ outcome: BenchOutcome) -> [String] {
        var lines: [String] = []
        for process in outcome.processes {
            guard let cpu = process.cpu else { continue }
            let share = short(Double(cpu) / Double(max(1, outcome.elapsed)) * 100)
            var text = "\(share) % of a core"
            if let end = process.end { text += ", \(end.memory / 1_048_576) MB" }
            lines.append(row("\(process.role.rawValue) \(process.pid)", text))
        }
        if let cost = outcome.nodeCPUPerDelivery, !outcome.isIdle {
            lines.append(row("nodes' CPU", "\(short(cost)) µs a delivery"))
        }
        if let cost = outcome.redisCPUPerMessage, !outcome.isIdle {
            lines.append(row("redis' CPU", "\(short(cost)) µs a message"))
        }
        if let bytes = outcome.bytesPerConnection { lines.append(row("memory", "\(Int(bytes)) bytes a connection")) }
        return lines
    }

    private static func accounts(_ result: BenchResult) -> String {
        let order =
            result.roomsOutOfOrder == 0
            ? "one order in every room" : "\(result.roomsOutOfOrder) rooms without one order"
        return "\(result.missing) missing, \(result.repeated) repeated, \(result.swapped) swapped, \(order); "
            + "\(result.acked) of \(result.said) sends acked" + (result.isExact ? ": OK" : ": NOT OK")
    }

    /// The distribution of latencies as bars. The bound of each line is twice that of the one above.
    static func picture(_ latencies: Histogram<UInt64>) -> [String] {
        guard latencies.totalCount > 0 else { return [] }
        var counts: [UInt64] = []
        for value in latencies.recordedValues() {
            let bin = max(0, 64 - (value.value / 8_000).leadingZeroBitCount)
            while counts.count <= bin { counts.append(0) }
            counts[bin] += value.count
        }
        let most = max(1, counts.max() ?? 1)
        let first = counts.firstIndex { $0 > 0 } ?? 0
        return counts.indices.dropFirst(first).map { bin in
            let count = counts[bin]
            let bar = String(repeating: "█", count: Int(count * 40 / most))
            let share = short(Double(count) / Double(latencies.totalCount) * 100)
            return row("< " + milliseconds(8_000 << UInt64(bin)), "\(count > 0 && bar.isEmpty ? "▏" : bar) \(share) %")
        }
    }

    private static func spread(_ values: Histogram<UInt64>) -> String {
        guard values.totalCount > 0 else { return "never" }
        let places = [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9)].map { name, place in
            "\(name) \(milliseconds(values.valueAtPercentile(place)))"
        }
        return places.joined(separator: ", ") + ", most \(milliseconds(values.maxRecorded))"
    }

    private static func row(_ name: String, _ text: String) -> String {
        String(repeating: " ", count: max(0, 14 - name.count)) + name + "  " + text
    }

    /// Nanoseconds as milliseconds or microseconds, whichever is easier to read.
    static func milliseconds(_ nanoseconds: UInt64) -> String {
        let value = Double(nanoseconds)
        if value >= 1e9 { return short(value / 1e9) + " s" }
        return value >= 1e6 ? short(value / 1e6) + " ms" : "\(Int((value / 1e3).rounded())) µs"
    }

    /// With up to two decimals.
    static func short(_ value: Double) -> String {
        guard value.isFinite, abs(value) < 1e15 else { return "?" }
        let hundredths = Int((value * 100).rounded())
        if hundredths % 100 == 0 { return "\(hundredths / 100)" }
        let rest = abs(hundredths % 100)
        let text = "\(abs(hundredths) / 100).\(rest < 10 ? "0" : "")\(rest)"
        return hundredths < 0 ? "-" + text : text
    }

    /// One object. Times are in microseconds.
    static func json(_ outcome: BenchOutcome) -> String {
        let result = outcome.result
        var object: [String: JSONValue] = [
            "protocol": .string(outcome.plan.dialect.rawValue), "rooms": number(outcome.plan.rooms),
            "members": number(outcome.plan.members),
            "nodes": number(outcome.plan.nodes), "size": number(outcome.plan.size),
            "seconds": decimal(Double(outcome.elapsed) / 1e9),
            "joinedMilliseconds": decimal(Double(outcome.joinedIn) / 1e6),
            "messages": number(result.measuredSends), "deliveries": number(result.measuredDeliveries),
            "deliveriesPerSecond": decimal(Double(result.measuredDeliveries) / (Double(outcome.elapsed) / 1e9)),
            "said": number(result.said), "acked": number(result.acked), "missing": number(result.missing),
            "repeated": number(result.repeated), "swapped": number(result.swapped),
            "roomsWithoutOneOrder": number(result.roomsOutOfOrder), "ok": .bool(result.isExact),
            "joining": latency(result.joining), "sameNode": latency(result.sameNode),
            "otherNode": latency(result.crossNode), "generatorLag": latency(result.lag),
            "troubles": .object(result.troubles.mapValues { number($0) }),
        ]
        if let cost = outcome.nodeCPUPerDelivery { object["nodeMicrosecondsPerDelivery"] = decimal(cost) }
        if let cost = outcome.redisCPUPerMessage { object["redisMicrosecondsPerMessage"] = decimal(cost) }
        if let bytes = outcome.bytesPerConnection { object["bytesPerConnection"] = decimal(bytes) }
        if result.measuredDeliveries > 0 {
            let cost = Double(result.generatorCPU) / Double(result.measuredDeliveries) / 1_000
            object["generatorMicrosecondsPerDelivery"] = decimal(cost)
        }
        if let limit = result.ownLimit { object["beware"] = .string(limit) }
        object["processes"] = .array(
            outcome.processes.map { process in
                .object([
                    "pid": number(process.pid), "role": .string(process.role.rawValue),
                    "cpuMicroseconds": process.cpu.map { number($0 / 1_000) } ?? .null,
                    "memoryBytes": process.end.map { number($0.memory) } ?? .null,
                ])
            })
        return JSONValue.object(object).text
    }

    private static func number(_ value: some BinaryInteger) -> JSONValue { .number("\(value)") }
    private static func decimal(_ value: Double) -> JSONValue { value.isFinite ? .number(short(value)) : .null }

    private static func latency(_ values: Histogram<UInt64>) -> JSONValue {
        guard values.totalCount > 0 else { return .null }
        func place(_ percentile: Double) -> JSONValue { decimal(Double(values.valueAtPercentile(percentile)) / 1_000) }
        return .object([
            "p50": place(50), "p90": place(90), "p99": place(99), "p999": place(99.9),
            "max": decimal(Double(values.maxRecorded) / 1_000), "count": number(values.totalCount),
        ])
    }
}
