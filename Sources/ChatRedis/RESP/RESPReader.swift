// The one file that imports hiredis. hiredis parses RESP2 and calls back for each object; the callbacks put it into a
// flat arena. Its connections (`redisContext`, `redisAsyncContext`) are not used: they resolve names blockingly, and
// abort the process on some unsubscribe races.

import CHiredis
import NIOCore

/// The received bytes are not RESP2, or exceed our limits. The connection cannot be used any more.
struct RESPError: Error, Equatable, CustomStringConvertible {
    var description: String
}

/// Splits a byte stream into replies, in ``arena``. The result does not depend on how the bytes are split into chunks.
///
/// Hostile or broken bytes end in a ``RESPError``: nesting over 7 and invalid lengths (checked by hiredis), replies
/// over `maxReplyBytes`, and replies with more than `maxElements` elements (checked here, as hiredis would accept an
/// array length of two thousand million).
final class RESPReader {
    static let maxReplyBytes = 256 << 20
    static let maxElements = 4 << 20
    /// hiredis moves the rest of its buffer after every 1 KiB consumed (`redisReaderGetReply`), so it is fed in small
    /// slices: with 64 KiB at once it moves 32 bytes for each byte read, with these slices one.
    static let sliceBytes = 2_048

    let arena = RESPArena()
    private let reader: UnsafeMutablePointer<redisReader>
    private let functions: UnsafeMutablePointer<redisReplyObjectFunctions>
    /// Bytes fed since the last complete reply.
    private var unfinishedBytes = 0
    private(set) var failure: RESPError?

    /// Fails only if memory is exhausted.
    init() throws(RESPError) {
        functions = .allocate(capacity: 1)
        functions.initialize(to: Self.objectFunctions)
        guard let reader = redisReaderCreateWithFunctions(functions) else {
            functions.deallocate()
            throw RESPError(description: "no memory for a reply reader")
        }
        self.reader = reader
        // 0 would keep the capacity of a giant reply for ever; a small limit would free and allocate at every read.
        reader.pointee.maxbuf = 4 << 20
        reader.pointee.privdata = Unmanaged.passUnretained(arena).toOpaque()
    }

    deinit {
        redisReaderFree(reader)
        functions.deallocate()
    }

    /// Reads the bytes of `buffer` and calls `body` after each complete reply, whose root is then the last one in the
    /// arena. The caller empties the arena after processing replies. Stops when `body` returns false.
    func read(_ buffer: inout ByteBuffer, _ body: () -> Bool) throws(RESPError) {
        if let failure { throw failure }
        while buffer.readableBytes > 0 {
            let slice = min(buffer.readableBytes, Self.sliceBytes)
            let fed = buffer.readWithUnsafeReadableBytes { bytes in
                (slice, redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), slice))
            }
            guard fed == REDIS_OK else { throw fail() }
            unfinishedBytes += slice
            guard try drain(body) else { return }
        }
    }

    /// Returns false if `body` wants no more replies.
    private func drain(_ body: () -> Bool) throws(RESPError) -> Bool {
        while true {
            var object: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &object) == REDIS_OK else { throw fail() }
            guard let object else {
                guard unfinishedBytes <= Self.maxReplyBytes else {
                    throw fail("a reply is longer than \(Self.maxReplyBytes) bytes")
                }
                return true
            }
            unfinishedBytes = 0
            arena.appendRoot(Int(bitPattern: object) - 1)
            guard body() else { return false }
        }
    }

    private func fail(_ text: String? = nil) -> RESPError {
        let reason: String
        if let text {
            reason = text
        } else if arena.overflowed {
            reason = "a reply has more than \(Self.maxElements) elements"
        } else {
            reason = withUnsafeBytes(of: &reader.pointee.errstr) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
        }
        let error = RESPError(description: "what Redis sent is no RESP2: \(reason)")
        failure = error
        return error
    }

    // MARK: hiredis' callbacks

    // An object is the index of its node + 1, as hiredis takes NULL for "no memory".
    private static var objectFunctions: redisReplyObjectFunctions {
        var functions = redisReplyObjectFunctions()
        functions.createString = { task, text, count in
            RESPReader.with(task) { arena, task in
                let bytes = UnsafeRawBufferPointer(start: text, count: count)
                return RESPArena.Node(kind: RESPReader.kind(task.type), value: Int64(arena.append(bytes)), count: count)
            }
        }
        functions.createArray = { task, count in
            let count = max(Int(count), 0)
            return RESPReader.with(task) { arena, _ in
                guard arena.nodes.count + count < RESPReader.maxElements else {
                    arena.overflowed = true
                    return nil
                }
                return RESPArena.Node(kind: .array, value: 0, count: count)
            }
        }
        functions.createInteger = { task, number in
            RESPReader.with(task) { _, _ in RESPArena.Node(kind: .integer, value: number, count: 0) }
        }
        functions.createNil = { task in
            RESPReader.with(task) { _, _ in RESPArena.Node(kind: .null, value: 0, count: 0) }
        }
        // Objects own nothing: the arena is emptied as a whole.
        functions.freeObject = { _ in }
        return functions
    }

    private static func with(
        _ task: UnsafePointer<redisReadTask>?, _ make: (RESPArena, redisReadTask) -> RESPArena.Node?
    ) -> UnsafeMutableRawPointer? {
        guard let task = task?.pointee, let privdata = task.privdata else { return nil }
        let arena = Unmanaged<RESPArena>.fromOpaque(privdata).takeUnretainedValue()
        guard let node = make(arena, task) else { return nil }
        let parent = task.parent.flatMap { $0.pointee.obj }.map { Int(bitPattern: $0) - 1 }
        let index = arena.add(node, parent: parent, place: Int(task.idx))
        return UnsafeMutableRawPointer(bitPattern: index + 1)
    }

    private static func kind(_ type: Int32) -> RESPReply.Kind {
        switch type {
        case REDIS_REPLY_STATUS: .status
        case REDIS_REPLY_ERROR: .error
        default: .string
        }
    }
}
