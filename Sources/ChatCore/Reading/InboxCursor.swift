import ChatJSON

/// What a client knows of its inbox: for each conversation that it was shown, a digest of all that it was shown of it.
///
/// So a page holds what is not as the client knows it, for whatever reason: a message, an edit, what was read on
/// another device, an invitation, a failover that took something back. A position or a time could not tell some of
/// these, and after a failover it could hide what has happened since. Nothing is stored for it, and a cursor never
/// becomes void. A conversation that the user has left is not among what is shown any more; the client is told by a
/// notice, or finds it missing when it asks without a cursor.
///
/// Digests have 48 bits: a change is overlooked with a probability of one in 10^11, and until the next change only.
public struct InboxCursor: Hashable, Sendable {
    /// The number of bytes of a mark, and of their digits in the text.
    private static let (bytes, width) = (6, 8)
    /// More than that a user cannot have been shown.
    static let mostMarks = InboxRequest.maxCursorBytes / width

    private var marks: Set<UInt64>

    /// Knows nothing.
    public init() {
        marks = []
    }

    init(marks: some Sequence<UInt64>) {
        self.marks = Set(marks)
    }

    /// The number of conversations.
    public var count: Int { marks.count }

    func holds(_ mark: UInt64) -> Bool { marks.contains(mark) }

    /// The digest of all that a client is shown of the conversation.
    static func mark(of conversation: InboxConversation) -> UInt64 {
        var hash = StableHash(conversation.room.text)
        let head = conversation.head
        for text in [
            head.kind.rawValue, head.participant.role.rawValue, head.participant.notify.rawValue,
            head.newest?.description ?? "-", head.mark?.text ?? "-", "\(head.unread)",
            head.last?.position.description ?? "-", "\(head.last?.at ?? 0)", head.last?.user.text ?? "-",
            head.last?.text ?? "-", head.other?.text ?? "-",
        ] {
            // Names hold no line feed, and of texts only one is among them.
            hash.add("\n")
            hash.add(text)
        }
        // FNV carries the last bytes hardly into the upper half, so it is mixed (the finaliser of MurmurHash3).
        var value = hash.value
        value = (value ^ value >> 33) &* 0xff51_afd7_ed55_8ccd
        value = (value ^ value >> 33) &* 0xc4ce_b9fe_1a85_ec53
        return (value ^ value >> 33) & 0xFFFF_FFFF_FFFF
    }

    // MARK: text

    /// Parses what ``text`` gives. Returns nil for anything else.
    public init?(_ text: String) {
        guard text.utf8.count.isMultiple(of: Self.width), text.utf8.count <= InboxRequest.maxCursorBytes,
            let bytes = Base64.decodeURL(text)
        else { return nil }
        marks = Set(
            stride(from: 0, to: bytes.count, by: Self.bytes).map { start in
                bytes[start..<start + Self.bytes].reduce(0) { $0 << 8 | UInt64($1) }
            })
    }

    /// Base64 for URLs, eight digits for each conversation.
    public var text: String {
        Base64.encodeURL(
            marks.sorted().prefix(Self.mostMarks).flatMap { mark in
                (1...Self.bytes).map { UInt8(truncatingIfNeeded: mark >> UInt64(8 * (Self.bytes - $0))) }
            })
    }
}
