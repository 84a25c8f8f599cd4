extension MessageContent {
    /// Whether the entry is about an earlier message: nobody has to read it.
    public var isAmendment: Bool { extra?.amendment != nil }

    /// The users whom the message mentions.
    public var mentioned: [UserID] { extra?.mentions ?? [] }
}
