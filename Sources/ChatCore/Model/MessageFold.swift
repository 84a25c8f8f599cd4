/// Folds amendments into the messages that they are about.
public enum MessageFold {
    /// The entries with each message as the later amendments among them leave it. Amendments stay in their places, as
    /// they are part of the order. Complete for entries that reach to the end of the log; for others, the amendments of
    /// what follows are still to come.
    public static func folded(_ entries: [Message]) -> [Message] {
        guard entries.contains(where: { !$0.content.isPlain }) else { return entries }
        var messages = entries
        var places: [UInt64: Int] = [:]
        for (place, message) in entries.enumerated() where message.content.amendment == nil {
            places[message.position.seq] = place
        }
        for entry in entries {
            if let root = entry.content.extra?.thread, entry.content.amendment == nil {
                guard let place = places[root.seq], messages[place].position == root else { continue }
                messages[place].content.change {
                    $0.lastReply = entry.position
                    if entry.content.deleted == nil { $0.replies += 1 }
                }
            }
            for target in entry.content.amended {
                guard let place = places[target.seq], messages[place].position == target else { continue }
                messages[place].content.fold(entry.content)
            }
        }
        return messages
    }
}

extension MessageContent {
    /// The messages that the entry amends.
    public var amended: [Position] {
        guard let amendment else { return [] }
        return amendment.operation == .delete ? erased : [amendment.of]
    }

    /// Changes what the message has become. A tombstone stays what it is.
    mutating func change(_ change: (inout MessageState) -> Void) {
        guard deleted == nil, amendment == nil else { return }
        var state = extra?.state ?? MessageState()
        change(&state)
        let changed = MessageExtra(
            thread: extra?.thread, mentions: extra?.mentions ?? [], state: state == MessageState() ? nil : state)
        extra = changed.isEmpty ? nil : changed
    }

    /// Folds an amendment of this message into it.
    mutating func fold(_ entry: MessageContent) {
        guard let amendment = entry.amendment, deleted == nil, self.amendment == nil else { return }
        let deed = Deed(by: entry.user.text, at: entry.at)
        guard entry.deleted == nil else { return }
        switch amendment.operation {
        case .edit:
            self = MessageContent(user: user, at: at, text: entry.text, data: entry.data, key: key, extra: extra)
            change {
                $0.version = amendment.number
                $0.edited = deed
            }
        case .delete: self = tombstone(deed)
        case .pin: change { $0.pinned = deed }
        case .unpin: change { $0.pinned = nil }
        case .react, .unreact:
            guard let emoji = entry.text, let reaction = entry.reaction else { return }
            change { $0.reactions[emoji] = reaction.count > 0 ? reaction : nil }
        }
    }

    /// The message with the state that Redis keeps of it. `text` and `data`: those of the last edit.
    public mutating func take(_ state: MessageState, text: String?, data: String?) {
        guard deleted == nil, amendment == nil else { return }
        if state.edited != nil {
            self = MessageContent(user: user, at: at, text: text, data: data, key: key, extra: extra)
        }
        change { $0 = state }
    }
}
