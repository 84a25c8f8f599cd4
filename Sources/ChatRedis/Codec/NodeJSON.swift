public import ChatCore
import ChatWire

/// Reads what a node says of itself.
public enum NodeReportReader {
    /// A report that cannot be read, as a newer node may write it, still shows that the node lives: then only its name is known.
    public static func report(of node: NodeID, _ bytes: UnsafeRawBufferPointer) -> NodeReport {
        var report = NodeReport(node: node, address: "", version: "")
        guard case .success(let json) = JSONValue.parse(bytes) else { return report }
        report.address = json["address"]?.string ?? ""
        report.version = json["version"]?.string ?? ""
        report.sessions = count(json["sessions"])
        report.rooms = count(json["rooms"])
        report.messages = number(json["messages"])
        report.deliveries = number(json["deliveries"])
        report.clock = number(json["clock"])
        report.started = number(json["started"])
        report.draining = json["draining"]?.bool ?? false
        return report
    }

    /// A number that is none, or beyond bounds, is as if it was not there.
    private static func number(_ value: JSONValue?) -> UInt64 {
        guard let number = value?.integer.flatMap({ UInt64(exactly: $0) }), PositionBounds.holds(number) else {
            return 0
        }
        return number
    }

    /// What is added up over all nodes: no node has more than this of anything.
    private static func count(_ value: JSONValue?) -> Int { Int(min(number(value), 1_000_000_000)) }
}

/// Reads what the roster keeps of a user: `{"node":["device", …], …}`.
public enum RosterReader {
    /// Nil if it is no JSON object. What else breaks our rules is left out, and costs not the rest: no node of ours wrote it.
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
