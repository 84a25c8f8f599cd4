import ChatCore
import NIOCore
import Testing

@testable import ChatRedis

/// A reply as a tree, with which the contents of the arena are compared.
indirect enum Tree: Equatable {
    case status(String)
    case error(String)
    case string([UInt8])
    case integer(Int64)
    case array([Tree])
    case null

    init(_ reply: RESPReply) {
        switch reply.kind {
        case .status: self = .status(reply.string ?? "?")
        case .error: self = .error(reply.error ?? "?")
        case .string: self = .string(reply.withBytes { Array($0) })
        case .integer: self = .integer(reply.integer ?? -1)
        case .array: self = .array((0..<reply.count).map { Tree(reply[$0]) })
        case .null: self = .null
        }
    }

    var encoded: [UInt8] {
        switch self {
        case .status(let text): Array("+\(text)\r\n".utf8)
        case .error(let text): Array("-\(text)\r\n".utf8)
        case .string(let bytes): Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
        case .integer(let number): Array(":\(number)\r\n".utf8)
        case .array(let elements): Array("*\(elements.count)\r\n".utf8) + elements.flatMap(\.encoded)
        case .null: Array("$-1\r\n".utf8)
        }
    }

    static func random(depth: Int, _ generator: inout SplitMix64) -> Tree {
        switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &generator) {
        case 0: return .status("OK")
        case 1: return .error("ERR something \(UInt8.random(in: 0 ... .max, using: &generator))")
        case 2: return .null
        case 3: return .integer(.random(in: .min ... .max, using: &generator))
        case 4, 5:
            let count = [0, 1, 9, 200, 3_000][Int.random(in: 0..<5, using: &generator)]
            return .string((0..<count).map { _ in .random(in: 0 ... .max, using: &generator) })
        default:
            let count = Int.random(in: 0...5, using: &generator)
            return .array((0..<count).map { _ in random(depth: depth - 1, &generator) })
        }
    }
}

@Suite struct TransportRESPTests {
    private func text(_ write: (inout RESPWriter) -> Void) -> String {
        var writer = RESPWriter()
        write(&writer)
        #expect(writer.isComplete)
        return String(buffer: writer.take())
    }

    private func parse(_ text: String) throws -> [Tree] {
        var trees: [Tree] = []
        let reader = try RESPReader()
        var buffer = ByteBuffer(string: text)
        try reader.read(&buffer) {
            trees.append(Tree(RESPReplies(arena: reader.arena)[0]))
            reader.arena.removeAll()
            return true
        }
        return trees
    }

    // MARK: Writing

    @Test func aCommandIsAnArrayOfBulkStrings() {
        let written = text { writer in
            writer.command(6)
            writer.argument("SET" as StaticString)
            writer.argument("kök")
            writer.argument(UInt64.max)
            writer.argument(-42)
            writer.argument(0)
            writer.argument(bytes: [0, 255])
        }
        #expect(written.utf8.prefix(4).elementsEqual("*6\r\n".utf8))
        #expect(written.contains("$4\r\nkök\r\n"))
        #expect(written.contains("$20\r\n18446744073709551615\r\n$3\r\n-42\r\n$1\r\n0\r\n$2\r\n"))
    }

    @Test(arguments: [0, 1, 9, 10, 11, 99, 100, 101, 999, 1_000, 70_000])
    func anArgumentOutOfPartsIsAsLongAsItsParts(length: Int) {
        let part = String(repeating: "x", count: length)
        let written = text { writer in
            writer.command(3)
            writer.argument("GET" as StaticString)
            writer.beginArgument()
            writer.append(part)
            writer.endArgument()
            writer.argument(7)
        }
        #expect(written == "*3\r\n$3\r\nGET\r\n$\(length)\r\n\(part)\r\n$1\r\n7\r\n")
    }

    @Test func partsMayBeTextAndNumbers() {
        let written = text { writer in
            writer.command(1)
            writer.beginArgument()
            writer.append(UInt64(1_700_000_000_000))
            writer.append("-*" as StaticString)
            writer.append("!" as String)
            writer.endArgument()
        }
        #expect(written == "*1\r\n$16\r\n1700000000000-*!\r\n")
    }

    @Test func aWrongNumberOfArgumentsIsSeenAndTakenBack() {
        var writer = RESPWriter()
        writer.command(words: ["PING"])
        let mark = writer.mark
        writer.command(2)
        writer.argument("GET" as StaticString)
        #expect(!writer.isComplete)
        writer.rewind(to: mark)
        #expect(writer.isComplete && writer.commands == 1)
        writer.command(1)
        writer.argument("A" as StaticString)
        writer.argument("B" as StaticString)
        #expect(!writer.isComplete)
        writer.rewind(to: mark)
        writer.command(2)
        writer.argument("A" as StaticString)
        writer.command(1)
        writer.argument("B" as StaticString)
        writer.argument("C" as StaticString)
        #expect(!writer.isComplete, "too few and too many do not cancel out")
        writer.rewind(to: mark)
        #expect(String(buffer: writer.take()) == "*1\r\n$4\r\nPING\r\n")
    }

    // MARK: Reading

    @Test func repliesOfEachKindAreRead() throws {
        #expect(
            try parse("+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\0b\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$0\r\n\r\n") == [
                .status("OK"), .error("ERR no"), .integer(-7), .string([97, 0, 98]), .null, .null, .array([]),
                .array([.array([.integer(1)]), .string([])]),
            ])
    }

    @Test func whatIsNotThereReadsAsNull() throws {
        let reader = try RESPReader()
        var buffer = ByteBuffer(string: "*1\r\n:5\r\n")
        try reader.read(&buffer) { true }
        let replies = RESPReplies(arena: reader.arena)
        #expect(replies.count == 1 && replies[1].isNull && replies[-1].isNull)
        let reply = replies[0]
        #expect(reply[0].integer == 5 && reply[1].isNull && reply[-1].isNull && reply[0][0].isNull)
        #expect(reply.string == nil && reply.integer == nil && reply.error == nil)
        reader.arena.removeAll()
        #expect(reply.isNull && reply[0].isNull, "a view kept too long is a null")
    }

    @Test func numbersInStringsAreReadWithoutOverflow() throws {
        let reader = try RESPReader()
        let numbers = ["18446744073709551615", "-9223372036854775808", "9223372036854775808", "", "-", "1x", "007"]
        var buffer = ByteBuffer(string: numbers.map { "$\($0.count)\r\n\($0)\r\n" }.joined())
        try reader.read(&buffer) { true }
        let replies = RESPReplies(arena: reader.arena)
        #expect((0..<7).map { replies[$0].unsigned } == [.max, nil, 9_223_372_036_854_775_808, nil, nil, nil, 7])
        #expect((0..<7).map { replies[$0].integer } == [nil, .min, nil, nil, nil, nil, 7])
    }

    @Test func textThatIsNotUTF8IsNil() throws {
        let reader = try RESPReader()
        var buffer = ByteBuffer(bytes: Array("$2\r\n".utf8) + [0xC3, 0x28, 13, 10])
        try reader.read(&buffer) { true }
        let reply = RESPReplies(arena: reader.arena)[0]
        #expect(reply.kind == .string && reply.string == nil && reply.withBytes { $0.count } == 2)
    }

    @Test(arguments: [
        "hello\r\n", "$-2\r\n", "$999999999999999999999\r\n", "*-2\r\n", "*99999999999\r\n", ":12a\r\n", "%1\r\n",
        "\0\0\0\0",
        "*2147483647\r\n", "*4194303\r\n*4194303\r\n", "HTTP/1.1 400 Bad Request\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    ])
    func badProtocolIsAnErrorThatStays(bytes: String) throws {
        let reader = try RESPReader()
        var buffer = ByteBuffer(string: bytes)
        let error = #expect(throws: RESPError.self) { try reader.read(&buffer) { true } }
        #expect(error?.description.hasPrefix("what Redis sent is no RESP2: ") == true)
        var more = ByteBuffer(string: "+OK\r\n")
        #expect(throws: RESPError.self) { try reader.read(&more) { true } }
    }

    @Test func anEndlessReplyIsCutOff() throws {
        let reader = try RESPReader()
        var header = ByteBuffer(string: "$8000000000\r\n")
        try reader.read(&header) { true }
        let megabyte = ByteBuffer(repeating: 0x61, count: 1 << 20)
        let error = #expect(throws: RESPError.self) {
            for _ in 0..<300 {
                var chunk = megabyte
                try reader.read(&chunk) { true }
            }
        }
        #expect(error?.description.contains("longer than") == true)
    }

    @Test(arguments: 0..<120)
    func anyChunkingGivesTheSameReplies(round: UInt64) throws {
        var generator = SplitMix64(seed: round &* 7_919)
        let trees = (0..<Int.random(in: 1...20, using: &generator)).map { _ in Tree.random(depth: 6, &generator) }
        let bytes = trees.flatMap(\.encoded)
        let reader = try RESPReader()
        var heard: [Tree] = []
        var rest = bytes[...]
        let largest = [1, 7, 100, 20_000][Int(round % 4)]
        while !rest.isEmpty {
            let chunk = rest.prefix(Int.random(in: 1...largest, using: &generator))
            rest = rest.dropFirst(chunk.count)
            var buffer = ByteBuffer(bytes: chunk)
            try reader.read(&buffer) {
                heard.append(Tree(RESPReplies(arena: reader.arena)[reader.arena.roots.count - 1]))
                if round % 2 == 0 { reader.arena.removeAll() }
                return true
            }
        }
        #expect(heard == trees, "seed \(round &* 7_919)")
        if round % 2 == 1 {
            let replies = RESPReplies(arena: reader.arena)
            #expect((0..<replies.count).map { Tree(replies[$0]) } == trees, "seed \(round &* 7_919), read at the end")
        }
    }

    @Test(arguments: 0..<200)
    func corruptedStreamsAreReadOrRefusedButNeverTrap(round: UInt64) throws {
        let seed = round &* 104_729 &+ 1
        var generator = SplitMix64(seed: seed)
        var bytes = (0..<8).flatMap { _ in Tree.random(depth: 7, &generator).encoded }
        for _ in 0..<Int.random(in: 1...6, using: &generator) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: bytes[place] = .random(in: 0 ... .max, using: &generator)
            case 1: bytes.remove(at: place)
            default: bytes.insert(Array("*$:+-\r\n0123456789".utf8).randomElement(using: &generator) ?? 0, at: place)
            }
        }
        let reader = try RESPReader()
        var rest = bytes[...]
        do {
            while !rest.isEmpty {
                let chunk = rest.prefix(Int.random(in: 1...50, using: &generator))
                rest = rest.dropFirst(chunk.count)
                var buffer = ByteBuffer(bytes: chunk)
                try reader.read(&buffer) {
                    _ = Tree(RESPReplies(arena: reader.arena)[0])
                    reader.arena.removeAll()
                    return true
                }
            }
        } catch {
            #expect(!error.description.isEmpty, "seed \(seed)")
        }
    }
}
