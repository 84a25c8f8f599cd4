import ChatGateway
import ChatJSON
import ChatWire
import Glibc
import MartletClient
import NIOPosix
import UnixSignals

/// The options of a chat.
struct ChatOptions: Sendable {
    var urls: [String]
    var room: RoomName
    var identity: ClientIdentity
    var history: Int
    var json = false
    /// Whether the chat continues after the input has ended.
    var listens = false
    /// The PEM file of a private authority, for `wss:` addresses.
    var authorityFile: String?
}

/// A chat in this process: the client, the keyboard and the screen around ``ChatModel``. Everything passes through this
/// actor, so a slow terminal slows the connection down, and nothing piles up.
actor ChatApp {
    enum Face {
        /// A person at a terminal.
        case terminal
        /// Lines in, and lines out.
        case pipe
    }

    private let options: ChatOptions
    private let client: MartletClient
    private let face: Face
    private var model: ChatModel
    private var editor = LineEditor()
    private var keys = KeyDecoder()
    private var screen = ChatScreen()
    private var text: ChatText
    private let raw = Terminal.RawMode()
    private var code: Int32 = 0
    private var lastLoss: DisconnectReason?
    private var isClosing = false
    /// The input waits here while the largest number of messages wait for their answers, or while it is not known in
    /// which room the next line is to be said.
    private var roomToSend: CheckedContinuation<Void, Never>?
    private static let maxPending = 256

    init(_ options: ChatOptions) throws(ClientError) {
        self.options = options
        var client = ClientOptions()
        client.sendWindow = 1
        client.authorityFile = options.authorityFile
        self.client = try MartletClient(urls: options.urls, identity: options.identity, options: client)
        let isTerminal = Terminal.inputIsTerminal && Terminal.outputIsTerminal && !options.json
        face = isTerminal ? .terminal : .pipe
        let user = options.identity.user ?? ""
        model = ChatModel(
            user: user, room: options.room, history: options.history,
            keyPrefix: "chat-" + String(UInt64.random(in: .min ... .max), radix: 36),
            endsWithInput: !options.listens, reads: isTerminal)
        text = ChatText(user: user) { Terminal.clock($0) }
        if isTerminal { text.colour = Terminal.wantsColour }
    }

    /// Returns the exit code at the end.
    func run() async -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        if face == .terminal {
            raw.enter()
            // Bracketed paste, so that the line ends in pasted text are not taken for Enter.
            Terminal.write("\u{1B}[?2004h")
        }
        perform(model.started())
        await withTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await self.watchInput() }
            tasks.addTask { await self.watchSignals() }
            tasks.addTask { await self.watchTime() }
            tasks.addTask { _ = try? await self.client.connect() }
            await watchEvents()
            tasks.cancelAll()
            finish()
            // The reader of standard input cannot be woken, so the process ends without it.
            exit(code)
        }
        return code
    }

    private func finish() {
        if face == .terminal {
            Terminal.write(screen.erase(columns: Terminal.size.columns) + "\u{1B}[?2004l")
            raw.leave()
        }
    }

    // MARK: What happens

    private func watchEvents() async {
        for await event in client.events { perform(model.received(event, now: now)) }
    }

    private func watchTime() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            perform(model.ticked(now: now))
        }
    }

    private func watchSignals() async {
        // A broken pipe shows when writing; a lost terminal ends its input.
        for await signal in await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup, .sigwinch) {
            switch signal {
            case .sigwinch: draw([])
            default: perform(model.quit())
            }
        }
    }

    private func watchInput() async {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        var lines = LineSplitter()
        while let bytes = try? await pool.runIfActive({ Terminal.read() }) {
            switch face {
            case .terminal: pressed(keys.decode(bytes))
            case .pipe:
                for line in lines.add(bytes) { await entered(line) }
            }
        }
        if let line = lines.rest() { await entered(line) }
        perform(face == .terminal ? model.quit() : model.inputEnded(now: now))
    }

    private func pressed(_ keys: [Key]) {
        for key in keys {
            switch editor.handle(key) {
            case .edited:
                if !editor.characters.isEmpty, editor.characters.first != "/" { perform(model.typed(now: now)) }
            case .entered(let line): perform(model.entered(line, now: now))
            case .quit: perform(model.quit())
            case .redraw:
                Terminal.write("\u{1B}[H\u{1B}[2J")
                screen = ChatScreen()
            case .suspend: suspend()
            case .complete: complete()
            case .doNothing: break
            }
        }
        self.keys.paused()
        draw([])
    }

    private func entered(_ line: LineSplitter.Line) async {
        while !takesInput {
            await withCheckedContinuation { roomToSend = $0 }
        }
        switch line {
        case .text(let text): perform(model.entered(text, now: now))
        case .tooLong: perform(model.enteredTooLong())
        }
    }

    /// Ctrl-Z: returns the terminal to the shell until the process is continued.
    private func suspend() {
        guard face == .terminal else { return }
        Terminal.write(screen.erase(columns: Terminal.size.columns) + "\u{1B}[?2004l")
        raw.leave()
        kill(getpid(), SIGSTOP)
        raw.enter()
        Terminal.write("\u{1B}[?2004h")
    }

    private func complete() {
        guard let line = ChatCompletion.complete(editor.text, model) else { return }
        editor.replace(with: line)
    }

    // MARK: What is done

    private func perform(_ actions: [ChatModel.Action]) {
        var lines: [String] = []
        for action in actions {
            switch action {
            case .show(let line): lines += rendered(line)
            case .join(let room, let history):
                client.enqueueJoin(room, history: history) { result in Task { await self.joinFinished(room, result) } }
            case .leave(let room): Task { try? await client.leave(room) }
            case .send(let room, let text, let key):
                client.enqueueSend(SendRequest(room: room, text: text, key: key)) { result in
                    Task { await self.sendFinished(key, result) }
                }
            case .history(let room, let before, let limit): readHistory(room, before, limit)
            case .roster(let room, let cursor): readRoster(room, cursor)
            case .signalTyping(let room): client.signal(room, "typing")
            case .amend(let request): amend(request)
            case .direct(let user): begin(user)
            case .inbox: readInbox()
            case .seen(let room, let user): readSeen(room, user)
            case .read(let room, let position): client.read(room, upTo: position)
            case .quit(let code): quit(code)
            }
        }
        draw(lines)
        if takesInput {
            roomToSend?.resume()
            roomToSend = nil
        }
    }

    /// Whether the next line of a pipe is read.
    private var takesInput: Bool {
        isClosing || (model.pending.count < Self.maxPending && !model.isBeginning)
    }

    private func quit(_ code: Int32) {
        self.code = code
        guard !isClosing else { return }
        isClosing = true
        // Earlier events are still read and shown; then the events end, and so does the run.
        Task { await client.close() }
    }

    private func joinFinished(_ room: RoomName, _ result: Result<JoinedRoom, ClientError>) {
        switch result {
        case .success: perform(model.joinFinished(room))
        case .failure(let error): perform(model.joinFailed(room, error))
        }
    }

    private func sendFinished(_ key: String, _ result: Result<Sent, ClientError>) {
        perform(model.sendFinished(key, result, now: now))
    }

    private func readHistory(_ room: RoomName, _ before: Position?, _ limit: Int) {
        Task {
            let anchor = before.map { HistoryQuery.Anchor.before($0) } ?? .newest
            do throws(ClientError) {
                let page = try await client.history(room, HistoryQuery(anchor: anchor, limit: limit))
                perform(model.historyRead(room, .success(page)))
            } catch {
                perform(model.historyRead(room, .failure(error)))
            }
        }
    }

    private func readRoster(_ room: RoomName, _ cursor: String?) {
        Task {
            do throws(ClientError) {
                let page = try await client.roster(room, cursor: cursor)
                perform(model.rosterRead(room, .success(page)))
            } catch {
                perform(model.rosterRead(room, .failure(error)))
            }
        }
    }

    private func amend(_ request: AmendRequest) {
        Task {
            do throws(ClientError) {
                try await client.amend(request)
                perform(model.amended())
            } catch {
                perform(model.failed(request.operation.name, error))
            }
        }
    }

    private func begin(_ user: UserID) {
        Task {
            do throws(ClientError) {
                perform(model.begun(try await client.direct(with: user)))
            } catch {
                perform(model.notBegun(user, error))
            }
        }
    }

    private func readInbox() {
        Task {
            do throws(ClientError) {
                perform(model.inboxRead(try await client.inbox()))
            } catch {
                perform(model.failed("the inbox", error))
            }
        }
    }

    /// Of a conversation of very many as many as one request may name.
    private func readSeen(_ room: RoomName, _ user: UserID?) {
        Task {
            do throws(ClientError) {
                var users = user.map { [$0] } ?? []
                if user == nil {
                    let list = try await client.participants(of: room)
                    users = (list?.participants.keys.sorted { $0.text < $1.text } ?? [])
                        .filter { $0.text != options.identity.user }
                    users = Array(users.prefix(InboxRequest.mostNames))
                }
                let online = users.isEmpty ? OnlineUsers(online: []) : try await client.lastSeen(users)
                perform(model.seenRead(users, online))
            } catch {
                perform(model.failed("when they were last here", error))
            }
        }
    }

    // MARK: Screen

    private var now: Moment { .now }

    private func rendered(_ line: ChatLine) -> [String] {
        let clock = WallClock.milliseconds
        if options.json { return [line.json(now: clock)] }
        if case .disconnected(let reason, .some) = line {
            // Every attempt fails for the same reason, so it is shown once; on a terminal the last line counts down.
            guard reason != lastLoss else { return [] }
            lastLoss = reason
        } else if case .connected = line {
            lastLoss = nil
        }
        if face == .terminal { text.columns = max(20, Terminal.size.columns) - 1 }
        return text.lines(line, in: model.current, now: clock)
    }

    private func draw(_ lines: [String]) {
        switch face {
        case .terminal:
            guard !isClosing || !lines.isEmpty else { return }
            let columns = Terminal.size.columns
            let footer = ChatFooter(model, editor: editor, text: text, columns: columns, now: now)
            let output = screen.draw(lines, footer, columns: columns)
            if !output.isEmpty, !Terminal.write(output) { quit(1) }
        case .pipe:
            guard !lines.isEmpty else { return }
            // The reader has gone, so there is nobody to show the rest to.
            if !Terminal.write(lines.joined(separator: "\n") + "\n") { quit(1) }
        }
    }
}

/// Completes the last word of a line.
enum ChatCompletion {
    /// The line with its last word completed, if exactly one command or name in the room begins with it.
    static func complete(_ line: String, _ model: ChatModel) -> String? {
        let word = line.split(separator: " ", omittingEmptySubsequences: false).last.map(String.init) ?? ""
        guard !word.isEmpty else { return nil }
        let isFirst = word.count == line.count
        let words: [String]
        if isFirst, word.hasPrefix("/") {
            words = [
                "/join", "/leave", "/who", "/history", "/rooms", "/edit", "/delete", "/react", "/unreact", "/direct",
                "/inbox", "/seen",
                "/status", "/help", "/quit",
            ]
        } else {
            words = model.rooms[model.current]?.people.map(\.text) ?? []
        }
        let fitting = words.filter { $0.lowercased().hasPrefix(word.lowercased()) }
        guard fitting.count == 1, let only = fitting.first else { return nil }
        return String(line.dropLast(word.count)) + only + (isFirst && !word.hasPrefix("/") ? ": " : " ")
    }
}
