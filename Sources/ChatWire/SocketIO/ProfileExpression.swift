import ChatCore
import ChatJSON

/// Where an operation of a profile finds a value in what a client has sent: alternatives with `|` between them, of
/// which the first one counts that exists and is of the kind that is needed. Each is a text, in which `$` begins the
/// name of something that the client sent:
///
/// - `$1` … `$9`: an argument of the event, `$0`: its name
/// - `$auth`: what the client sent with its connection to the namespace
/// - `$query.name`: a field of the URL's query
/// - `$namespace`: the namespace's name without its first `/`; nothing for the main one
/// - `$id`: the socket's ID
///
/// `.name` behind it is a member of an object.
struct ProfileExpression: Sendable, Hashable {
    enum Source: Sendable, Hashable {
        case argument(Int)
        case auth
        case query
        case namespace
        case id
    }

    enum Part: Sendable, Hashable {
        case text(String)
        case value(Source, path: [String])
    }

    /// A number in the profile itself.
    private var number: Int?
    private var alternatives: [[Part]]

    /// The values that an expression may name.
    struct Context {
        var arguments: SocketArguments?
        var auth: SocketValue?
        var query: [(name: String, value: String)] = []
        var namespace: String
        var id: String
    }

    init(_ node: ProfileNode, _ what: String) throws(ProfileProblem) {
        if case .number(let text) = node.content {
            guard let number = Int(text) else { throw node.problem("\(what) must be a whole number") }
            self.number = number
            alternatives = []
            return
        }
        var alternatives: [[Part]] = []
        for alternative in try node.string(what).split(separator: "|", omittingEmptySubsequences: false) {
            alternatives.append(try Self.parts(alternative, node, what))
        }
        self.alternatives = alternatives
    }

    private static func parts(
        _ text: Substring, _ node: ProfileNode, _ what: String
    ) throws(ProfileProblem) -> [Part] {
        guard !text.isEmpty else { throw node.problem("an alternative of \(what) is empty") }
        var parts: [Part] = []
        var rest = text
        while let mark = rest.firstIndex(of: "$") {
            if mark > rest.startIndex { parts.append(.text(String(rest[..<mark]))) }
            let name = rest[rest.index(after: mark)...].prefix {
                $0.isASCII && ($0.isLetter || $0.isNumber || "._".contains($0))
            }
            parts.append(try value(name, node, what))
            rest = rest[name.endIndex...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        return parts
    }

    private static func value(_ name: Substring, _ node: ProfileNode, _ what: String) throws(ProfileProblem) -> Part {
        var path = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let first = path.removeFirst()
        guard !path.contains("") else { throw node.problem("\(what): \"$\(name)\" has an empty name") }
        switch first {
        case "auth": return .value(.auth, path: path)
        case "query":
            guard path.count == 1 else { throw node.problem("\(what): $query is followed by one name") }
            return .value(.query, path: path)
        case "namespace" where path.isEmpty: return .value(.namespace, path: [])
        case "id" where path.isEmpty: return .value(.id, path: [])
        default:
            guard let index = Int(first), (0...9).contains(index) else {
                throw node.problem(
                    "\(what): \"$\(name)\" is not known; known are $0 … $9, $auth, $query, $namespace, $id")
            }
            return .value(.argument(index), path: path)
        }
    }

    // MARK: Values

    /// The first alternative that is a text. `orNumber`: a number counts as its text.
    func string(_ context: Context, orNumber: Bool = false) -> String? {
        if let number { return orNumber ? "\(number)" : nil }
        for alternative in alternatives {
            var text = ""
            let isWhole = alternative.allSatisfy { part in
                guard let piece = Self.string(part, context, orNumber) else { return false }
                text += piece
                return true
            }
            if isWhole { return text }
        }
        return nil
    }

    /// The first alternative that is a whole number.
    func integer(_ context: Context) -> Int? {
        if let number { return number }
        for alternative in alternatives where alternative.count == 1 {
            switch alternative[0] {
            case .text(let text): if let number = Int(text) { return number }
            case .value(let source, let path):
                if let number = Self.value(source, path, context)?.integer { return number }
            }
        }
        return nil
    }

    /// The JSON text of the first alternative that exists.
    func json(_ context: Context) -> SocketValue? {
        for alternative in alternatives where alternative.count == 1 {
            if case .value(let source, let path) = alternative[0], let value = Self.value(source, path, context) {
                return value
            }
        }
        return nil
    }

    private static func string(_ part: Part, _ context: Context, _ orNumber: Bool) -> String? {
        switch part {
        case .text(let text): return text
        case .value(.query, let path):
            return path.first.flatMap { name in context.query.first { $0.name == name }?.value }
        case .value(.namespace, _):
            let name = context.namespace.dropFirst()
            return name.isEmpty ? nil : String(name)
        case .value(.id, _): return context.id
        case .value(let source, let path):
            guard let value = Self.value(source, path, context) else { return nil }
            if let text = value.string { return text }
            return orNumber && value.kind == .number ? value.json : nil
        }
    }

    private static func value(_ source: Source, _ path: [String], _ context: Context) -> SocketValue? {
        var value: SocketValue?
        switch source {
        case .argument(let index): value = context.arguments?[index]
        case .auth: value = context.auth
        case .query, .namespace, .id: return nil
        }
        for name in path { value = value?[name] }
        guard let value, value.kind != .null else { return nil }
        return value
    }

    /// The names of the query's fields that it needs.
    var queryFields: [String] {
        alternatives.joined().compactMap { part in
            if case .value(.query, let path) = part { path.first } else { nil }
        }
    }
}
