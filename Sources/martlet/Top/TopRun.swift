import ChatRedis
import Glibc
import NIOPosix
import RedisSchema
import UnixSignals

/// The options of `martlet top`.
struct TopOptions: Sendable {
    var target: RedisTarget
    var keys: RedisKeys
    var interval: Duration = .seconds(2)
    /// The number of views to show; nil until the user ends it.
    var count: Int?
    var roomLimit = 1_000
    /// The number of rooms in plain lines and JSON.
    var roomsShown = 20
    var json = false
}

/// Takes a sample again and again, and shows it. The rules are in ``TopPlan``, ``TopWatch`` and ``TopScreen``.
actor TopRun {
    private let options: TopOptions
    private let queries: TopQueries
    private let eventQueries: TopEventQueries
    private var plan: TopPlan
    private var watch = TopWatch()
    private var servers: RedisServers?
    private let raw = Terminal.RawMode()
    /// Whether a screen is redrawn; otherwise lines follow lines.
    private let isLive: Bool
    private var lastView: TopView?
    private var trouble: String?
    private var isEnding = false

    init(_ options: TopOptions) {
        self.options = options
        queries = TopQueries(keys: options.keys)
        eventQueries = TopEventQueries(keys: options.keys)
        plan = TopPlan(limit: options.roomLimit)
        isLive = Terminal.outputIsTerminal && !options.json && options.count == nil
    }

    /// Returns the exit code: 0, or 2 if Redis could not be read at the beginning (or at all, if the number of views is
    /// limited).
    func run() async -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        do throws(RedisSetupError) {
            servers = try await RedisServers.connect(options.target, name: "top")
        } catch {
            StandardError.write("top: \(error)\n")
            return 2
        }
        if isLive {
            if Terminal.inputIsTerminal { raw.enter() }
            Terminal.write("\u{1B}[?1049h\u{1B}[?25l")
        }
        return await withTaskGroup(of: Int32?.self) { tasks -> Int32 in
            tasks.addTask { await self.lookAgainAndAgain() }
            tasks.addTask { await self.watchSignals() }
            if isLive, Terminal.inputIsTerminal { tasks.addTask { await self.watchKeys() } }
            var code: Int32 = 0
            for await result in tasks {
                guard let result else { continue }
                code = result
                break
            }
            isEnding = true
            if isLive {
                Terminal.write("\u{1B}[?25h\u{1B}[?1049l")
                raw.leave()
            }
            // The reader of the keyboard cannot be woken, so the process ends without it.
            exit(code)
        }
    }

    // MARK: Looking

    private func lookAgainAndAgain() async -> Int32 {
        // Rates need two samples, so a limited number of views begins with an additional sample.
        var isFirst = options.count != nil
        var left = options.count ?? .max
        while !Task.isCancelled, !isEnding {
            let view = await look()
            if view == nil, options.count != nil {
                StandardError.write("top: \(trouble ?? "Redis cannot be read")\n")
                return 2
            }
            if let view, !isFirst {
                show(view)
                left -= 1
                if left == 0 { return 0 }
            }
            isFirst = false
            do { try await Task.sleep(for: options.interval) } catch { break }
        }
        return 0
    }

    /// Takes a sample. Nil if Redis could not be read; ``trouble`` says why, and the next sample connects again.
    private func look() async -> TopView? {
        do {
            let view = watch.look(try await sample())
            plan.saw(view.rooms.map { ($0.name, $0.messagesPerSecond ?? 0) })
            trouble = nil
            lastView = view
            return view
        } catch {
            let text = "\(error)"
            if trouble != text, !isLive, options.count == nil { StandardError.write("top: \(text)\n") }
            trouble = text
            if let lastView, isLive { show(lastView) }
            return nil
        }
    }

    private func sample() async throws -> TopSample {
        let servers = try await connected()
        let began = ContinuousClock.now
        var sample = try await begin(servers)
        var count = sample.commands
        var commands = queries.nodes(sample.nodes, cursors: plan.cursors, slice: options.roomLimit)
        let slices = queries.readNodes(
            try await ask(servers, commands), cursors: plan.cursors, into: &sample)
        count += commands.count
        let rooms = plan.rooms(slices)
        sample.roomsKnown = plan.known ?? sample.roomsKnown
        // In parts, so that Redis serves others in between.
        for start in stride(from: 0, to: rooms.count, by: 100) {
            let piece = rooms[start..<min(start + 100, rooms.count)]
            commands = [["TIME"]] + piece.flatMap { queries.room($0.name) }
            let replies = try await ask(servers, commands)
            count += commands.count
            let time = replies.first.map(TopQueries.time) ?? sample.time
            for (index, room) in piece.enumerated() {
                let first = 1 + index * TopQueries.commandsPerRoom
                var seen = queries.readRoom(
                    room.name, replies[first..<first + TopQueries.commandsPerRoom], at: time)
                seen.holders = room.holders
                sample.rooms.append(seen)
            }
        }
        commands = eventQueries.beginning
        sample.events = eventQueries.begin(try await ask(servers, commands), at: sample.time)
        count += commands.count
        if var events = sample.events {
            commands = eventQueries.partitions(events)
            eventQueries.read(try await ask(servers, commands), at: sample.time, into: &events)
            sample.events = events
            count += commands.count
        }
        sample.commands = count
        sample.duration = ContinuousClock.now - began
        return sample
    }

    private func begin(_ servers: RedisServers) async throws -> TopSample {
        let (replies, each) = try await ask(servers, queries.beginning, each: queries.server)
        let infos = Dictionary(each.map { ($0.server, $0[0]) }) { $1 }
        var sample = try queries.begin(replies, servers: infos)
        if options.target.isCluster { sample.server.masters = await servers.count }
        sample.commands = queries.beginning.count + queries.server.count * each.count
        return sample
    }

    private func ask(_ servers: RedisServers, _ commands: [[String]]) async throws -> [RedisValue] {
        try await ask(servers, commands, each: []).replies
    }

    private func ask(
        _ servers: RedisServers, _ commands: [[String]], each: [[String]]
    ) async throws -> (replies: [RedisValue], each: [RedisServers.Answer]) {
        do {
            return try await servers.ask(commands, each: each)
        } catch {
            await servers.close()
            self.servers = nil
            throw error
        }
    }

    private func connected() async throws -> RedisServers {
        if let servers { return servers }
        let made = try await RedisServers.connect(options.target, name: "top", timeout: .seconds(2))
        servers = made
        return made
    }

    // MARK: Showing

    private func show(_ view: TopView) {
        let written: Bool
        if options.json {
            written = Terminal.write(view.json(rooms: options.roomsShown) + "\n")
        } else if isLive {
            let size = Terminal.size
            var screen = TopScreen(
                address: options.target.description, columns: max(40, size.columns), rows: max(8, size.rows),
                clock: { Terminal.clock($0, seconds: true) })
            screen.colour = Terminal.wantsColour
            var lines = screen.lines(view)
            if let trouble {
                let text = TerminalText.cut("STALE: " + TerminalText.harmless(trouble), to: screen.columns)
                lines[lines.count - 1] = screen.colour ? "\u{1B}[1;31m\(text)\u{1B}[0m" : text
            }
            written = Terminal.write("\u{1B}[H" + lines.map { $0 + "\u{1B}[K" }.joined(separator: "\r\n") + "\u{1B}[J")
        } else if Terminal.outputIsTerminal {
            var screen = TopScreen(
                address: options.target.description, columns: max(40, Terminal.size.columns), rows: nil,
                clock: { Terminal.clock($0, seconds: true) })
            screen.colour = Terminal.wantsColour
            written = Terminal.write(screen.lines(view).joined(separator: "\n") + "\n")
        } else {
            written = Terminal.write(view.plainLines(rooms: options.roomsShown).joined(separator: "\n") + "\n")
        }
        if !written { isEnding = true }
    }

    private func watchSignals() async -> Int32? {
        for await signal in await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup, .sigwinch) {
            guard signal == .sigwinch else { return 0 }
            if isLive, let lastView { show(lastView) }
        }
        return nil
    }

    private func watchKeys() async -> Int32? {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        var keys = KeyDecoder()
        while let bytes = try? await pool.runIfActive({ Terminal.read() }) {
            for key in keys.decode(bytes) {
                switch key {
                case .interrupt, .endOfInput, .text("q"), .text("Q"): return 0
                case .text, .enter, .backspace, .delete, .left, .right, .up, .down, .home, .end, .wordLeft, .wordRight,
                    .killToStart, .killToEnd, .killWord, .tab, .redraw, .suspend, .paste:
                    if let lastView { show(lastView) }
                }
            }
            keys.paused()
        }
        return nil
    }
}
