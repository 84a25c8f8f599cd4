import ChatJSON

/// Why a profile cannot be used.
public struct ProfileProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// The line of the file, from 1 on.
    public var line: Int
    public var text: String

    public var description: String { "line \(line): \(text)" }
}

/// A JSON value that knows where it is in its file, for messages about what is wrong with it.
struct ProfileNode {
    enum Content {
        case null
        case bool(Bool)
        case number(String)
        case string(String)
        case array([ProfileNode])
        case object([(name: String, value: ProfileNode)])
    }

    let content: Content
    let line: Int

    static func parse(_ text: [UInt8]) throws(ProfileProblem) -> ProfileNode {
        let result: Result<ProfileNode, ProfileProblem> = text.withUnsafeBytes { bytes in
            let line = { (offset: Int) in 1 + bytes.prefix(offset).count { $0 == UInt8(ascii: "\n") } }
            var validator = UTF8Validator()
            if let offset = validator.check(bytes) {
                return .failure(ProfileProblem(line: line(offset), text: "the text is not UTF-8"))
            }
            guard validator.isComplete else {
                return .failure(ProfileProblem(line: line(bytes.count), text: "the text ends inside a character"))
            }
            var scanner = JSONScanner(bytes)
            do throws(JSONError) {
                return .success(build(bytes, try scanner.document(), line))
            } catch {
                return .failure(ProfileProblem(line: line(error.offset), text: "not JSON: \(error.problem)"))
            }
        }
        return try result.get()
    }

    private static func build(
        _ bytes: UnsafeRawBufferPointer, _ slice: JSONSlice, _ line: (Int) -> Int, at base: Int = 0
    ) -> ProfileNode {
        let start = base + slice.range.lowerBound
        let own = UnsafeRawBufferPointer(rebasing: bytes[slice.range])
        var scanner = JSONScanner(own)
        let whole = JSONSlice(kind: slice.kind, range: 0..<own.count)
        let content: Content
        switch slice.kind {
        case .null: content = .null
        case .bool(let flag): content = .bool(flag)
        case .number: content = .number(scanner.text(whole))
        case .string: content = .string(scanner.string(whole))
        case .array:
            var elements: [ProfileNode] = []
            try? scanner.elements { elements.append(build(own, $0, line, at: start)) }
            content = .array(elements)
        case .object:
            let names = scanner
            var members: [(name: String, value: ProfileNode)] = []
            try? scanner.members { members.append((names.string($0), build(own, $1, line, at: start))) }
            content = .object(members)
        }
        return ProfileNode(content: content, line: line(start))
    }

    func problem(_ text: String) -> ProfileProblem { ProfileProblem(line: line, text: text) }

    /// The members of an object, of which each name may occur once and must be one of `known`; nil allows any.
    func members(of what: String, known: [String]? = nil) throws(ProfileProblem) -> [(name: String, value: ProfileNode)]
    {
        guard case .object(let members) = content else { throw problem("\(what) must be an object") }
        var seen: Set<String> = []
        for (name, value) in members {
            guard seen.insert(name).inserted else { throw value.problem("\(what) has \"\(name)\" twice") }
            guard let known, !known.contains(name) else { continue }
            throw value.problem(
                "\(what) has no \"\(name)\"; known are \(known.map { "\"\($0)\"" }.joined(separator: ", "))")
        }
        return members
    }

    func string(_ what: String) throws(ProfileProblem) -> String {
        guard case .string(let text) = content else { throw problem("\(what) must be a string") }
        return text
    }

    func bool(_ what: String) throws(ProfileProblem) -> Bool {
        guard case .bool(let flag) = content else { throw problem("\(what) must be true or false") }
        return flag
    }
}
