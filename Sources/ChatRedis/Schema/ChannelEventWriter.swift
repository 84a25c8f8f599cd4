import ChatCore
import ChatJSON

/// Channel payloads and node reports as JSON, as `redis/README.md` describes them. Positions and epochs are strings:
/// readers in many languages keep numbers as doubles.
extension ByteWriter {
    mutating func append(_ event: ChannelEvent) {
        switch event {
        case .message(let message, let base):
            append(message, base: base)
        case .epoch(let epoch, let base, let nodes, let by):
            appendText(#"{"type":"epoch","epoch":""#)
            appendJSON(epoch)
            appendText(#"","base":""#)
            appendJSON(base)
            appendText(#"","nodes":"#)
            append(nodes)
            appendText(#","by":"#)
            appendJSON(by.text)
        case .gone(let node, let value, let nodes, let last):
            appendText(#"{"type":"gone","node":"#)
            appendJSON(node.text)
            appendText(#","value":""#)
            appendJSON(value)
            appendText(#"","nodes":"#)
            append(nodes)
            appendText(#","last":"#)
            append(last)
        case .presence(let notice):
            append(notice)
        case .signal(let signal):
            appendText(#"{"type":"signal","node":"#)
            appendJSON(signal.node.text)
            appendText(#","session":""#)
            appendJSON(signal.session.raw)
            appendText(#"","user":"#)
            appendJSON(signal.user.text)
            appendText(#","name":"#)
            appendJSON(signal.name)
            if let data = signal.data {
                appendText(#","data":"#)
                appendRaw(data)
            }
        }
        append(UInt8(ascii: "}"))
    }

    /// The value of a node's key.
    mutating func append(_ report: NodeReport) {
        appendText(#"{"node":"#)
        appendJSON(report.node.text)
        appendText(#","address":"#)
        appendJSON(report.address)
        appendText(#","version":"#)
        appendJSON(report.version)
        appendText(#","sessions":"#)
        appendJSON(report.sessions)
        appendText(#","rooms":"#)
        appendJSON(report.rooms)
        appendText(#","messages":"#)
        appendJSON(report.messages)
        appendText(#","deliveries":"#)
        appendJSON(report.deliveries)
        appendText(#","clock":"#)
        appendJSON(report.clock)
        appendText(#","started":"#)
        appendJSON(report.started)
        appendText(report.draining ? #","draining":true,"schema":"# : #","draining":false,"schema":"#)
        appendJSON(report.schema)
        appendText("}")
    }

    private mutating func append(_ message: Message, base: UInt64?) {
        appendText(#"{"type":"message","position":"#)
        append(message.position)
        append(message.content, base: base)
    }

    /// Appends the part of a `message` payload after the position, without the last brace.
    mutating func append(_ content: MessageContent, base: UInt64?) {
        if let base {
            appendText(#","base":""#)
            appendJSON(base)
            append(UInt8(ascii: "\""))
        }
        appendText(#","entry":{"user":"#)
        appendJSON(content.user.text)
        appendText(#","at":""#)
        appendJSON(content.at)
        append(UInt8(ascii: "\""))
        if let text = content.text {
            appendText(#","text":"#)
            appendJSON(text)
        }
        if let data = content.data {
            appendText(#","data":"#)
            appendJSON(data)
        }
        if let key = content.key {
            appendText(#","key":"#)
            appendJSON(key)
        }
        append(UInt8(ascii: "}"))
    }

    private mutating func append(_ notice: PresenceNotice) {
        appendText(#"{"type":"presence","position":"#)
        append(notice.position)
        appendText(#","after":"#)
        append(notice.after)
        if let run = notice.run {
            appendText(#","run":"#)
            appendJSON(run)
        }
        appendText(#","count":"#)
        appendJSON(notice.count)
        appendText(#","changes":["#)
        for (index, change) in notice.changes.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            appendText(#"{"user":"#)
            appendJSON(change.user.text)
            appendText(#","device":"#)
            appendJSON(change.device.text)
            appendText(#","node":"#)
            appendJSON(change.node.text)
            appendText(change.joined ? #","joined":true}"# : #","joined":false}"#)
        }
        append(UInt8(ascii: "]"))
    }

    private mutating func append(_ position: Position) {
        append(UInt8(ascii: "\""))
        appendJSON(position.epoch)
        append(UInt8(ascii: "-"))
        appendJSON(position.seq)
        append(UInt8(ascii: "\""))
    }

    private mutating func append(_ nodes: [NodeID: UInt64]) {
        append(UInt8(ascii: "{"))
        for (index, node) in nodes.keys.sorted().enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            appendJSON(node.text)
            appendText(#":""#)
            appendJSON(nodes[node] ?? 0)
            append(UInt8(ascii: "\""))
        }
        append(UInt8(ascii: "}"))
    }
}
