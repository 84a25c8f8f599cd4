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
    /// The number of bytes of a mark in the text.
    private static let width = 8
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

    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    private static let values: [UInt8: UInt64] = Dictionary(
        digits.enumerated().map { ($1, UInt64($0)) }, uniquingKeysWith: { first, _ in first })

    /// Parses what ``text`` gives. Returns nil for anything else.
    public init?(_ text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count.isMultiple(of: Self.width), bytes.count <= InboxRequest.maxCursorBytes else { return nil }
        marks = []
        for start in stride(from: 0, to: bytes.count, by: Self.width) {
            var mark: UInt64 = 0
            for byte in bytes[start..<start + Self.width] {
                guard let value = Self.values[byte] else { return nil }
                mark = mark << 6 | value
            }
            marks.insert(mark)
        }
    }

    /// Base64 for URLs, eight digits for each conversation.
    public var text: String {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.width * marks.count)
        for mark in marks.sorted().prefix(Self.mostMarks) {
            for place in 0..<Self.width { bytes.append(Self.digits[Int(mark >> UInt64(6 * (7 - place)) & 63)]) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
