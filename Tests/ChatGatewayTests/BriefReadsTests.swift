import NIOCore
import Testing

@testable import ChatGateway

struct BriefReadsTests {
    @Test func aConnectionKeepsSixteenBytesAndReadsWithMore() {
        var pool = NIOPooledRecvBufferAllocator(capacity: 1, recvAllocator: BriefReads(capacity: 1_024))
        var kept: ByteBuffer?
        for (index, capacity) in [16, 1_024, 1_024, 1_024].enumerated() {
            let (buffer, room) = pool.buffer(allocator: ByteBufferAllocator()) { buffer in
                let room = buffer.writableBytes
                buffer.writeBytes([UInt8](repeating: UInt8(index), count: room))
                return room
            }
            pool.record(actualReadBytes: room)
            #expect(room == capacity && buffer.readableBytes == capacity)
            #expect(buffer.readableBytesView.allSatisfy { $0 == UInt8(index) })
            if index == 0 { kept = buffer }
        }
        #expect(pool.count == 1, "the first, and none after it")
        #expect(kept?.readableBytesView.allSatisfy { $0 == 0 } == true, "what was given out is not written to again")
    }
}
