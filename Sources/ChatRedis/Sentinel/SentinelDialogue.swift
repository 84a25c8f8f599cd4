/// The protocol on one connection to a sentinel: it is queried for the master, and in between subscribed to
/// `+switch-master`. Pure: it knows the order of Redis' replies, but no time.
///
/// With RESP2 a subscribed connection accepts no other commands, so each query consists of UNSUBSCRIBE, the question
/// and SUBSCRIBE, in one write. A change between the answer and the SUBSCRIBE is in the next answer.
struct SentinelDialogue {
    private enum Expected: Equatable {
        case auth
        case name
        case unsubscribed
        /// SENTINEL GET-MASTER-ADDR-BY-NAME.
        case address
        /// SENTINEL MASTER.
        case master
        case subscribed
    }

    enum Event: Equatable {
        /// Nothing to report yet.
        case none
        case answered(SentinelStateMachine.Answer)
        /// `+switch-master` for our master.
        case switched
        /// Close the connection.
        case failed(String)
    }

    private let masterName: String
    private let login: [String]?
    private let clientName: String
    private var expected: [Expected] = []
    private var isSubscribed = false
    private var wasGreeted = false
    private var address: SentinelStateMachine.Address?

    static let channel = "+switch-master"

    init(masterName: String, user: String?, password: String?, clientName: String) {
        self.masterName = masterName
        login = password.map { (user.map { [$0] } ?? []) + [$0] }
        self.clientName = clientName
    }

    /// The commands that query the master, for one write.
    mutating func question() -> [[String]] {
        var commands: [[String]] = []
        func add(_ what: Expected, _ words: [String]) {
            expected.append(what)
            commands.append(words)
        }
        if !wasGreeted {
            wasGreeted = true
            if let login { add(.auth, ["AUTH"] + login) }
            add(.name, ["CLIENT", "SETNAME", clientName])
        }
        if isSubscribed { add(.unsubscribed, ["UNSUBSCRIBE", Self.channel]) }
        add(.address, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName])
        add(.master, ["SENTINEL", "MASTER", masterName])
        add(.subscribed, ["SUBSCRIBE", Self.channel])
        isSubscribed = true
        return commands
    }

    mutating func received(_ reply: RESPReply) -> Event {
        if reply.count == 3, reply[0].equals("message") {
            // <master name> <old ip> <old port> <new ip> <new port>
            let words = reply[2].string?.split(separator: " ") ?? []
            return words.first.map(String.init) == masterName ? .switched : .none
        }
        guard let step = expected.first else { return .failed("answers what it was not asked") }
        expected.removeFirst()
        switch step {
        case .auth: return reply.error.map { .failed(Self.authError($0)) } ?? .none
        case .name: return reply.error.flatMap { Self.mustLogIn($0) }.map { .failed($0) } ?? .none
        case .unsubscribed, .subscribed:
            return reply.error.map { .failed("refuses to tell of a switch of the master: \($0)") } ?? .none
        case .address: return addressed(reply)
        case .master: return described(reply)
        }
    }

    private mutating func addressed(_ reply: RESPReply) -> Event {
        address = nil
        if let error = reply.error { return .failed(Self.mustLogIn(error) ?? Self.isNone(error)) }
        guard reply.count == 2, let host = reply[0].string, let port = reply[1].unsigned.flatMap({ Int(exactly: $0) })
        else {
            return reply.isNull ? .none : .failed("answers with something that is no address")
        }
        guard !host.isEmpty, (1...65_535).contains(port) else {
            return .failed("names a master without an address")
        }
        address = SentinelStateMachine.Address(host: host, port: port)
        return .none
    }

    /// Names and values alternate. Without the right to ask (an error reply) every epoch counts as 0.
    private mutating func described(_ reply: RESPReply) -> Event {
        guard let address else { return .answered(.unknownName) }
        var epoch: UInt64 = 0
        for place in stride(from: 0, to: reply.count - 1, by: 2) where reply[place].equals("config-epoch") {
            epoch = reply[place + 1].unsigned ?? 0
        }
        return .answered(.master(address, epoch: epoch))
    }

    private static func authError(_ text: String) -> String {
        if text.hasPrefix("WRONGPASS") || text.hasPrefix("ERR invalid password") {
            return "does not accept the user or password for sentinels"
        }
        return text.contains("without any password configured")
            ? "has no password set, but one is given for sentinels" : "refuses AUTH: \(text)"
    }

    /// The problem with a Redis that is not a sentinel.
    static let noSentinel = "is no sentinel but a plain Redis"

    private static func isNone(_ error: String) -> String {
        error.hasPrefix("ERR unknown command") ? noSentinel : "is no sentinel: \(error)"
    }

    private static func mustLogIn(_ text: String) -> String? {
        if text.hasPrefix("NOAUTH") { return "wants a password: sentinels have one of their own" }
        if text.hasPrefix("NOPERM") { return "does not allow what a node must ask: \(text)" }
        return text.hasPrefix("DENIED") ? "does not take connections from here (protected mode)" : nil
    }
}
