import NIOCore

/// Allocates read buffers for a connection that live no longer than the read.
///
/// NIO's pool keeps the first buffer of a connection for good (608 bytes were measured for the 512 bytes that were used
/// here) and lends it again as long as the allocator names a size. This allocator names none. The first buffer, which
/// is kept but never lent again, has 16 bytes, and each later read gets a fresh buffer, which the thread's malloc cache
/// provides in tens of nanoseconds. The pool must hold one buffer (`maxMessagesPerRead` 1), as it would keep a second
/// one as well. Bytes that one read leaves in the kernel's buffer are read in the next iteration of the event loop.
struct BriefReads: RecvByteBufferAllocator {
    /// The maximum size of every read but the first.
    let capacity: Int
    private var isFirst = true

    init(capacity: Int) {
        self.capacity = capacity
    }

    func nextBufferSize() -> Int? { nil }

    /// Returns "the next read may be larger", which makes the pool ask for a fresh buffer.
    mutating func record(actualReadBytes: Int) -> Bool {
        isFirst = false
        return true
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: isFirst ? 16 : capacity)
    }
}
