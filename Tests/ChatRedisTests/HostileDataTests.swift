import ChatCore
import ChatJSON
import ChatWire
import Foundation
import TestSupport
import Testing

import struct NIOCore.ByteBuffer

@testable import ChatRedis

/// Data of strangers, with numbers near every power of two: nothing traps, no value is out of bounds, and broken parts
/// do not hide valid ones. MARTLET_FUZZ is the number of cases (the default takes seconds), MARTLET_FUZZ_SEED repeats a
/// run.
@Suite struct HostileDataTests {
    private let codec = RedisCodec()
    private let room: RoomName
    private let node: NodeID
    private let rounds: Int
    private let seed: UInt64

    init() throws {
        room = try RoomName("lobby")
        node = try NodeID("n1-00000001")
        let environment = ProcessInfo.processInfo.environment
        rounds = environment["MARTLET_FUZZ"].flatMap { Int($0) } ?? 4_000
        seed = environment["MARTLET_FUZZ_SEED"].flatMap { UInt64($0) } ?? .random(in: 0...999_999_999)
    }

    private func event(_ json: String) -> ChannelEvent? {
        Array(json.utf8).withUnsafeBufferPointer { try? codec.event(ofPayload: $0) }
    }

    private func isBound(_ event: ChannelEvent) -> Bool {
        switch event {
        case .message(let message, let base): message.position.isWithinBounds && PositionBounds.holds(base ?? 0)
        case .epoch(let epoch, let base, let nodes, _, _):
            [epoch, base].allSatisfy(PositionBounds.holds) && nodes.values.allSatisfy(PositionBounds.holds)
        case .gone(_, let value, let nodes, let last):
            PositionBounds.holds(value) && last.isWithinBounds && nodes.values.allSatisfy(PositionBounds.holds)
        case .presence(let notice): notice.position.isWithinBounds && notice.after.isWithinBounds
        case .signal(let signal): signal.data.map { isReadable($0) } ?? true
        case .reads(let marks):
            marks.values.allSatisfy { $0.position.isWithinBounds && $0.amendments <= PositionBounds.largest }
        case .notice(let notice):
            notice.position?.isWithinBounds ?? true && PositionBounds.holds(notice.unread ?? 0)
        }
    }

    private func isReadable(_ json: String) -> Bool { Array(json.utf8).withUnsafeBytes { JSONData.problem($0) == nil } }

    @Test func noPayloadTrapsOrBringsANumberBeyondBounds() {
        var wild = WildData(seed: seed)
        var read = 0
        for _ in 0..<rounds {
            let payload = wild.payload()
            guard let event = event(payload) else { continue }
            read += 1
            #expect(isBound(event), "seed \(seed): \(payload)")
            if case .message(let message, _) = event, let data = message.content.data {
                #expect(isReadable(data), "seed \(seed): \(payload)")
            }
        }
        #expect(read > rounds / 50, "seed \(seed): \(read) of \(rounds) were events at all")
    }

    // MARK: Replies

    private func bulk(_ text: String) -> String { "$\(text.utf8.count)\r\n\(text)\r\n" }
    private func array(_ parts: [String]) -> String { "*\(parts.count)\r\n" + parts.joined() }

    private func decode(_ request: BrokerRequest, _ replies: [String]) throws -> (RedisDecoded, IgnoredKinds) {
        var writer = RESPWriter()
        let encoded = try codec.encode(request, into: &writer)
        let reader = try RESPReader()
        var bytes = ByteBuffer(string: replies.joined())
        try reader.read(&bytes) { true }
        let pending = RedisPending(
            operation: encoded.operation, number: encoded.number, request: encoded.keepsRequest ? request : nil)
        let decoded = codec.decode(pending, RESPReplies(arena: reader.arena))
        return (decoded, reader.arena.ignored)
    }

    /// A view as the functions return it, with one part or more replaced by random data.
    private func view(_ wild: inout WildData) -> String {
        let e = wild.epoch
        func some(_ sound: String, _ spoiled: (inout WildData) -> String) -> String {
            wild.oneIn(4) ? spoiled(&wild) : sound
        }
        return array([
            some(array([bulk("ok")])) { w in
                array([bulk(w.pick(["gap", "ok", "rewound", "x"])), bulk(w.number()), bulk(w.number())])
            },
            bulk(some("\(e)-2") { $0.position() }), bulk(some("1") { $0.number() }),
            bulk(some("\(e - 9)") { $0.number() }),
            array(
                [bulk("\(e - 9)-0")] + (0..<wild.below(3)).map { _ in bulk(wild.position()) } + [bulk("\(e)-1")]),
            array(
                [bulk("n1-00000001"), bulk("\(e)")] + [
                    bulk(some("n2-00000002") { $0.name() }), bulk(some("5") { $0.number() }),
                ]),
            array(
                (0..<wild.below(4)).map { _ in
                    array([
                        bulk(wild.position()),
                        array([
                            bulk("user"), bulk(wild.name()), bulk("at"), bulk(wild.number()), bulk("data"),
                            bulk(wild.json()),
                        ]),
                    ])
                }),
            bulk(some("0") { $0.number() }), bulk("0"),
        ])
    }

    @Test func noReplyTrapsOrBringsANumberBeyondBounds() throws {
        var wild = WildData(seed: seed)
        var readable = 0
        for _ in 0..<rounds {
            let reply = view(&wild)
            guard
                case .completed(.success(.view(let view))) = try decode(
                    .view(room: room, after: nil, page: PageBounds(count: 5)), [reply]
                ).0
            else { continue }
            readable += 1
            let numbers = [view.epoch, view.last, view.base, view.branch, view.chain.history] + view.nodes.values
            #expect(numbers.allSatisfy(PositionBounds.holds), "seed \(seed): \(reply)")
            #expect(view.chain.links.allSatisfy { PositionBounds.holds($0.epoch) && PositionBounds.holds($0.base) })
            #expect(view.entries.allSatisfy { $0.position.isWithinBounds && ($0.content.data.map(isReadable) ?? true) })
        }
        #expect(readable > rounds / 4, "seed \(seed)")
        let content = MessageContent(user: try UserID("ana"), at: 1, text: "x", key: "k")
        let once = BrokerRequest.once(
            OnceRequest(room: room, node: node, epoch: 5, known: 0, sends: [OnceSend(content: content)]))
        let change = BrokerRequest.presence(
            PresenceRequest(room: room, node: node, value: 5, changes: []))
        for _ in 0..<rounds / 4 {
            let outcome = array([
                bulk(wild.pick(["stored", "repeated", "unknown"])), bulk(wild.position()), bulk(wild.number()),
            ])
            _ = try decode(once, [array([bulk(wild.number()), bulk(wild.number()), array([outcome])])])
            let names = (0..<4).map { _ in bulk(wild.name()) }
            _ = try decode(
                change, [array([bulk(wild.position()), bulk(wild.position()), bulk(wild.number()), array(names)])])
            let roster = array([
                bulk(wild.position()), bulk(wild.number()), bulk(wild.number()),
                array([bulk(wild.name()), bulk(wild.json())]),
            ])
            _ = try decode(.roster(room: room), [roster])
            _ = try decode(.holders(room: room), [array([bulk(wild.name()), bulk(wild.number())])])
            _ = try decode(.nodes, [array([bulk(wild.name()), bulk(wild.json())])])
            _ = try decode(.rooms(of: node), [array([bulk(wild.number()), array([bulk(wild.name())])])])
            _ = try decode(.say(room: room, content: content), [array([bulk(wild.position()), bulk("stored")])])
            let entries = array([array([bulk(wild.position()), array([bulk("at"), bulk(wild.number())])])])
            let query = HistoryQuery(anchor: .after(Position(epoch: 1, seq: PositionBounds.largest)), limit: 5)
            _ = try decode(
                .history(room: room, query: query),
                [array([entries, bulk(wild.position()), bulk("0"), bulk(wild.number())])])
        }
    }

    @Test func whatOneReportSaysIsBoundSoThatAllCanBeAddedUp() throws {
        var wild = WildData(seed: seed)
        for _ in 0..<rounds {
            let number = wild.number()
            let json =
                #"{"sessions":\#(number),"rooms":\#(number),"messages":\#(number),"clock":\#(number),"started":\#(number)}"#
            let report = Array(json.utf8).withUnsafeBytes { NodeReportReader.report(of: node, $0) }
            #expect((0...1_000_000_000).contains(report.sessions) && (0...1_000_000_000).contains(report.rooms))
            #expect(PositionBounds.holds(report.clock) && PositionBounds.holds(report.messages))
            _ = Array(wild.json().utf8).withUnsafeBytes { RosterReader.devices(of: $0) }
            _ = Array(wild.json().utf8).withUnsafeBytes { NodeReportReader.report(of: node, $0) }
        }
    }

    // MARK: The sound rest

    @Test func oneBrokenThingDoesNotHideTheRest() throws {
        func reply(
            links: [String] = ["5-0", "7-1"], nodes: [String] = ["n1-00000001", "7"], branch: String = "5",
            history: String = "5", ids: [String] = ["7-2"]
        ) -> String {
            array([
                array([bulk("ok")]), bulk("7-2"), bulk("1"), bulk(history), array(links.map(bulk)),
                array(nodes.map(bulk)),
                array(ids.map { array([bulk($0), array([bulk("text"), bulk("a")])]) }), bulk(branch), bulk("0"),
            ])
        }
        func view(_ reply: String, notes kinds: IgnoredKinds) throws -> RoomView {
            let (decoded, ignored) = try decode(.view(room: room, after: nil, page: PageBounds(count: 5)), [reply])
            #expect(ignored == kinds)
            guard case .completed(.success(.view(let view))) = decoded else { throw StoreFailure("\(decoded)") }
            return view
        }
        let sound = try view(reply(), notes: [])
        let max = "18446744073709551615"
        #expect(try view(reply(nodes: ["n1-00000001", "7", "x{y", "3", "n3", max]), notes: .init(.node)) == sound)
        #expect(try view(reply(branch: max), notes: .init(.meta)).branch == 0)
        #expect(try view(reply(history: "never"), notes: .init(.meta)) == sound)
        #expect(try view(reply(ids: ["1-\(max)", "7-2"]), notes: .init(.entry)) == sound)
        let cut = try view(reply(links: ["5-0", "x", "7-1"]), notes: .init(.link)).chain
        #expect(cut == EpochChain(links: [EpochLink(epoch: 7, base: 1)], history: 7))
        let roster = array([
            bulk("1-\(max)"), bulk("0"), ":3\r\n",
            array([bulk("ana"), bulk(#"{"n":["a"],"m":7}"#), bulk("eve"), bulk("["), bulk("\u{3164}"), bulk("{}")]),
        ])
        let (decoded, ignored) = try decode(.roster(room: room), [roster])
        guard case .completed(.success(.roster(let snapshot))) = decoded else { throw StoreFailure("\(decoded)") }
        #expect(snapshot.members.keys.map(\.text) == ["ana"] && snapshot.position == Position(epoch: 0, seq: 0))
        #expect(ignored == IgnoredKinds(.roster))
    }

    @Test func dataThatNotEveryReaderTakesIsShownAsAString() throws {
        for data in ["1e999", String(repeating: "9", count: 4_301), String(repeating: "[", count: 40), "{", "NaN"] {
            let entries = array([array([bulk("5-1"), array([bulk("data"), bulk(data)])])])
            let entry = array([entries, bulk("5-1"), ":0\r\n", ":0\r\n"])
            let query = HistoryQuery(anchor: .newest, limit: 5)
            guard
                case .completed(.success(.history(let page))) = try decode(.history(room: room, query: query), [entry])
                    .0
            else { throw StoreFailure("no page") }
            #expect(page.messages.first?.content.data == "\"\(data)\"")
        }
    }
}
