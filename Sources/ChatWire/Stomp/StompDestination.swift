import ChatCore

/// What a destination stands for. The layouts of RabbitMQ, of Spring, and of the usual tutorials for chats with Spring
/// are all understood, without configuration: a table of templates, of which the first one that matches counts.
public enum StompDestination: Sendable, Hashable {
    case room(RoomName, StompLayout)
    /// The body of a SEND is a JSON object that names the room. `entering`: it says that the sender has come.
    case roomInBody(entering: Bool)
    /// Refusals of this connection's own SENDs.
    case errors

    enum Target: Sendable {
        case room(StompLayout)
        case fixed(StaticString)
        case roomInBody(entering: Bool)
        case errors
    }

    struct Template: Sendable {
        /// Literal text, with `{any}` for one part of the path and, at the end, `{room}` for the rest of it.
        let text: String
        let target: Target

        init(_ text: String, _ target: Target) {
            self.text = text
            self.target = target
        }
    }

    static let templates = [
        Template("/topic/room.{room}", .room(.plain)),
        Template("/topic/{room}", .room(.plain)),
        Template("/exchange/{any}/{room}", .room(.plain)),
        Template("/app/chat.sendMessage", .fixed("public")),
        Template("/app/chat.addUser", .fixed("public")),
        Template("/app/chat/message", .roomInBody(entering: false)),
        Template("/app/chat/enter", .roomInBody(entering: true)),
        Template("/app/chat/{room}", .room(.plain)),
        Template("/app/{room}", .room(.plain)),
        Template("/pub/chat/message", .roomInBody(entering: false)),
        Template("/pub/chat/enter", .roomInBody(entering: true)),
        Template("/pub/chat/room/{room}", .room(.object)),
        Template("/sub/chat/room/{room}", .room(.object)),
        Template("/sub/chat/{room}", .room(.object)),
        Template("/user/queue/errors", .errors),
    ]

    /// The beginnings of all templates, for an error.
    private static let known = "/topic, /exchange, /app, /pub, /sub, /user/queue/errors"

    /// Reads a destination. Throws what the ERROR is to say.
    static func read(_ text: String) throws(StompFault) -> StompDestination {
        if let reason = refusal(text) { throw reason }
        for template in templates {
            guard let rest = match(text, template.text) else { continue }
            switch template.target {
            case .errors: return .errors
            case .roomInBody(let entering): return .roomInBody(entering: entering)
            case .fixed(let name): return .room(try room(name.description, text), .plain)
            case .room(let layout): return .room(try room(rest, text), layout)
            }
        }
        for kind in ["topic", "exchange"] where text == "/\(kind)" || text.hasPrefix("/\(kind)/") {
            throw StompFault(
                "Invalid destination", "'\(text.dropFirst(kind.count + 1))' is not a valid \(kind) destination\n")
        }
        throw StompFault(
            "Unknown destination",
            "'\(text)' is not a valid destination.\nValid destination types are: \(known).\n")
    }

    /// What a log of rooms cannot offer.
    private static func refusal(_ text: String) -> StompFault? {
        if text.hasPrefix("/queue/") || text == "/queue" || text.hasPrefix("/amq/queue/") {
            return StompFault(
                "Invalid destination",
                "A queue gives each message to one of its receivers. Here all members of a room get all of its "
                    + "messages, so there are no queues: use /topic/ and the room's name.\n")
        }
        if text.hasPrefix("/temp-queue/") || text.hasPrefix("/reply-queue/") {
            return StompFault(
                "Invalid destination",
                "There are no queues for replies of one receiver here: use a room that both sides know.\n")
        }
        return nil
    }

    /// The room. Names may be percent-encoded, as for RabbitMQ.
    private static func room(_ name: String, _ destination: String) throws(StompFault) -> RoomName {
        let words = name.split(separator: ".", omittingEmptySubsequences: false)
        guard !words.contains("*"), !words.contains("#") else {
            throw StompFault(
                "Invalid destination",
                "'\(destination)' has a wildcard. Rooms are not a tree: subscribe to each room by its name.\n")
        }
        do throws(NameError) {
            return try RoomName(PercentEncoding.decode(name) ?? name)
        } catch {
            throw StompFault("Invalid destination", "'\(destination)' names no room: \(error)\n")
        }
    }

    /// What stands for `{room}`, or nothing if the template has no such place; nil if the text does not match.
    private static func match(_ text: String, _ template: String) -> String? {
        var text = Substring(text)
        var template = Substring(template)
        while let brace = template.firstIndex(of: "{") {
            guard let rest = text.dropping(template[..<brace]) else { return nil }
            let isLast = template[brace...] == "{room}"
            if isLast { return rest.isEmpty ? nil : String(rest) }
            guard let slash = rest.firstIndex(of: "/"), slash > rest.startIndex,
                let close = template.firstIndex(of: "}")
            else { return nil }
            text = rest[slash...]
            template = template[template.index(after: close)...]
        }
        return text == template ? "" : nil
    }
}

/// How messages are shown at a destination.
public enum StompLayout: Sendable, Hashable {
    /// The body is what was sent.
    case plain
    /// The body is always a JSON object with `roomId`, `sender` and `message`, which the pages of tutorials expect. A
    /// message that is no such object is put into one.
    case object
}

extension Substring {
    /// The rest behind this beginning; nil if it begins otherwise.
    fileprivate func dropping(_ prefix: Substring) -> Substring? {
        hasPrefix(prefix) ? self[index(startIndex, offsetBy: prefix.count)...] : nil
    }
}
