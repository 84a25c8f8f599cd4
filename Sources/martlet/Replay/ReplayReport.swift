import ChatCore
import ChatJSON

extension ReplayVerdict {
    /// The report for people: a summary, and one line for each room with an error.
    var text: String {
        var lines: [String] = []
        for room in rooms where !room.isGood { lines.append(room.line) }
        for failure in failures { lines.append("failed: \(failure)") }
        let trimmed = rooms.filter(\.trimmed)
        if !trimmed.isEmpty {
            lines.append(
                "the logs of \(trimmed.count) rooms were trimmed (\(trimmed[0].name)…): "
                    + "trimmed messages were compared with "
                    + "what the sessions saw in common; nodes with a higher MARTLET_HISTORY_LENGTH keep it")
        }
        lines.append(
            "\(messages) messages, \(sessions) sessions, \(rooms.count) rooms, "
                + "\(deliveries) deliveries in \(Self.short(seconds)) s "
                + "(\(Int(Double(deliveries) / max(seconds, 0.001))) deliveries/s)")
        lines.append(
            "\(total(\.missing)) missing, \(total(\.repeated)) repeated, \(total(\.swapped)) swapped; "
                + "\(total(\.differs)) different, \(total(\.lostAcks)) acked but not in the log, "
                + "\(total(\.stored)) stored twice, "
                + "\(total(\.holesInLog)) holes in the log; "
                + "\(failed) failed, \(behind) behind, \(reconnects) reconnects"
                + (reasons.isEmpty
                    ? "" : " (\(reasons.map { "\($0.value) × \($0.key)" }.sorted().joined(separator: "; ")))")
        )
        lines.append(isGood ? "every session saw its rooms' logs: OK" : "NOT OK")
        return lines.joined(separator: "\n")
    }

    /// The report for programs: one object.
    var json: String {
        func number(_ value: some BinaryInteger) -> JSONValue { .number(String(value)) }
        let bad = rooms.filter { !$0.isGood }.map { room in
            JSONValue.object(["room": .string(room.name.text), "problem": .string(room.line)])
        }
        let object: [String: JSONValue] = [
            "ok": .bool(isGood), "messages": number(messages), "sessions": number(sessions),
            "rooms": number(rooms.count),
            "deliveries": number(deliveries), "seconds": .number(Self.short(seconds)),
            "deliveriesPerSecond": number(Int(Double(deliveries) / max(seconds, 0.001))),
            "missing": number(total(\.missing)), "repeated": number(total(\.repeated)),
            "swapped": number(total(\.swapped)), "different": number(total(\.differs)),
            "ackedNotInLog": number(total(\.lostAcks)), "storedTwice": number(total(\.stored)),
            "holesInLog": number(total(\.holesInLog)), "announcedGone": number(total(\.announced)),
            "failed": number(failed), "behind": number(behind), "reconnects": number(reconnects),
            "resets": number(resets), "strays": number(strays),
            "trimmedRooms": number(rooms.count { $0.trimmed }), "badRooms": .array(bad),
            "failures": .array(failures.map { .string($0) }),
        ]
        return JSONValue.object(object).text
    }

    /// With two decimals.
    static func short(_ seconds: Double) -> String {
        let hundredths = Int((seconds * 100).rounded())
        let rest = hundredths % 100
        return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }
}
