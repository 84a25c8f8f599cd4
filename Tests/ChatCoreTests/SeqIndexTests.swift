import Testing

@testable import ChatCore

/// Compares the index of keys in a room's memory with a dictionary.
@Suite struct SeqIndexTests {
    @Test func whatIsPutInIsFoundUntilItIsTakenOut() {
        var index = SeqIndex()
        #expect(index[7] == nil)
        index.set(7, to: 1)
        #expect(index[7] == 1 && index[8] == nil && index.count == 1)
        index.set(7, to: 2)
        #expect(index[7] == 2 && index.count == 1)
        index.set(8, to: 0)
        #expect(index[7] == 2 && index[8] == 0 && index.count == 2)
        index.remove(7, at: 1)
        #expect(index[7] == 2, "a later one has taken its place")
        index.remove(7, at: 2)
        index.remove(9, at: 2)
        #expect(index[7] == nil && index[8] == 0 && index.count == 1)
        index.set(8, to: .max)
        #expect(index[8] == 0, "the highest seq of all is not kept")
    }

    /// Few different low bits, so that chains are long, wrap around and are split.
    @Test(arguments: [1, 4, 16, 0xFFFF]) func itIsADictionary(spread: Int) {
        var generator = SplitMix64(seed: UInt64(spread))
        var index = SeqIndex()
        var model: [Int: UInt64] = [:]
        for step in 0..<20_000 {
            let hash = Int(truncatingIfNeeded: generator.next()) & (spread << 56 | spread & 0xFF | 7)
            if generator.next() % 3 == 0 || model.count > 200 {
                let seq = model.randomElement(using: &generator).map { $0.value } ?? 0
                let key = model.first { $0.value == seq }?.key ?? hash
                index.remove(key, at: seq)
                if model[key] == seq { model[key] = nil }
            } else {
                index.set(hash, to: UInt64(step))
                model[hash] = UInt64(step)
            }
            #expect(index[hash] == model[hash])
            #expect(index.count == model.count)
        }
        for (hash, seq) in model { #expect(index[hash] == seq) }
    }
}
