import ChatCore

/// What a send has besides its content, and the form of amendments.
extension RequestFields {
    /// The thread to which a send belongs and the users whom it mentions; nil if it has neither.
    func extra() throws(WireError) -> MessageExtra? {
        guard has(.thread) || has(.mentions) else { return nil }
        let extra = MessageExtra(
            thread: try position(.thread), mentions: try users(.mentions, most: MessageExtra.mostMentions))
        return extra.isEmpty ? nil : extra
    }

    func amendment(of room: RoomName) throws(WireError) -> AmendRequest {
        let name = try needString(.operation)
        let operation: AmendRequest.Operation
        switch name {
        case "edit":
            let text = try string(.text)
            let data = try data()
            try needContent(text: text)
            operation = .edit(of: try needPosition(.of), text: text, data: data)
        case "delete": operation = .delete(of: try needPosition(.of))
        case "react": operation = .react(of: try needPosition(.of), emoji: try reaction())
        case "unreact": operation = .unreact(of: try needPosition(.of), emoji: try reaction())
        case "pin": operation = .pin(of: try needPosition(.of))
        case "unpin": operation = .unpin(of: try needPosition(.of))
        case "delete-user": operation = .deleteUser(try needUser(.user), from: try position(.of))
        case "delete-range": operation = .deleteRange(from: try needPosition(.of), to: try needPosition(.to))
        case "report":
            let reason = try string(.reason, maxBytes: Sanction.maxReasonBytes) ?? ""
            if Moderation.hasControls(reason) { throw WireError(.badField, "reason holds a control character") }
            operation = .report(of: try needPosition(.of), reason: reason)
        default:
            throw WireError(
                .badField,
                "operation is none of edit, delete, react, unreact, pin, unpin, delete-user, delete-range and report")
        }
        return AmendRequest(room: room, operation, key: try key())
    }

    private func reaction() throws(WireError) -> String {
        let text = try needString(.reaction, maxBytes: AmendRequest.maxReactionBytes)
        if text.isEmpty { throw WireError(.badField, "reaction is empty") }
        if text.unicodeScalars.contains(where: { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) }) {
            throw WireError(.badField, "reaction holds a control character")
        }
        return text
    }
}
