/// Why a message cannot be amended as wanted. The names are the first words of the function's errors.
public enum AmendProblem: String, Sendable, CaseIterable {
    case noSuchMessage, notAMessage, messageDeleted, notAuthor, tooLate, tooManyEdits, tooManyReactions

    /// What the client is told.
    public var error: WireError { WireError(code, "amend: \(text)") }

    private var text: String {
        switch self {
        case .noSuchMessage: "the room's log holds no message at that position"
        case .notAMessage: "at that position there is an amendment, which cannot be amended"
        case .messageDeleted: "the message was deleted"
        case .notAuthor: "this takes the right to change the messages of others"
        case .tooLate: "the time in which users may change their own messages is over"
        case .tooManyEdits: "the message was edited as often as it may be"
        case .tooManyReactions: "the message has as many reactions as it may have"
        }
    }

    public var code: WireError.Code {
        switch self {
        case .noSuchMessage: .noSuchMessage
        case .notAMessage: .notAMessage
        case .messageDeleted: .messageDeleted
        case .notAuthor: .notAuthor
        case .tooLate: .tooLate
        case .tooManyEdits: .tooManyEdits
        case .tooManyReactions: .tooManyReactions
        }
    }
}
