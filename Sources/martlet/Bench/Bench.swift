import ArgumentParser

/// `martlet bench`: loads nodes with rooms full of members, and accounts for every delivery.
struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Load nodes with rooms of members, check every delivery, and measure the cost.",
        discussion: """
            Opens rooms × members sessions, each in one room, spread over the nodes. With --rate, the messages of \
            each room are sent when they are due, and latency is measured from then on; with --flat-out, this many \
            messages of each room are kept in flight. The deliveries of every member are compared with the positions \
            of the room: nothing missing or repeated, and one order for all. Exits 1 if a delivery is wrong, and 2 \
            if nothing could be measured.

            Nodes refuse requests beyond their limits: for high rates start them with a higher \
            MARTLET_LIMIT_REQUESTS_PER_SECOND.
            """)

    @Option(help: "A node, ws://host:port[/ws]; may be given more than once.")
    var url: [String] = []

    @Option(help: "Rooms.")
    var rooms = 1

    @Option(help: "Members of each room.")
    var members = 100

    @Option(help: "Messages a second, in each room.")
    var rate: Double = 10

    @Option(help: "Messages sent at a time.")
    var burst = 1

    @Option(help: "Instead of a rate, keep this many messages of each room in flight.")
    var flatOut: Int?

    @Option(help: "Bytes of each message's text, from 32.")
    var size = 100

    @Option(help: "Seconds of measurement.")
    var seconds: Double = 10

    @Option(help: "Seconds of warm-up.")
    var warmup: Double = 2

    @Flag(help: "All members of a room on one node.")
    var oneNode = false

    @Option(help: "Spread the members of a room over this many nodes only.")
    var nodesPerRoom: Int?

    @Option(
        name: .customLong("protocol"),
        help: "Protocol of the servers: \(BenchDialect.allCases.map(\.rawValue).joined(separator: ", ")).")
    var dialect = BenchDialect.martlet

    @Flag(help: "Acknowledge received data at once (TCP_QUICKACK), for servers that leave Nagle's algorithm on.")
    var quickAck = false

    @Flag(help: "Send nothing: only hold the connections, and measure their cost.")
    var idle = false

    @Option(help: "Instead of sending, connect, join a room, leave and close this many times a second.")
    var churn: Double?

    @Option(help: "Instead of loading nodes, measure what this list of words (MARTLET_WORDS) costs a message.")
    var words: String?

    @Option(help: "Process of a node, whose CPU and memory are measured; may be given more than once.")
    var serverPid: [Int] = []

    @Option(help: "Process of Redis.")
    var redisPid: [Int] = []

    @Option(help: "Threads of the generator; each has its own rooms.")
    var threads = 1

    @Option(help: "Prefix of the names of rooms and users.")
    var prefix = "bench-"

    @Flag(help: "Write one JSON object to standard output.")
    var json = false

    func validate() throws {
        if url.isEmpty, words == nil { throw ValidationError("--url is needed: a node, ws://host:port") }
        guard rooms > 0, members > 0, rooms <= 1_000_000 / members else {
            throw ValidationError("--rooms × --members must be from 1 to 1000000")
        }
        guard rate > 0, rate <= 1_000_000 else { throw ValidationError("--rate must be above 0, at most 1000000") }
        guard (1...10_000).contains(burst) else { throw ValidationError("--burst must be from 1 to 10000") }
        guard (1...10_000).contains(flatOut ?? 1) else { throw ValidationError("--flat-out must be from 1 to 10000") }
        guard (BenchLabel.size...60_000).contains(size) else {
            throw ValidationError("--size must be from \(BenchLabel.size) to 60000")
        }
        guard seconds > 0, seconds <= 86_400, warmup >= 0, warmup <= 3_600 else {
            throw ValidationError("--seconds must be above 0, --warmup not below")
        }
        guard (0.1...100_000).contains(churn ?? 1) else { throw ValidationError("--churn must be from 0.1 to 100000") }
        guard (1...10_000).contains(nodesPerRoom ?? 1) else {
            throw ValidationError("--nodes-per-room must be from 1 to 10000")
        }
        guard churn == nil || dialect == .martlet else {
            throw ValidationError("--churn supports only Martlet's protocol, not \(dialect.rawValue)")
        }
        guard (1...64).contains(threads) else { throw ValidationError("--threads must be from 1 to 64") }
        let allowed = prefix.utf8.allSatisfy { ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A || $0 == 0x2D || $0 == 0x5F }
        guard allowed, prefix.utf8.count <= 32 else {
            throw ValidationError("--prefix: up to 32 letters, hyphens and underscores")
        }
    }

    func run() async throws {
        do {
            let isGood = try await measure()
            if !isGood { throw ExitCode(1) }
        } catch let error as BenchError {
            StandardError.write("bench: \(error.message)\n")
            throw ExitCode(2)
        } catch let error as ReplayError {
            StandardError.write("bench: \(error.message)\n")
            throw ExitCode(2)
        }
    }

    private func measure() async throws -> Bool {
        if let words {
            let run = try BenchWords(file: words, size: size, seconds: seconds)
            let figures = run.measure()
            print(json ? run.json(figures) : run.text(figures))
            return true
        }
        var plan = BenchPlan()
        plan.nodes = url.count
        plan.rooms = rooms
        plan.members = members
        plan.nodesPerRoom = oneNode ? 1 : nodesPerRoom
        plan.dialect = dialect
        plan.acksAtOnce = quickAck
        plan.size = size
        plan.pace = flatOut.map { .closed(inFlight: $0) } ?? .open(perSecond: rate, burst: burst)
        plan.warmup = warmup
        plan.seconds = seconds
        let processes =
            serverPid.map { BenchProcess(pid: $0, role: .node) } + redisPid.map { BenchProcess(pid: $0, role: .redis) }
        let prefix = prefix + String(UInt32.random(in: 0...0xFFFFFF), radix: 36) + "-"
        try FileLimit.raise(toHold: plan.connections)
        if let churn {
            let run = BenchChurn(plan: plan, urls: url, prefix: prefix, perSecond: churn, processes: processes)
            let outcome = try await run.measure()
            print(json ? outcome.json : outcome.text)
            return outcome.isGood
        }
        let run = BenchRun(
            plan: plan, urls: url, prefix: prefix, threads: threads, isIdle: idle, processes: processes,
            progress: { StandardError.write("bench: \($0)\n") })
        let outcome = try await run.measure()
        print(json ? BenchReport.json(outcome) : BenchReport.text(outcome))
        return outcome.result.isExact || idle && outcome.result.troubles.isEmpty
    }
}

extension BenchDialect: ExpressibleByArgument {}
