import ChatJSON

extension TopView {
    /// The view for a pipe: a line for the whole, for each node, for each room (up to `rooms`, busiest first) and for
    /// each problem. Each line begins with the time and its subject, and has `name=value` pairs. Values with spaces are
    /// quoted.
    func plainLines(rooms limit: Int) -> [String] {
        let time = Timestamp.text(self.time)
        func line(_ kind: String, _ pairs: [(String, String?)]) -> String {
            "\(time) \(kind)" + pairs.map { " \($0.0)=\(Self.value($0.1 ?? "-"))" }.joined()
        }
        let dead = nodes.count { $0.state == .dead }
        var lines = [
            line(
                "total",
                [
                    ("nodes", "\(present)"), ("dead", "\(dead)"), ("sessions", "\(sessions)"),
                    ("rooms_seen", "\(self.rooms.count)"), ("rooms_known", "\(roomsKnown)"),
                    ("messages_per_second", Self.number(messagesPerSecond)),
                    ("deliveries_per_second", Self.number(deliveriesPerSecond)), ("redis_bytes", "\(server.memory)"),
                    ("redis_core_share", redisCPU.map { Self.decimal($0, 1_000) }), ("commands", "\(commands)"),
                    ("redis_masters", "\(server.masters ?? 1)"),
                ])
        ]
        for node in nodes {
            lines.append(
                line(
                    "node",
                    [
                        ("id", node.id), ("state", node.state.rawValue), ("address", node.address),
                        ("version", node.version),
                        ("sessions", "\(node.sessions)"),
                        (
                            "protocols",
                            node.protocols.isEmpty
                                ? nil
                                : node.protocols.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }
                                    .joined(separator: ",")
                        ), ("rooms", "\(node.rooms)"),
                        ("messages_per_second", Self.number(node.messagesPerSecond)),
                        ("deliveries_per_second", Self.number(node.deliveriesPerSecond)),
                        ("lease_ms", node.leaseLeft.map { "\($0)" }), ("skew_ms", node.skew.map { "\($0)" }),
                    ]))
        }
        for room in self.rooms.prefix(limit) {
            lines.append(
                line(
                    "room",
                    [
                        ("name", room.name), ("messages_per_second", Self.number(room.messagesPerSecond)),
                        ("position", room.last.map { "\($0)" }), ("in_log", "\(room.length)"),
                        ("people", "\(room.people)"),
                        ("participants", room.participants > 0 ? "\(room.participants)" : nil),
                        ("nodes", "\(room.nodes)"), ("quiet_ms", room.quietFor.map { "\($0)" }),
                    ]))
        }
        for sink in events?.sinks ?? [] {
            lines.append(
                line(
                    "sink",
                    [
                        ("name", sink.name), ("rooms_behind", "\(sink.rooms)"), ("lag_ms", "\(sink.lag)"),
                        ("dead_letters", "\(sink.dead)"), ("relays", "\(events?.relays.count ?? 0)"),
                        (
                            "lag_ms_by_partition",
                            sink.lags.isEmpty ? nil : sink.lags.map { "\($0)" }.joined(separator: ",")
                        ),
                    ]))
        }
        return lines + behind.map { line("behind", [("problem", $0)]) }
    }

    /// The view for programs: one object. What is not known yet is null.
    func json(rooms limit: Int) -> String {
        func number(_ value: (some BinaryInteger)?) -> JSONValue { value.map { .number(String($0)) } ?? .null }
        func rate(_ value: Double?) -> JSONValue { Self.number(value).map { .number($0) } ?? .null }
        let nodes = self.nodes.map { node in
            JSONValue.object([
                "id": .string(node.id), "state": .string(node.state.rawValue), "address": .string(node.address),
                "version": .string(node.version), "sessions": number(node.sessions),
                "protocols": .object(node.protocols.mapValues { number($0) }), "rooms": number(node.rooms),
                "messagesPerSecond": rate(node.messagesPerSecond),
                "deliveriesPerSecond": rate(node.deliveriesPerSecond),
                "leaseMilliseconds": number(node.leaseLeft), "skewMilliseconds": number(node.skew),
                "uptimeMilliseconds": number(node.uptime),
            ])
        }
        let rooms = self.rooms.prefix(limit).map { room in
            JSONValue.object([
                "room": .string(room.name), "messagesPerSecond": rate(room.messagesPerSecond),
                "position": room.last.map { .string("\($0)") } ?? .null, "inLog": number(room.length),
                "people": number(room.people), "participants": number(room.participants > 0 ? room.participants : nil),
                "nodes": number(room.nodes), "quietMilliseconds": number(room.quietFor),
            ])
        }
        return JSONValue.object([
            "at": .string(Timestamp.text(time)), "sessions": number(sessions), "nodes": .array(nodes),
            "rooms": .array(rooms),
            "roomsSeen": number(self.rooms.count), "roomsKnown": number(roomsKnown),
            "behind": .array(behind.map { .string($0) }), "messagesPerSecond": rate(messagesPerSecond),
            "deliveriesPerSecond": rate(deliveriesPerSecond),
            "redis": .object([
                "version": .string(server.version), "masters": number(server.masters ?? 1),
                "bytes": number(server.memory), "clients": number(server.clients),
                "commandsPerSecond": number(server.operationsPerSecond),
                "coreShare": redisCPU.map { .number(Self.decimal($0, 1_000)) } ?? .null,
            ]),
            "events": events.map { events in
                .object([
                    "relays": .array(events.relays.map { .string($0) }), "noted": number(events.noted),
                    "holders": .array(events.holders.map { $0.map { .string($0) } ?? .null }),
                    "sinks": .array(
                        events.sinks.map { sink in
                            .object([
                                "name": .string(sink.name), "roomsBehind": number(sink.rooms),
                                "lagMilliseconds": number(sink.lag),
                                "lagMillisecondsByPartition": .array(sink.lags.map { number($0) }),
                                "deadLetters": number(sink.dead),
                            ])
                        }),
                ])
            } ?? .null,
            "cost": .object([
                "commands": number(commands), "milliseconds": .number(TopScreen.milliseconds(duration)),
            ]),
        ]).text
    }

    private static func number(_ rate: Double?) -> String? { rate.map { decimal($0, 10) } }

    /// With one decimal (`steps` 10), or three (1,000).
    static func decimal(_ value: Double, _ steps: Int) -> String {
        let scaled = Int((min(max(value, 0), 1e12) * Double(steps)).rounded())
        let rest = String(scaled % steps)
        let digits = String(steps).count - 1
        return "\(scaled / steps)." + String(repeating: "0", count: digits - rest.count) + rest
    }

    private static func value(_ text: String) -> String {
        let text = TerminalText.harmless(text)
        guard text.isEmpty || text.contains(where: { $0 == " " || $0 == "\"" || $0 == "=" }) else { return text }
        return "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}
