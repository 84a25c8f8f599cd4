import ChatCore
import ChatJSON
import ChatWire
import RedisSchema
import Testing

// NIOCore has a ChannelEvent of its own.
import struct NIOCore.ByteBuffer

@testable import ChatRedis

/// How the codec handles replies and payloads that no working peer sends.
@Suite struct ContractCodecTests {
    private let codec = RedisCodec()
    private let room: RoomName
    private let node: NodeID

    init() throws {
        room = try RoomName("lobby")
        node = try NodeID("n1-00000001")
    }

    private func requests() throws -> [BrokerRequest] {
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x", key: "k")
        let tail = [Message(position: Position(epoch: 5, seq: 1), content: content)]
        let position = Position(epoch: 5, seq: 1)
        return [
            .append(room: room, epoch: 5, content: content),
            .append(room: room, epoch: 5, content: content, others: OtherNodes(known: 0, base: nil)),
            .publish(room: room, event: .message(tail[0], base: 1)),
            .enter(EnterRequest(room: room, node: node, after: position, tail: tail, page: PageBounds(count: 5))),
            .view(room: room, after: position, page: PageBounds(count: 5)),
            .leave(room: room, node: node, value: 5),
            .once(OnceRequest(room: room, node: node, epoch: 5, known: 0, sends: [try send("k", since: position)])),
            .say(room: room, content: content),
            .moderate(room: room, .ban(try UserID("bo"), for: 5, reason: "spam"), by: "ana"),
            .presence(
                PresenceRequest(room: room, node: node, value: 5, changes: [try device("ana", "x")])),
            .roster(room: room),
            .history(room: room, query: HistoryQuery(anchor: .newest, limit: 5)),
            .history(room: room, query: HistoryQuery(anchor: .before(position), limit: 5)),
            .history(room: room, query: HistoryQuery(anchor: .after(position), limit: 5)),
            .history(room: room, query: HistoryQuery(anchor: .around(position), limit: 5)),
            .heartbeat(NodeReport(node: node, address: "a", version: "v"), lease: .seconds(1)),
            .nodes, .hold(room: room, node: node), .release(room: room, node: node), .rooms(of: node),
            .holders(room: room), .forget(node), .ping, .tryStoring(.room(room)),
            .publish(on: .user(try UserID("ana")), event: .message(tail[0], base: 1)),
            .rooms(of: node, cursor: Holdings.Cursor(part: 3, scan: 7).raw),
            .forget(node, cursor: Holdings.Cursor(part: 3).raw),
            .conversation(ConversationRequest(.invite([try UserID("bo")]), in: room, by: try UserID("ana"))),
            .conversation(ConversationRequest(.list, in: room, by: nil)),
            .user(UserRequest(.standing(try UserID("bo")), of: try UserID("ana"))),
            .user(UserRequest(.rooms(cursor: 0, count: 10), of: try UserID("ana"))),
            .user(UserRequest(.index(room, .group, version: 3, since: 2, partner: nil), of: try UserID("ana"))),
        ]
    }

    private func decode(_ request: BrokerRequest, replies: [String]) throws -> RedisDecoded {
        var writer = RESPWriter()
        let encoded = try codec.encode(request, into: &writer)
        #expect(writer.isComplete && writer.commands == encoded.commands)
        let reader = try RESPReader()
        var bytes = ByteBuffer(string: replies.joined())
        try reader.read(&bytes) { true }
        let pending = RedisPending(
            operation: encoded.operation, number: encoded.number, request: encoded.keepsRequest ? request : nil)
        return codec.decode(pending, RESPReplies(arena: reader.arena))
    }

    /// RESP of a random shape, mostly with words that occur in real replies.
    private func noise(_ generator: inout SplitMix64, depth: Int = 0) -> String {
        let words = [
            "5-1", "ok", "gap", "rewound", "stored", "repeated", "unknown", "n1-00000001", "ana", "", "7", "user", "-",
            "{}", "\u{FFFD}",
        ]
        switch Int.random(in: 0..<(depth > 4 ? 7 : 11), using: &generator) {
        case 0: return "$-1\r\n"
        case 1: return "*-1\r\n"
        case 2: return ":\(Int.random(in: -2...9, using: &generator))\r\n"
        case 3: return "+OK\r\n"
        case 4...6:
            let word = words.randomElement(using: &generator) ?? ""
            return "$\(word.utf8.count)\r\n\(word)\r\n"
        default:
            let count = Int.random(in: 0...7, using: &generator)
            return "*\(count)\r\n" + (0..<count).map { _ in noise(&generator, depth: depth + 1) }.joined()
        }
    }

    @Test func noReplyHoweverWrongTrapsOrIsTakenForAnError() throws {
        var generator = SplitMix64(seed: 20_261_121)
        var malformed = 0
        for request in try requests() {
            for _ in 0..<400 {
                var writer = RESPWriter()
                let count = try codec.encode(request, into: &writer).commands
                let replies = (0..<count).map { _ in noise(&generator) }
                guard case .completed(let result) = try decode(request, replies: replies) else {
                    Issue.record("no reply says that the library is missing: \(replies)")
                    continue
                }
                switch result {
                case .success, .failure(.missing): break
                case .failure(.malformed(let text)):
                    malformed += 1
                    #expect(!text.isEmpty && text.utf8.count < 200)
                case .failure(let error): Issue.record("\(error) of \(replies)")
                }
            }
        }
        #expect(malformed > 2_000)
    }

    @Test func noRepliesAtAllAreMalformedOrMissing() throws {
        for request in try requests() {
            guard case .completed(.failure) = try decode(request, replies: []) else {
                // The nil of an append, the nil of a heartbeat and an empty roster look like no reply; the link never
                // passes too few replies.
                if case .heartbeat = request { continue }
                Issue.record("\(request) made something of nothing")
                continue
            }
        }
    }

    @Test func errorsOfRedisAreTold() throws {
        let cases: [(String, BrokerError)] = [
            ("-REFUSED the epoch is 9\r\n", .refused),
            ("-OOM command not allowed\r\n", .notStored("OOM command not allowed")),
            ("-READONLY You can't write\r\n", .notStored("READONLY You can't write")),
            ("-ERR martlet: no\r\n", .notStored("ERR martlet: no")),
            ("-WRONGTYPE x is a string\r\n", .notStored("WRONGTYPE x is a string")),
        ]
        for request in try requests() {
            for (reply, error) in cases {
                var writer = RESPWriter()
                let count = try codec.encode(request, into: &writer).commands
                let replies = Array(repeating: reply, count: count)
                #expect(try decode(request, replies: replies) == .completed(.failure(error)), "\(request)")
            }
            var writer = RESPWriter()
            let encoded = try codec.encode(request, into: &writer)
            let odd = try decode(request, replies: Array(repeating: "-ERR odd thing\r\n", count: encoded.commands))
            guard case .completed(.failure(.malformed(let text))) = odd else { throw StoreFailure("\(odd)") }
            #expect(text.hasSuffix("ERR odd thing"))
            let missing = try decode(
                request, replies: Array(repeating: "-ERR Function not found\r\n", count: encoded.commands))
            if encoded.keepsRequest { #expect(missing == .libraryMissing) }
        }
        let fence = "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"
        #expect(try decode(try requests()[0], replies: [fence]) == .completed(.failure(.refused)))
        #expect(try decode(try requests()[0], replies: ["$-1\r\n"]) == .completed(.failure(.missing)))
    }

    // MARK: Channel payloads

    private func event(_ json: String) throws(ChannelPayloadError) -> ChannelEvent {
        let bytes = Array(json.utf8)
        let result: Result<ChannelEvent, ChannelPayloadError> = bytes.withUnsafeBufferPointer { payload in
            do throws(ChannelPayloadError) {
                return .success(try codec.event(ofPayload: payload))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func samples() throws -> [ChannelEvent] {
        let other = try NodeID("n2 \"q\" \\")
        let content = MessageContent(
            user: try UserID("보라 \"q\""), at: 9, text: "a\n\u{0}\\\"/😀", data: #"{"x":[1, 2]}"#, key: "~k")
        let change = PresenceNotice.Change(user: content.user, device: try DeviceName("tv"), node: other, joined: false)
        return [
            .message(Message(position: Position(epoch: PositionBounds.largest, seq: 7), content: content), base: nil),
            .message(
                Message(
                    position: Position(epoch: 8, seq: 7), content: MessageContent(user: content.user, at: 0, text: "")),
                base: 3),
            .epoch(8, base: 2, nodes: [node: 8, other: PositionBounds.largest], by: other),
            .epoch(8, base: 2, nodes: [:], by: node),
            .epoch(8, base: 2, nodes: [node: 8], by: node, rules: 7),
            .gone(other, value: 3, nodes: [node: 8], last: Position(epoch: 8, seq: 0)),
            .presence(
                PresenceNotice(
                    after: Position(epoch: 1, seq: 0), position: Position(epoch: 1, seq: 1), changes: [change], count: 0
                )),
            .presence(
                PresenceNotice(
                    after: Position(epoch: 1, seq: 0), position: Position(epoch: 1, seq: 1), changes: [], count: 4)),
            .signal(
                Signal(
                    node: node, session: SessionID(raw: .max), user: content.user, name: "typing",
                    data: #"{"on":[true]}"#)),
            .signal(Signal(node: node, session: SessionID(raw: 1), user: content.user, name: "")),
        ]
    }

    @Test func everyEventComesBackAsItWasWritten() throws {
        for sample in try samples() {
            var writer = ByteWriter()
            writer.append(sample)
            let json = writer.array
            let text = String(decoding: json, as: UTF8.self)
            #expect(text.hasPrefix("{\"type\":\""))
            #expect(try event(text) == sample, "\(text)")
            // Every prefix of it is an error with its place.
            for count in 0..<json.count where count.isMultiple(of: 3) {
                #expect(throws: ChannelPayloadError.self) { try event(String(decoding: json[..<count], as: UTF8.self)) }
            }
        }
    }

    private func parts(_ payload: [UInt8]) -> [String] {
        var parts: [String] = []
        payload.withUnsafeBufferPointer { payload in
            codec.forEachEvent(inPayload: payload) { parts.append(String(decoding: $0, as: UTF8.self)) }
        }
        return parts
    }

    @Test func severalEventsAreALineEach() throws {
        let samples = try samples()
        var writer = RESPWriter()
        let encoded = codec.encodePublish(samples, on: .room(room), into: &writer)
        #expect(writer.isComplete && writer.commands == 1 && encoded.commands == 1)
        let reader = try RESPReader()
        var bytes = writer.take()
        try reader.read(&bytes) { true }
        let command = RESPReplies(arena: reader.arena)[0]
        #expect(command[1].string == "martlet:{lobby}")
        let lines = parts(command[2].withBytes { Array($0) })
        #expect(try lines.map { try event($0) } == samples)
    }

    @Test func onlyWholeObjectsAreCutApart() {
        let pretty = "{\n  \"type\": \"x\",\n  \"nodes\": {\n    \"a\": \"1\"\n  }\n}\n"
        for payload in [pretty, "", "\n", "{}", "{}\n", "\n{}", "{}\r\n{}", "[{},\n{}]", "{}\n\n{}", "x\ny"] {
            #expect(parts(Array(payload.utf8)) == [payload])
        }
        #expect(parts(Array("{}\n{}".utf8)) == ["{}", "{}"])
        #expect(parts(Array("{}\n{\"a\":\n{}}\n{}".utf8)) == ["{}", "{\"a\":\n{}}", "{}"])
    }

    /// A long log is trimmed now and then, however its messages are timed; a short one is trimmed always.
    @Test func aLongLogIsTrimmedByOneAppendInSixteen() throws {
        var short = RedisCodecSettings()
        short.historyLength = 255
        for (codec, always) in [(RedisCodec(), false), (RedisCodec(settings: short), true)] {
            for stride in [0.7, 1, 7, 16, 60, 1_000, 1_024, 60_000] {
                var trims: [Int] = []
                for number in 0..<4_096 {
                    let at = 1_795_230_114_000 + UInt64(Double(number) * stride)
                    let content = MessageContent(user: try UserID("ana"), at: at, text: "x")
                    var writer = RESPWriter()
                    _ = try codec.encode(.append(room: room, epoch: 5, content: content), into: &writer)
                    #expect(writer.isComplete)
                    if String(buffer: writer.buffer).contains("MAXLEN") { trims.append(number) }
                }
                guard !always else {
                    #expect(trims.count == 4_096)
                    continue
                }
                let gaps = zip(trims, trims.dropFirst()).map { $1 - $0 }
                #expect((160...400).contains(trims.count), "\(stride): \(trims.count)")
                #expect(gaps.allSatisfy { $0 <= 256 }, "\(stride): \(gaps.max() ?? 0)")
            }
        }
    }

    /// Payloads that nodes write are read by a fast path. A space at the end, which has no meaning, selects the general
    /// one: both must give the same result, also for broken payloads.
    @Test func theShortWayToReadAMessageSaysWhatTheLongOneDoes() throws {
        let contents = [
            MessageContent(user: try UserID("ana"), at: 9, text: "hello", key: "~k"),
            MessageContent(
                user: try UserID("보라 \"q\""), at: 9, text: "a\n\u{0}\\\"/😀", data: #"{"x":[1, 2]}"#, key: "k"),
            MessageContent(user: try UserID("ana"), at: .max, data: "[1]"),
            MessageContent(user: try UserID("ana"), at: 0, text: ""),
        ]
        let extra: [UInt8] = Array("\"\\{}[]:,0x \n".utf8) + [0, 0xFF]
        for (index, content) in contents.enumerated() {
            var writer = ByteWriter()
            writer.append(
                ChannelEvent.message(Message(position: Position(epoch: 8, seq: 7), content: content), base: 3))
            let json = writer.array
            for place in json.indices {
                for byte in extra {
                    for variant in 0..<3 {
                        var changed = json
                        switch variant {
                        case 0: changed[place] = byte
                        case 1: changed.insert(byte, at: place)
                        default: changed.remove(at: place)
                        }
                        let short = outcome(changed)
                        #expect(short == outcome(changed + [0x20]), "\(index), \(place), \(byte), \(variant)")
                    }
                }
            }
        }
    }

    /// Nil if it was refused.
    private func outcome(_ json: [UInt8]) -> ChannelEvent? {
        json.withUnsafeBufferPointer { try? codec.event(ofPayload: $0) }
    }

    @Test func fieldsComeInAnyOrderAndUnknownOnesAreIgnored() throws {
        let json =
            #" { "later": [{"x":1}], "entry":{"text":"a","at":"5","user":"ana","odd":7}, "base":2, "position":"9-3", "type":"message" } "#
        let content = MessageContent(user: try UserID("ana"), at: 5, text: "a")
        #expect(try event(json) == .message(Message(position: Position(epoch: 9, seq: 3), content: content), base: 2))
        #expect(
            try event(#"{"type":"epoch","epoch":9,"base":"0","nodes":[],"by":"n"}"#)
                == .epoch(9, base: 0, nodes: [:], by: try NodeID("n")))
        let slashes = try event(#"{"type":"\u0065poch","epoch":"9","base":"0","nodes":{"a\/b":"1"},"by":"a\/b"}"#)
        #expect(slashes == .epoch(9, base: 0, nodes: [try NodeID("a/b"): 1], by: try NodeID("a/b")))
    }

    @Test(arguments: [
        "", "null", "[]", "{}", #"{"type":7}"#, #"{"type":"party"}"#, #"{"type":"message","position":"1-1"}"#,
        #"{"type":"message","position":1,"entry":{}}"#, #"{"type":"message","position":"1-1","base":-1,"entry":{}}"#,
        #"{"type":"epoch","epoch":"x","base":"0","nodes":{},"by":"n"}"#,
        #"{"type":"epoch","epoch":"9007199254740992","base":"0","nodes":{},"by":"n"}"#,
        #"{"type":"epoch","epoch":"1","base":"18446744073709551615","nodes":{},"by":"n"}"#,
        #"{"type":"epoch","epoch":"1","base":"0","nodes":[1],"by":"n"}"#,
        #"{"type":"gone","node":"n","value":"1","nodes":{},"last":"1"}"#,
        #"{"type":"presence","position":"1-0","after":"1-1","count":1,"changes":[]}"#,
        #"{"type":"presence","position":"2-1","after":"1-0","count":1,"changes":[]}"#,
        #"{"type":"presence","position":"1-4503599627370496","after":"1-0","count":1,"changes":[]}"#,
        #"{"type":"signal","node":"n","session":"1","user":"u","name":"x","data":1e999}"#,
        #"{"type":"signal","node":"n","session":"s","user":"u","name":"x"}"#, #"{"type":"message"} trailing"#,
    ])
    func aPayloadThatIsNoEventIsRefusedWithAReason(json: String) throws {
        let error = #expect(throws: ChannelPayloadError.self) { try event(json) }
        #expect(error?.description.hasPrefix("byte ") == true)
    }

    // MARK: Keys

    @Test func keysArePutTogetherAndReadBack() throws {
        let keys = RedisKeys()
        #expect(keys.key(.log, of: "lobby") == "martlet:{lobby}:log")
        #expect(keys.channel(of: "lobby") + ":log" == keys.key(.log, of: "lobby"))
        for key in RoomKey.allCases {
            let read = keys.room(ofKey: keys.key(key, of: "a:b c"))
            #expect(read?.room == "a:b c" && read?.key == key)
        }
        for name in ["martlet:nodes", "martlet:{lobby}", "martlet:{}:log", "other:{lobby}:log", "martlet:{lobby}:logs"]
        {
            #expect(keys.room(ofKey: name) == nil)
        }
        for prefix in ["a{", "}", "a b", "a\n", String(repeating: "p", count: 65)] {
            #expect(RedisKeys(prefix: prefix) == nil)
        }
        #expect(RedisKeys(prefix: "")?.key(.meta, of: "r") == "{r}:meta")
    }

    @Test func onlyAnAppendForOthersOverAnIdleLinkIsACallOfTheFunction() throws {
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x")
        for others in [nil, OtherNodes(known: 4, base: 3)] {
            for isBusy in [false, true] {
                var writer = RESPWriter()
                let request = BrokerRequest.append(room: room, epoch: 5, content: content, others: others)
                let encoded = try codec.encode(request, isBusy: isBusy, into: &writer)
                let isCall = String(buffer: writer.buffer).contains("martlet_append")
                #expect(isCall == (others != nil && !isBusy))
                #expect(isCall != String(buffer: writer.buffer).contains("XADD"))
                // The names under which metrics count them.
                let name = RedisCodec.Operation(rawValue: encoded.operation).map { "\($0)" }
                #expect(name == (isCall ? "announce" : "append"))
            }
        }
    }

    @Test func onlyCallsOfFunctionsKeepTheirRequest() throws {
        for request in try requests() {
            var writer = RESPWriter()
            let encoded = try codec.encode(request, into: &writer)
            let isCall =
                writer.buffer.getString(at: 0, length: min(14, writer.buffer.readableBytes))?.contains("FCALL") == true
            if isCall { #expect(encoded.keepsRequest, "\(request)") }
        }
    }
}
