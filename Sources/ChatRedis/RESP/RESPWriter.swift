import ChatJSON
import NIOCore

/// Encodes Redis commands as RESP arrays of bulk strings, one after another, into one buffer: all commands of a loop
/// tick are sent in one write. Nothing is allocated per command or argument (`redisFormatCommandArgv` mallocs each).
///
/// A command is `command(n)` followed by exactly n arguments. A wrong count would assign every later reply to the wrong
/// request, so code that encodes with a writer takes a ``mark`` first and rewinds to it unless ``isComplete``.
///
/// Format: redis.io "RESP protocol specification", arrays and bulk strings.
public struct RESPWriter: Sendable {
    /// A position to which the writer can be rewound.
    public struct Mark: Sendable {
        var writerIndex: Int
        var commands: Int
    }

    /// The encoded bytes that were not taken yet.
    public private(set) var buffer: ByteBuffer
    /// The number of commands begun since the writer was created; each gets one reply.
    public private(set) var commands = 0
    /// The number of arguments that the last command still lacks; negative if it got too many.
    public private(set) var missingArguments = 0
    private var argumentStart: Int?

    /// `capacity`: bytes to reserve at first; the buffer grows by itself.
    public init(capacity: Int = 4_096) {
        buffer = ByteBufferAllocator().buffer(capacity: capacity)
    }

    /// Whether every command begun has all its arguments.
    public var isComplete: Bool { missingArguments == 0 && argumentStart == nil }

    /// The current position; only between commands.
    public var mark: Mark { Mark(writerIndex: buffer.writerIndex, commands: commands) }

    /// Removes everything after `mark`. The mark must be of this writer and not be older than the last ``take()``.
    public mutating func rewind(to mark: Mark) {
        buffer.moveWriterIndex(to: mark.writerIndex)
        commands = mark.commands
        missingArguments = 0
        argumentStart = nil
    }

    /// Returns the encoded bytes, for one write to the channel. The writer continues with an empty buffer.
    public mutating func take() -> ByteBuffer {
        let taken = buffer
        reset()
        return taken
    }

    /// Removes the encoded bytes, after ``buffer`` was passed to a channel. Its memory is reused if the channel has
    /// released it.
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
        write(atMost: 23) { Self.header(UInt8(ascii: "*"), UInt64(max(argumentCount, 0)), $0) }
    }

    /// Encodes a command whose arguments are all text: for set-up, not for hot paths.
    public mutating func command(words: [String]) {
        command(words.count)
        for word in words { argument(word) }
    }

    // MARK: Arguments

    public mutating func argument(_ text: StaticString) {
        argument(bytes: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    public mutating func argument(_ text: String) {
        text.withBytes { argument(bytes: $0) }
    }

    public mutating func argument(_ number: UInt64) {
        let size = Self.digits(number)
        missingArguments -= 1
        write(atMost: 45) { bytes in
            var end = Self.header(UInt8(ascii: "$"), UInt64(size), bytes)
            end += Self.decimal(number, digits: size, to: bytes + end)
            return end + Self.endOfLine(bytes + end)
        }
    }

    public mutating func argument(_ number: Int) {
        guard number < 0 else { return argument(UInt64(number)) }
        argument(String(number))
    }

    public mutating func argument(bytes text: UnsafeRawBufferPointer) {
        missingArguments -= 1
        write(atMost: text.count + 25) { bytes in
            var end = Self.header(UInt8(ascii: "$"), UInt64(text.count), bytes)
            if let from = text.baseAddress { (bytes + end).copyMemory(from: from, byteCount: text.count) }
            end += text.count
            return end + Self.endOfLine(bytes + end)
        }
    }

    public mutating func argument(bytes: [UInt8]) {
        bytes.withUnsafeBytes { argument(bytes: $0) }
    }

    // MARK: One argument out of parts

    /// Begins an argument that is assembled from parts (`<prefix>{room}:log`, `<epoch>-*`). Calls of
    /// ``append(_:)-(String)`` and its variants follow, then ``endArgument()``. The number of parts is arbitrary.
    public mutating func beginArgument() {
        // Reserves the header for 10...99 bytes, by far the most frequent; endArgument() moves the others.
        write(atMost: 5) { Self.header(UInt8(ascii: "$"), 99, $0) }
        argumentStart = buffer.writerIndex
    }

    public mutating func append(_ text: StaticString) {
        append(bytes: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    public mutating func append(_ text: String) {
        text.withBytes { append(bytes: $0) }
    }

    public mutating func append(_ number: UInt64) {
        write(atMost: 20) { Self.decimal(number, digits: Self.digits(number), to: $0) }
    }

    public mutating func append(bytes text: UnsafeRawBufferPointer) {
        write(atMost: text.count) { bytes in
            if let from = text.baseAddress { bytes.copyMemory(from: from, byteCount: text.count) }
            return text.count
        }
    }

    /// Ends the argument that ``beginArgument()`` began. Does nothing if there is none.
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
        write(atMost: 23) { Self.header(UInt8(ascii: "$"), UInt64(length), $0) }
        buffer.moveWriterIndex(to: end)
        write(atMost: 2) { Self.endOfLine($0) }
    }

    // MARK: Bytes

    /// Accesses the buffer once for a whole argument. `body` is given room for `size` bytes and returns how many it
    /// wrote.
    @inline(__always)
    private mutating func write(atMost size: Int, _ body: (UnsafeMutableRawPointer) -> Int) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { room in room.baseAddress.map(body) ?? 0 }
    }

    @inline(__always)
    private static func header(_ type: UInt8, _ count: UInt64, _ bytes: UnsafeMutableRawPointer) -> Int {
        bytes.storeBytes(of: type, as: UInt8.self)
        let end = 1 + decimal(count, digits: digits(count), to: bytes + 1)
        return end + endOfLine(bytes + end)
    }

    @inline(__always)
    private static func endOfLine(_ bytes: UnsafeMutableRawPointer) -> Int {
        bytes.storeBytes(of: UInt16(0x0D0A).bigEndian, as: UInt16.self)
        return 2
    }

    /// The number of decimal digits of `number`.
    static func digits(_ number: UInt64) -> Int {
        var count = 1
        var rest = number
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }

    @inline(__always)
    private static func decimal(_ number: UInt64, digits: Int, to bytes: UnsafeMutableRawPointer) -> Int {
        var rest = number
        var place = digits
        repeat {
            place &-= 1
            let next = rest / 10
            bytes.storeBytes(
                of: UInt8(truncatingIfNeeded: 0x30 &+ rest &- next &* 10), toByteOffset: place, as: UInt8.self)
            rest = next
        } while place > 0
        return digits
    }
}
