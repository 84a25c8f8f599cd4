import NIOCore

/// Writes Redis commands as RESP arrays of bulk strings, one after another, into one buffer: what a loop tick brings
/// leaves in one write. Nothing is allocated per command or argument (`redisFormatCommandArgv` mallocs each).
///
/// A command is `command(n)` followed by exactly n arguments. A wrong count would shift every later reply to somebody
/// else's request, so who encodes through a writer takes a ``mark`` first and goes back to it unless ``isComplete``.
///
/// Format: redis.io "RESP protocol specification", arrays and bulk strings.
public struct RESPWriter: Sendable {
    /// A place to go back to.
    public struct Mark: Sendable {
        var writerIndex: Int
        var commands: Int
    }

    /// What was written and not yet taken.
    public private(set) var buffer: ByteBuffer
    /// Commands begun since the writer was made: each brings one reply.
    public private(set) var commands = 0
    /// Arguments that the last command still lacks; negative if it got too many.
    public private(set) var missingArguments = 0
    private var argumentStart: Int?

    /// `capacity`: bytes to reserve at first; the buffer grows by itself.
    public init(capacity: Int = 4_096) {
        buffer = ByteBufferAllocator().buffer(capacity: capacity)
    }

    /// Whether every command begun has all its arguments.
    public var isComplete: Bool { missingArguments == 0 && argumentStart == nil }

    /// Where the writer is now; only between commands.
    public var mark: Mark { Mark(writerIndex: buffer.writerIndex, commands: commands) }

    /// Forgets all that was written after `mark`. The mark must be of this writer and since the last ``take()``.
    public mutating func rewind(to mark: Mark) {
        buffer.moveWriterIndex(to: mark.writerIndex)
        commands = mark.commands
        missingArguments = 0
        argumentStart = nil
    }

    /// All that was written, for one write to the channel. The writer goes on with an empty buffer.
    public mutating func take() -> ByteBuffer {
        let taken = buffer
        reset()
        return taken
    }

    /// Forgets what was written, after ``buffer`` was handed to a channel. Its room is used again if the channel is
    /// done with it.
    public mutating func reset() {
        if buffer.capacity > 1 << 18 {
            buffer = ByteBufferAllocator().buffer(capacity: 4_096)
        } else {
            buffer.clear()
        }
        missingArguments = 0
        argumentStart = nil
    }

    // MARK: Commands

    /// Begins a command of `argumentCount` arguments, its name included.
    public mutating func command(_ argumentCount: Int) {
        if !isComplete { missingArguments = .min / 2 }
        commands &+= 1
        missingArguments += argumentCount
        header(UInt8(ascii: "*"), UInt64(max(argumentCount, 0)))
    }

    /// A command whose arguments are all text: for set-up, not for hot paths.
    public mutating func command(words: [String]) {
        command(words.count)
        for word in words { argument(word) }
    }

    // MARK: Arguments

    public mutating func argument(_ text: StaticString) {
        header(UInt8(ascii: "$"), UInt64(text.utf8CodeUnitCount))
        buffer.writeStaticString(text)
        endOfLine()
        missingArguments -= 1
    }

    public mutating func argument(_ text: String) {
        header(UInt8(ascii: "$"), UInt64(text.utf8.count))
        buffer.writeString(text)
        endOfLine()
        missingArguments -= 1
    }

    public mutating func argument(_ number: UInt64) {
        header(UInt8(ascii: "$"), UInt64(Self.digits(number)))
        decimal(number)
        endOfLine()
        missingArguments -= 1
    }

    public mutating func argument(_ number: Int) {
        guard number < 0 else { return argument(UInt64(number)) }
        header(UInt8(ascii: "$"), UInt64(Self.digits(UInt64(number.magnitude)) + 1))
        buffer.writeInteger(UInt8(ascii: "-"))
        decimal(UInt64(number.magnitude))
        endOfLine()
        missingArguments -= 1
    }

    public mutating func argument(bytes: some Collection<UInt8>) {
        header(UInt8(ascii: "$"), UInt64(bytes.count))
        buffer.writeBytes(bytes)
        endOfLine()
        missingArguments -= 1
    }

    // MARK: One argument out of parts

    /// Begins an argument that is put together from parts (`<prefix>{room}:log`, `<epoch>-*`);
    /// ``append(_:)-(String)`` and its like follow, then ``endArgument()``. The parts need not be counted.
    public mutating func beginArgument() {
        // Room for the header of 10...99 bytes, by far the most; endArgument() moves the others.
        buffer.writeStaticString("$00\r\n")
        argumentStart = buffer.writerIndex
    }

    public mutating func append(_ text: StaticString) { buffer.writeStaticString(text) }
    public mutating func append(_ text: String) { buffer.writeString(text) }
    public mutating func append(_ number: UInt64) { decimal(number) }
    public mutating func append(bytes: some Collection<UInt8>) { buffer.writeBytes(bytes) }

    /// Ends the argument that ``beginArgument()`` began. Does nothing if none was.
    public mutating func endArgument() {
        guard let start = argumentStart else { return }
        argumentStart = nil
        missingArguments -= 1
        let length = buffer.writerIndex - start
        let width = Self.digits(UInt64(length))
        let shift = width - 2
        if shift != 0 {
            if shift > 0 { buffer.writeRepeatingByte(0, count: shift) }
            let offset = start - buffer.readerIndex
            buffer.withUnsafeMutableReadableBytes { bytes in
                guard let content = bytes.baseAddress.map({ $0 + offset }) else { return }
                (content + shift).copyMemory(from: content, byteCount: length)
            }
            if shift < 0 { buffer.moveWriterIndex(to: buffer.writerIndex + shift) }
        }
        let end = buffer.writerIndex
        buffer.moveWriterIndex(to: start - 5)
        header(UInt8(ascii: "$"), UInt64(length))
        buffer.moveWriterIndex(to: end)
        endOfLine()
    }

    // MARK: Bytes

    private mutating func header(_ type: UInt8, _ count: UInt64) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 23) { bytes in
            bytes[0] = type
            let width = Self.write(count, to: bytes, at: 1)
            bytes[1 + width] = UInt8(ascii: "\r")
            bytes[2 + width] = UInt8(ascii: "\n")
            return 3 + width
        }
    }

    private mutating func decimal(_ number: UInt64) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: 20) { Self.write(number, to: $0, at: 0) }
    }

    private mutating func endOfLine() {
        buffer.writeInteger(UInt16(0x0D0A))
    }

    /// Decimal digits of `number`.
    static func digits(_ number: UInt64) -> Int {
        var count = 1
        var rest = number
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }

    private static func write(_ number: UInt64, to bytes: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
        let width = digits(number)
        var rest = number
        var place = offset + width
        repeat {
            place -= 1
            bytes[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
        return width
    }
}
