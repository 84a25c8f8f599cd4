import MartletClient

/// An item that a chat shows, before it is formatted as text or JSON.
enum ChatLine: Equatable {
    case connected(Welcome)
    case disconnected(DisconnectReason, retryIn: Duration?)
    case draining(reconnectAfter: Duration)
    case joined(JoinedRoom)
    case left(RoomName)
    case message(RoomName, Message)
    /// The answer to `/history`, oldest first.
    case earlier(RoomName, HistoryPage)
    case presence(RoomName, joined: [UserID], left: [UserID], count: Int)
    case signal(RoomName, user: UserID, name: String, data: String?)
    case gap(RoomName, Gap)
    case reset(RoomName, Reset)
    /// One of the user's messages has been stored.
    case sent(RoomName, key: String, Sent)
    case notSent(RoomName, text: String, ClientError)
    case people(RoomName, RosterPage)
    case fault(ServerFault)
    /// An answer to the user's input: an unknown command, or help.
    case note(String)
    /// An earlier message has changed. `now`: the message as it is, if it was shown here.
    case changed(RoomName, Message, now: Message?)
    /// The messages that follow are unread.
    case unread(RoomName, UInt64)
    case receipts(RoomName, [UserID: Position])
    case participants(RoomName, ParticipantChanges)
    /// The answer to `/inbox`, newest first.
    case inbox(InboxPage)
    case notice(UserNotice)
    /// The answer to `/seen`: these users were asked about.
    case seen([UserID], OnlineUsers)
}

/// The meaning of a line that the user entered.
enum ChatEntry: Equatable {
    case say(String)
    case join(String)
    case leave(String?)
    case who(String?)
    case history(Int)
    case rooms, status, help, quit
    /// Replaces the text of the user's last message in this room.
    case edit(String)
    /// Erases the user's last message in this room.
    case delete
    /// Reacts to the n-th newest message of others in this room; or takes that back.
    case react(String, Int, takesBack: Bool)
    case direct(String)
    case inbox
    /// When that user, or everybody who belongs to this conversation, was last here.
    case seen(String?)
    /// No meaning; the text says why.
    case nothing
    case wrong(String)

    static let helpLines = [
        "/join ROOM      join a room, or switch to it if you have joined it",
        "/leave [ROOM]   leave this room, or another one",
        "/who [ROOM]     who is here, with their devices",
        "/history [N]    the N messages (20) before the oldest one shown here",
        "/rooms          the rooms you are in",
        "/edit TEXT      replace the text of your last message",
        "/delete         erase your last message",
        "/react EMOJI [N]    react to the last message of somebody else, or to the N-th last; /unreact takes it back",
        "/direct USER    talk to one other user",
        "/inbox          your conversations, and how much of each is unread",
        "/seen [USER]    who of this conversation is online, and when the others were last here",
        "/status         node, session, position",
        "/quit           leave (also Ctrl-C, Ctrl-D)",
        "//text          send a message that begins with a slash",
    ]

    /// The largest number of messages that `/history` requests at a time. A node may return fewer.
    static let maxHistory = 1_000

    init(_ line: String) {
        let trimmed = Self.trimmed(line)
        guard !trimmed.isEmpty else {
            self = .nothing
            return
        }
        guard line.hasPrefix("/") else {
            self = .say(line)
            return
        }
        if line.hasPrefix("//") {
            self = .say(String(line.dropFirst()))
            return
        }
        let word = trimmed.prefix { !$0.isWhitespace }
        let argument = Self.trimmed(String(trimmed.dropFirst(word.count)))
        self = Self.command(String(word), argument)
    }

    private static func command(_ word: String, _ argument: String) -> ChatEntry {
        switch word.lowercased() {
        case "/join", "/j": return argument.isEmpty ? .wrong("/join needs a room: /join lobby") : .join(argument)
        case "/leave", "/part": return .leave(argument.isEmpty ? nil : argument)
        case "/who", "/names": return .who(argument.isEmpty ? nil : argument)
        case "/history":
            guard !argument.isEmpty else { return .history(20) }
            guard let count = Int(argument), (1...maxHistory).contains(count) else {
                return .wrong("/history takes a number from 1 to \(maxHistory)")
            }
            return .history(count)
        case "/rooms": return .rooms
        case "/edit": return argument.isEmpty ? .wrong("/edit needs the new text") : .edit(argument)
        case "/delete": return .delete
        case "/react", "/unreact":
            let words = argument.split(whereSeparator: \.isWhitespace).map(String.init)
            guard let emoji = words.first, words.count <= 2, let count = words.count == 2 ? Int(words[1]) : 1, count > 0
            else {
                return .wrong(
                    "\(word) takes an emoji, and the number of the message, counted from the last one: \(word) 👍 2")
            }
            return .react(emoji, count, takesBack: word.lowercased() == "/unreact")
        case "/direct", "/msg":
            return argument.isEmpty ? .wrong("/direct needs a user: /direct bob") : .direct(argument)
        case "/inbox": return .inbox
        case "/seen": return .seen(argument.isEmpty ? nil : argument)
        case "/status": return .status
        case "/help", "/?": return .help
        case "/quit", "/exit", "/q": return .quit
        default:
            let shown = TerminalText.cut(TerminalText.harmless(word), to: 40)
            return .wrong(
                "there is no command \(shown); /help lists them, and //… sends a message that begins with a slash")
        }
    }

    private static func trimmed(_ text: String) -> String {
        let start = text.drop { $0.isWhitespace }
        guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return String(start[...last])
    }
}

extension ClientError {
    /// The text for the user.
    var text: String {
        switch self {
        case .badArgument(let problem): problem
        case .refused(let fault): "\(fault.name): \(fault.message)"
        case .timedOut: "no answer in time; it may have been stored all the same"
        case .notJoined: "not in that room"
        case .queueFull: "too many messages wait already"
        case .closed: "the chat was ended"
        case .rejected(let reason): reason
        }
    }
}

extension DisconnectReason {
    /// The text for the user.
    var text: String {
        switch self {
        case .unreachable(let problem): "cannot reach the node: \(problem)"
        case .status(let status): "the node answered HTTP \(status)"
        case .closeFrame(let code, let reason): "closed by the node: \(reason.isEmpty ? "code \(code)" : reason)"
        case .lost: "connection lost"
        case .silent: "the node is silent"
        case .unreadable(let problem): "the node sent a frame that cannot be read: \(problem)"
        case .draining: "the node is leaving"
        case .closed: "closed"
        }
    }
}
