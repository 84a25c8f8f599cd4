import NIOCore

/// How a connection reads: into a buffer that lives no longer than the read.
///
/// NIO's pool keeps a connection's first buffer for good, measured 608 bytes of it with the 512 that were used here, and lends it
/// again as long as the allocator names a size. This allocator names none: the first buffer, kept but never lent again, holds 16
/// bytes, and each read after it gets a fresh one, which a thread's cache of free memory hands out in tens of nanoseconds. The pool
/// must hold one buffer (`maxMessagesPerRead` 1), or it would keep the second as well. What one read leaves in the kernel's buffer,
/// the next turn of the event loop reads.
struct BriefReads: RecvByteBufferAllocator {
    /// What a read that is not the first takes at most.
    let capacity: Int
    private var isFirst = true

    init(capacity: Int) {
        self.capacity = capacity
    }

    func nextBufferSize() -> Int? { nil }

    /// "The next one may be larger": what makes the pool ask for a fresh buffer.
    mutating func record(actualReadBytes: Int) -> Bool {
        isFirst = false
        return true
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        allocator.buffer(capacity: isFirst ? 16 : capacity)
    }
}
