public import ChatCore
import ChatJSON

/// Reads a node's report.
public enum NodeReportReader {
    /// A report that cannot be read still shows that the node is alive. Then only its name is known, and the oldest
    /// schema is assumed.
    public static func report(of node: NodeID, _ bytes: UnsafeRawBufferPointer) -> NodeReport {
        var report = NodeReport(node: node, address: "", version: "", schema: 1)
        guard case .success(let json) = JSONValue.parse(bytes) else { return report }
        report.address = json["address"]?.string ?? ""
        report.version = json["version"]?.string ?? ""
        report.sessions = count(json["sessions"])
        report.protocols = (json["protocols"]?.object ?? [:]).mapValues { count($0) }
        report.rooms = count(json["rooms"])
        report.messages = number(json["messages"])
        report.deliveries = number(json["deliveries"])
        report.clock = number(json["clock"])
        report.started = number(json["started"])
        report.draining = json["draining"]?.bool ?? false
        report.schema = max(1, count(json["schema"]))
        return report
    }

    /// A value that is not a number, or beyond the bounds, counts as 0.
    private static func number(_ value: JSONValue?) -> UInt64 {
        guard let number = value?.integer.flatMap({ UInt64(exactly: $0) }), PositionBounds.holds(number) else {
            return 0
        }
        return number
    }

    /// A number that is summed over all nodes, so it is bounded.
    private static func count(_ value: JSONValue?) -> Int { Int(min(number(value), 1_000_000_000)) }
}

/// Reads a field of the roster, a user's devices: `{"node":["device", …], …}`.
public enum RosterReader {
    /// The devices; nil if the field is not a JSON object. A part that breaks the rules was not written by a node, and
    /// is ignored.
    public static func devices(of bytes: UnsafeRawBufferPointer) -> Set<RosterSnapshot.Device>? {
        guard case .success(let json) = JSONValue.parse(bytes), let nodes = json.object else { return nil }
        var devices: Set<RosterSnapshot.Device> = []
        for (name, list) in nodes {
            guard let names = list.array, let node = try? NodeID(name) else { continue }
            for name in names {
                guard let text = name.string, let device = try? DeviceName(text) else { continue }
                devices.insert(RosterSnapshot.Device(node: node, device: device))
            }
        }
        return devices
    }
}
