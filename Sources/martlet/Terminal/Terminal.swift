import Glibc

/// The terminal of this process: its size, its raw mode, and output.
enum Terminal {
    /// Columns and rows of the terminal on standard output; 80 × 24 if they are unknown.
    static var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return (80, 24)
        }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }
    static var outputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Whether to use colours: see https://no-color.org, and a terminal without capabilities gets none.
    static var wantsColour: Bool {
        guard getenv("NO_COLOR").map({ $0.pointee == 0 }) ?? true else { return false }
        return getenv("TERM").map { String(cString: $0) != "dumb" } ?? false
    }

    /// Writes all bytes. Returns false if the reader has gone.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32 = STDOUT_FILENO) -> Bool {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else if errno == EAGAIN {
                var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wait, 1, 1_000)
            } else if errno != EINTR {
                return false
            }
        }
        return true
    }

    /// Reads what is available, waiting for at least one byte. Nil at the end, and for a terminal that has gone. Blocks
    /// its thread.
    static func read(upTo count: Int = 65_536) -> [UInt8]? {
        while true {
            var failure: Int32 = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                let result = Glibc.read(STDIN_FILENO, buffer.baseAddress, count)
                failure = result < 0 ? errno : 0
                filled = max(0, result)
            }
            if !bytes.isEmpty { return bytes }
            switch failure {
            case EINTR: continue
            case EAGAIN:
                var wait = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                poll(&wait, 1, -1)
            default: return nil
            }
        }
    }

    /// Standard input without echo, line editing and signals, until ``leave()``.
    final class RawMode {
        private var before = termios()
        private var isRaw = false

        func enter() {
            guard !isRaw, tcgetattr(STDIN_FILENO, &before) == 0 else { return }
            var raw = before
            raw.c_iflag &= ~tcflag_t(ICRNL | IXON | BRKINT | ISTRIP | INPCK)
            raw.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG | IEXTEN)
            isRaw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0
        }

        func leave() {
            guard isRaw else { return }
            isRaw = false
            _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &before)
        }
    }

    /// Hours and minutes in the time zone of this machine.
    static func clock(_ milliseconds: UInt64, seconds: Bool = false) -> String {
        var time = time_t(clamping: milliseconds / 1_000)
        var parts = tm()
        guard localtime_r(&time, &parts) != nil else { return "--:--" }
        func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let short = "\(two(parts.tm_hour)):\(two(parts.tm_min))"
        return seconds ? short + ":\(two(parts.tm_sec))" : short
    }
}
