import ChatCore
import ChatJSON

/// Amendments, and messages with what became of them.
extension MartletV1Codec {
    /// Appends `"messages":[…]`: the messages of a page, without the amendments among its entries.
    func list(_ entries: [Message], _ viewer: UserID?, _ bytes: inout ByteWriter) {
        let messages =
            entries.allSatisfy(\.content.isPlain) ? entries : entries.filter { $0.content.amendment == nil }
        bytes.field("\"messages\":", list: messages) { message, bytes in encode(message, viewer, into: &bytes) }
    }

    /// Appends `,"first":…,"last":…`, the positions of the page's first and last entry, if amendments are among them:
    /// whoever reads on needs them where they are no messages.
    func ends(of entries: [Message], _ bytes: inout ByteWriter) {
        guard let first = entries.first?.position, let last = entries.last?.position,
            entries.contains(where: { !$0.content.isPlain && $0.content.amendment != nil })
        else { return }
        bytes.field(",\"first\":", first)
        bytes.field(",\"last\":", last)
    }

    /// Appends `"changes":[…],` if the entries amend messages from before them, which the reader has already. Those of
    /// messages among the entries are folded into them.
    func changes(in entries: [Message], _ bytes: inout ByteWriter) {
        guard let first = entries.first?.position, !entries.allSatisfy(\.content.isPlain) else { return }
        let changes = entries.filter { entry in entry.content.amended.contains { $0 < first } }
        guard !changes.isEmpty else { return }
        bytes.field("\"changes\":", list: changes) { change, bytes in
            bytes.append(UInt8(ascii: "{"))
            fields(ofChange: change, showKey: false, &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: ","))
    }

    /// Appends the fields of a `changed`: what was done to which message, and what it is afterwards.
    func fields(ofChange entry: Message, showKey: Bool, _ bytes: inout ByteWriter) {
        let content = entry.content
        guard let amendment = content.amendment else { return }
        bytes.field("\"position\":", entry.position)
        bytes.field(",\"of\":", amendment.of)
        bytes.field(",\"operation\":", amendment.operation.rawValue)
        bytes.field(",\"user\":", content.user.text)
        bytes.field(",\"at\":", at: content.at)
        let deed = Deed(by: content.user.text, at: content.at)
        if let deleted = content.deleted {
            // The message was deleted later, and this entry with it.
            fields(of: deleted, "deleted", &bytes)
        } else {
            switch amendment.operation {
            case .edit:
                if let text = content.text { bytes.field(",\"text\":", text) }
                if let data = content.data { bytes.field(",\"data\":", raw: data) }
                fields(ofEdit: deed, amendment.number, &bytes)
            case .delete:
                let erased = content.erased
                if erased.count > 1 { bytes.field(",\"targets\":", list: erased) { $1.field("", $0) } }
                fields(of: deed, "deleted", &bytes)
            case .react, .unreact:
                let reaction = content.reaction ?? MessageState.Reaction(count: 0, users: [])
                fields(of: [content.text ?? "": reaction], &bytes)
            case .pin: fields(of: deed, "pinned", &bytes)
            case .unpin: bytes.appendText(",\"pinned\":null")
            }
        }
        if showKey, let key = content.clientKey { bytes.field(",\"key\":", key) }
    }

    /// Appends what only few messages have.
    func fields(of extra: MessageExtra, _ bytes: inout ByteWriter) {
        if let thread = extra.thread { bytes.field(",\"thread\":", thread) }
        if !extra.mentions.isEmpty { bytes.field(",\"mentions\":", list: extra.mentions) { $1.appendJSON($0.text) } }
        if let deleted = extra.deleted { fields(of: deleted, "deleted", &bytes) }
        guard let state = extra.state else { return }
        if let edited = state.edited { fields(ofEdit: edited, state.version, &bytes) }
        if !state.reactions.isEmpty { fields(of: state.reactions, &bytes) }
        if let pinned = state.pinned { fields(of: pinned, "pinned", &bytes) }
        if state.replies > 0 {
            bytes.appendText(",\"replies\":")
            bytes.appendJSON(state.replies)
        }
        if let last = state.lastReply { bytes.field(",\"lastReply\":", last) }
    }

    private func fields(ofEdit deed: Deed, _ version: UInt64, _ bytes: inout ByteWriter) {
        bytes.appendText(",\"edited\":{\"version\":")
        bytes.appendJSON(version)
        bytes.field(",\"by\":", deed.by)
        bytes.field(",\"at\":", at: deed.at)
        bytes.append(UInt8(ascii: "}"))
    }

    private func fields(of deed: Deed, _ name: StaticString, _ bytes: inout ByteWriter) {
        bytes.appendText(",\"")
        bytes.appendText(name)
        bytes.field("\":{\"by\":", deed.by)
        bytes.field(",\"at\":", at: deed.at)
        bytes.append(UInt8(ascii: "}"))
    }

    private func fields(of reactions: [String: MessageState.Reaction], _ bytes: inout ByteWriter) {
        bytes.appendText(",\"reactions\":{")
        for (index, (emoji, reaction)) in reactions.sorted(by: { $0.key < $1.key }).enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            bytes.appendJSON(emoji)
            bytes.appendText(":{\"count\":")
            bytes.appendJSON(reaction.count)
            bytes.field(",\"users\":", list: reaction.users) { $1.appendJSON($0.text) }
            bytes.append(UInt8(ascii: "}"))
        }
        bytes.append(UInt8(ascii: "}"))
    }

    /// Appends `"position":…`, and `repeated`, `unchanged`, `erased` and `next` where they apply, without braces.
    public func fields(of reply: AmendReply, into bytes: inout ByteWriter) {
        bytes.field("\"position\":", reply.position)
        switch reply.outcome {
        case .stored: break
        case .repeated: bytes.appendText(",\"repeated\":true")
        case .unchanged: bytes.appendText(",\"unchanged\":true")
        }
        if let erased = reply.erased { bytes.field(",\"erased\":", erased) }
        if let next = reply.next { bytes.field(",\"next\":", next) }
    }
}
