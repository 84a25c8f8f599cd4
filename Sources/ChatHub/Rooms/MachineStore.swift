import ChatCore
import Glibc

/// The memory of the machines of awake rooms: separate blocks, which are returned to the system when they are empty. On
/// the heap the machines would lie between long-lived objects, and the memory of rooms that a storm of reconnects had
/// woken would never be returned (measured: half a kilobyte for each room that rests again).
///
/// Not thread-safe: confined to one loop.
final class MachineStore {
    private struct Block {
        let start: UnsafeMutablePointer<RoomStateMachine>
        /// Otherwise it was allocated on the heap, because the system could map no more memory.
        let isMapped: Bool
        /// One bit for each place, set if the place is free.
        var free: UInt64 = .max

        func holds(_ place: UnsafeMutablePointer<RoomStateMachine>) -> Bool {
            place >= start && place < start + MachineStore.placesPerBlock
        }
    }

    private static let placesPerBlock = UInt64.bitWidth
    private static let blockBytes = placesPerBlock * MemoryLayout<RoomStateMachine>.stride

    /// Blocks are filled from the front, so that those at the end become empty.
    private var blocks: [Block] = []

    /// Rooms hold a reference to the store, so no machine is left.
    deinit {
        for block in blocks { Self.free(block) }
    }

    /// The number of machines for which memory is allocated.
    var capacity: Int { blocks.count * Self.placesPerBlock }

    /// Moves the machine into a place, which belongs to it until ``end(_:)``.
    func put(_ machine: consuming RoomStateMachine) -> UnsafeMutablePointer<RoomStateMachine> {
        let index = blocks.firstIndex { $0.free != 0 } ?? addBlock()
        let bit = blocks[index].free.trailingZeroBitCount
        blocks[index].free &= ~(1 << UInt64(bit))
        let place = blocks[index].start + bit
        place.initialize(to: machine)
        return place
    }

    /// Destroys the machine in that place, which ``put(_:)`` returned.
    func end(_ place: UnsafeMutablePointer<RoomStateMachine>) {
        guard let index = blocks.firstIndex(where: { $0.holds(place) }) else { return }
        place.deinitialize(count: 1)
        blocks[index].free |= 1 << UInt64(place - blocks[index].start)
        // The last block stays, because the next room wakes soon.
        guard blocks[index].free == .max, blocks.count > 1 else { return }
        Self.free(blocks.remove(at: index))
    }

    private static func free(_ block: Block) {
        if block.isMapped { munmap(block.start, blockBytes) } else { block.start.deallocate() }
    }

    private func addBlock() -> Int {
        let memory = mmap(nil, Self.blockBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        let mapped = memory == MAP_FAILED ? nil : memory
        let start = mapped?.bindMemory(to: RoomStateMachine.self, capacity: Self.placesPerBlock)
        blocks.append(
            Block(start: start ?? .allocate(capacity: Self.placesPerBlock), isMapped: start != nil))
        return blocks.count - 1
    }
}
