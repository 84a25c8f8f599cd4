import ChatCore
import ChatJSON

/// Channel payloads and node reports as JSON, as `redis/README.md` describes them. Positions and epochs are strings:
/// readers in many languages keep numbers as doubles.
extension ByteWriter {
    mutating func append(_ event: ChannelEvent) {
        switch event {
        case .message(let message, let base):
            field(#"{"type":"message","position":"#, message.position)
            appendRest(ofMessage: message.content, base: base)
            return
        case .epoch(let epoch, let base, let nodes, let by, let rules):
            field(#"{"type":"epoch","epoch":"#, quoted: epoch)
            field(#","base":"#, quoted: base)
            field(#","nodes":"#, nodes)
            field(#","by":"#, by.text)
            if rules > 0 { field(#","rules":"#, quoted: rules) }
        case .gone(let node, let value, let nodes, let last):
            field(#"{"type":"gone","node":"#, node.text)
            field(#","value":"#, quoted: value)
            field(#","nodes":"#, nodes)
            field(#","last":"#, last)
        case .presence(let notice):
            field(#"{"type":"presence","position":"#, notice.position)
            field(#","after":"#, notice.after)
            if let run = notice.run { field(#","run":"#, run) }
            field(#","count":"#, notice.count)
            field(#","changes":"#, list: notice.changes) { change, bytes in
                bytes.field(#"{"user":"#, change.user.text)
                bytes.field(#","device":"#, change.device.text)
                bytes.field(#","node":"#, change.node.text)
                bytes.appendText(change.joined ? #","joined":true}"# : #","joined":false}"#)
            }
        case .signal(let signal):
            field(#"{"type":"signal","node":"#, signal.node.text)
            field(#","session":"#, quoted: signal.session.raw)
            field(#","user":"#, signal.user.text)
            field(#","name":"#, signal.name)
            if let data = signal.data { field(#","data":"#, raw: data) }
        case .reads(let marks): append(reads: marks)
        case .notice(let notice):
            field(#"{"type":"#, notice.kind.rawValue)
            field(#","room":"#, notice.room.text)
            if let kind = notice.conversation { field(#","kind":"#, kind.rawValue) }
            if let position = notice.position { field(#","position":"#, position) }
            if let unread = notice.unread { field(#","unread":"#, quoted: unread) }
            if let by = notice.by { field(#","by":"#, by) }
        }
        append(UInt8(ascii: "}"))
    }

    /// Appends the part of a `message` payload after the position, which is all that a node knows before the message is
    /// stored.
    mutating func appendRest(ofMessage content: MessageContent, base: UInt64?) {
        if let base { field(#","base":"#, quoted: base) }
        field(#","entry":{"user":"#, content.user.text)
        field(#","at":"#, quoted: content.at)
        if let text = content.text { field(#","text":"#, text) }
        if let data = content.data { field(#","data":"#, data) }
        if !content.isPlain {
            for item in LogField.all(of: content) {
                appendText(#",""#)
                appendText(item.name)
                appendText(#"":"#)
                appendJSON(item.value)
            }
        }
        if let key = content.key { field(#","key":"#, key) }
        appendText("}}")
    }

    /// The value of a node's key.
    mutating func append(_ report: NodeReport) {
        field(#"{"node":"#, report.node.text)
        field(#","address":"#, report.address)
        field(#","version":"#, report.version)
        field(#","sessions":"#, report.sessions)
        if !report.protocols.isEmpty {
            appendText(#","protocols":"#)
            for (index, name) in report.protocols.keys.sorted().enumerated() {
                append(UInt8(ascii: index == 0 ? "{" : ","))
                appendJSON(name)
                field(":", report.protocols[name] ?? 0)
            }
            append(UInt8(ascii: "}"))
        }
        field(#","rooms":"#, report.rooms)
        field(#","messages":"#, report.messages)
        field(#","deliveries":"#, report.deliveries)
        field(#","clock":"#, report.clock)
        field(#","started":"#, report.started)
        appendText(report.draining ? #","draining":true"# : #","draining":false"#)
        field(#","schema":"#, report.schema)
        append(UInt8(ascii: "}"))
    }

    mutating func field(_ name: StaticString, _ position: Position) {
        field(name, quoted: position.epoch, position.seq)
    }

    private mutating func field(_ name: StaticString, _ nodes: [NodeID: UInt64]) {
        appendText(name)
        append(UInt8(ascii: "{"))
        for (index, node) in nodes.keys.sorted().enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            appendJSON(node.text)
            field(":", quoted: nodes[node] ?? 0)
        }
        append(UInt8(ascii: "}"))
    }
}
