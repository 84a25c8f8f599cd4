extension MessageContent {
    /// Whether the entry is about an earlier message: nobody has to read it.
    public var isAmendment: Bool { extra?.amendment != nil }

    /// Whether it is a message that was said, and not what is left of a deleted one.
    package var isMessage: Bool { !isAmendment && extra?.deleted == nil }

    /// The users whom the message mentions.
    public var mentioned: [UserID] { extra?.mentions ?? [] }
}
