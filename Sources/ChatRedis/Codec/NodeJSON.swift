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
        report.sessions = json["sessions"]?.integer ?? 0
        report.rooms = json["rooms"]?.integer ?? 0
        report.messages = json["messages"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
        report.deliveries = json["deliveries"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
        report.clock = json["clock"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
        report.started = json["started"]?.integer.flatMap { UInt64(exactly: $0) } ?? 0
        report.draining = json["draining"]?.bool ?? false
        return report
    }
}

/// Reads what the roster keeps of a user: `{"node":["device", …], …}`.
public enum RosterReader {
    /// Nil if it is no such JSON. Names that break our rules are left out: no node of ours wrote them.
    public static func devices(of bytes: UnsafeRawBufferPointer) -> Set<RosterSnapshot.Device>? {
        guard case .success(let json) = JSONValue.parse(bytes), let nodes = json.object else { return nil }
        var devices: Set<RosterSnapshot.Device> = []
        for (name, list) in nodes {
            guard let names = list.array else { return nil }
            guard let node = try? NodeID(name) else { continue }
            for name in names {
                guard let text = name.string, let device = try? DeviceName(text) else { continue }
                devices.insert(RosterSnapshot.Device(node: node, device: device))
            }
        }
        return devices
    }
}
