import TestSupport
import Testing

@testable import ChatCore

@Suite struct FIFOTests {
    @Test func elementsKeepTheirNumberWhateverWasRemoved() {
        var queue = FIFO<String>()
        let numbers = ["a", "b", "c"].map { queue.append($0) }
        #expect(numbers == [0, 1, 2])
        #expect(queue.remove(1) == "b")
        #expect(queue.remove(1) == nil)
        #expect(queue[0] == "a" && queue[1] == nil && queue[2] == "c")
        #expect(queue.remove(0) == "a")
        #expect(queue.remove(2) == "c")
        #expect(queue.isEmpty)
        #expect(queue.append("d") == 3)
        #expect(queue[3] == "d" && queue[7] == nil)
    }

    @Test func updateChangesOnlyWhatIsThere() {
        var queue = FIFO<Int>()
        queue.append(1)
        queue.update(0) { $0 = 5 }
        queue.update(1) { $0 = 9 }
        #expect(queue[0] == 5 && queue.count == 1)
    }

    /// Compares the queue with a dictionary through many random operations.
    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func behavesLikeADictionaryByNumber(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var queue = FIFO<UInt64>()
        var model: [UInt64: UInt64] = [:]
        for step in 0..<20_000 as Range<UInt64> {
            let growing = (step / 2_000) % 2 == 0
            if random.below(10) < (growing ? 6 : 3) {
                model[queue.nextNumber] = step
                queue.append(step)
            } else if let number = queue.firstNumber(where: { _ in true }) {
                let victim = random.below(3) == 0 ? number + UInt64(random.below(50)) : number
                #expect(queue.remove(victim) == model.removeValue(forKey: victim))
            }
            guard step % 500 == 0 else { continue }
            #expect(queue.numbers == model.keys.sorted())
            #expect(queue.count == model.count)
            #expect(queue.numbers.allSatisfy { queue[$0] == model[$0] })
            let middle = queue.nextNumber &- UInt64(min(queue.count, 7))
            #expect(
                queue.firstNumber(from: middle, where: { $0 % 2 == 0 })
                    == model.filter { $0.key >= middle && $0.value % 2 == 0 }.keys.min())
        }
    }

    @Test func numbersGoOnAfterMemoryWasReleased() {
        var queue = FIFO<String>()
        for text in ["a", "b", "c"] { queue.append(text) }
        queue.remove(1)
        queue.releaseMemory()
        #expect(queue[0] == "a" && queue[2] == "c", "nothing is released while something waits")
        queue.remove(0)
        queue.remove(2)
        queue.releaseMemory()
        #expect(queue.isEmpty && queue.append("d") == 3 && queue[3] == "d" && queue[2] == nil)
    }
}
