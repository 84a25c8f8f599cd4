import ChatCore
import ChatJSON

/// What the events of Socket.IO clients mean, and which events they are sent. Socket.IO leaves the names of events to
/// each application, so existing clients work unchanged only if the node knows theirs: a profile is data that says so.
///
/// `README.md` beside this file describes the form.
public struct SocketIOProfile: Sendable, Hashable {
    /// The name in logs and error messages.
    public let name: String
    /// The default room.
    let room: ProfileExpression?
    /// Who a client claims to be when it connects to a namespace. Nil: it says so later, with an event that means
    /// `enter`; or it has a token.
    let user: ProfileExpression?
    let device: ProfileExpression?
    /// Whether a client is shown the messages that its own socket has sent.
    public let echoes: Bool
    /// Whether the state of a lost connection is restored. The last argument of a message's event must be a string
    /// then.
    public let recovers: Bool
    /// What a client joins by connecting.
    let joins: [ProfileOperation]
    private let operations: [String: ProfileOperation]
    private let emits: [String: ProfileTemplate]
    private let signals: [String: ProfileTemplate]
    /// The fields of the URL's query that the profile refers to.
    public let queryFields: [String]

    /// The events of the node that a profile may have emitted.
    public enum Occasion: String, Sendable, CaseIterable {
        case joined, left, message, presence, userJoined, userLeft, gap, reset, draining, removed, rules, sanction,
            expiring, error, changed, receipts, head, notice, participants
    }

    private static let members = [
        "name", "room", "user", "device", "echo", "recovery", "join", "on", "emit", "signals",
    ]

    /// Reads a profile. Throws why it cannot be used, with the line.
    public init(_ text: [UInt8]) throws(ProfileProblem) {
        let root = try ProfileNode.parse(text)
        var members: [String: ProfileNode] = [:]
        for (name, value) in try root.members(of: "a profile", known: Self.members) { members[name] = value }
        guard let name = members["name"] else { throw root.problem("a profile has a \"name\"") }
        self.name = try name.string("\"name\"")
        let room = try members["room"].map { (node) throws(ProfileProblem) in try ProfileExpression(node, "\"room\"") }
        self.room = room
        user = try members["user"].map { (node) throws(ProfileProblem) in try ProfileExpression(node, "\"user\"") }
        device = try members["device"].map { (node) throws(ProfileProblem) in
            try ProfileExpression(node, "\"device\"")
        }
        echoes = try members["echo"]?.bool("\"echo\"") ?? true
        recovers = try members["recovery"]?.bool("\"recovery\"") ?? false
        joins = try Self.joins(members["join"], room)
        operations = try Self.operations(members["on"], room)
        (emits, signals) = (try Self.emits(members["emit"]), try Self.signals(members["signals"]))
        if recovers, emits[Occasion.message.rawValue] == nil {
            throw root.problem("\"recovery\" needs an event for \"message\" in \"emit\"")
        }
        if user == nil, !operations.values.contains(where: { $0.verb == .enter }) {
            throw root.problem("a profile has a \"user\", or an event that means \"enter\"")
        }
        queryFields =
            Array(
                Set(
                    [room, user, device].compactMap { $0 }.flatMap(\.queryFields) + joins.flatMap(\.queryFields)
                        + operations.values.flatMap(\.queryFields))
            ).sorted()
    }

    private static func joins(
        _ node: ProfileNode?, _ room: ProfileExpression?
    ) throws(ProfileProblem) -> [ProfileOperation] {
        guard let node else { return [] }
        guard case .array(let elements) = node.content else { throw node.problem("\"join\" must be an array") }
        var joins: [ProfileOperation] = []
        for element in elements {
            let operation = try ProfileOperation(element, "an element of \"join\"", room: room)
            guard operation.verb == .join else { throw element.problem("\"join\" has only operations that join") }
            joins.append(operation)
        }
        return joins
    }

    private static func operations(
        _ node: ProfileNode?, _ room: ProfileExpression?
    ) throws(ProfileProblem) -> [String: ProfileOperation] {
        guard let node else { return [:] }
        var operations: [String: ProfileOperation] = [:]
        for (name, value) in try node.members(of: "\"on\"") {
            guard !SocketPacket.reserved.contains(name) else {
                throw value.problem("clients of Socket.IO have \"\(name)\" themselves, so no client may emit it")
            }
            operations[name] = try ProfileOperation(value, "\"\(name)\"", room: room)
        }
        return operations
    }

    private static func emits(_ node: ProfileNode?) throws(ProfileProblem) -> [String: ProfileTemplate] {
        guard let node else { return [:] }
        var emits: [String: ProfileTemplate] = [:]
        for (name, value) in try node.members(of: "\"emit\"", known: Occasion.allCases.map(\.rawValue)) {
            emits[name] = try ProfileTemplate(arguments: value, "\"\(name)\"", startsWithName: true)
        }
        return emits
    }

    private static func signals(_ node: ProfileNode?) throws(ProfileProblem) -> [String: ProfileTemplate] {
        guard let node else { return [:] }
        var signals: [String: ProfileTemplate] = [:]
        for (name, value) in try node.members(of: "\"signals\"") {
            signals[name] = try ProfileTemplate(arguments: value, "\"\(name)\"", startsWithName: true)
        }
        return signals
    }

    /// What an event of a client means; nil if the profile does not know it. `*` stands for every other event.
    func operation(_ event: String) -> ProfileOperation? { operations[event] ?? operations["*"] }

    /// The names of the events that it knows.
    var events: [String] { operations.keys.sorted() }

    func template(_ occasion: Occasion) -> ProfileTemplate? { emits[occasion.rawValue] }

    /// The event for a signal. `*` stands for every other one.
    func template(signal name: String) -> ProfileTemplate? { signals[name] ?? signals["*"] }

    /// Whether presence is told as one event for each user, which depends on who is told.
    var tellsEachUser: Bool { template(.userJoined) != nil || template(.userLeft) != nil }
}
