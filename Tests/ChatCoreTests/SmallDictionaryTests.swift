import TestSupport
import Testing

@testable import ChatCore

struct SmallDictionaryTests {
    @Test(arguments: 0..<20) func doesWhatADictionaryDoes(_ seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var small = SmallDictionary<Int, [Int]>()
        var dictionary: [Int: [Int]] = [:]
        for step in 0..<500 {
            let key = random.below(4)
            switch random.below(6) {
            case 0, 1:
                small[key] = [step]
                dictionary[key] = [step]
            case 2:
                small[key] = nil
                dictionary[key] = nil
            case 3: #expect(small.removeValue(forKey: key) == dictionary.removeValue(forKey: key))
            case 4:
                small[key]?.append(step)
                dictionary[key]?.append(step)
            default:
                small[key, default: []].append(step)
                dictionary[key, default: []].append(step)
            }
            #expect(small.count == dictionary.count && small.isEmpty == dictionary.isEmpty)
            #expect(Dictionary(uniqueKeysWithValues: small.map { ($0.key, $0.value) }) == dictionary)
            for key in 0..<4 { #expect(small[key] == dictionary[key]) }
            #expect(Set(small.keys) == Set(dictionary.keys) && small.values.count == dictionary.count)
        }
    }

    @Test func keepsTheFirstOfEqualKeys() {
        struct Key: Hashable {
            var name: String
            var mark: Int
            static func == (left: Key, right: Key) -> Bool { left.name == right.name }
            func hash(into hasher: inout Hasher) { hasher.combine(name) }
        }
        var small = SmallDictionary<Key, Int>()
        for name in ["a", "b"] {
            small[Key(name: name, mark: 1)] = 1
            small[Key(name: name, mark: 2)] = 2
            #expect(small.keptKey(for: Key(name: name, mark: 3))?.mark == 1)
        }
        #expect(small.keptKey(for: Key(name: "c", mark: 1)) == nil)
    }

    /// The size of a quiet session and a quiet room. One more field costs 8 MB in a node with a million of them, so it
    /// needs a reason. (Bytes on a 64-bit machine.)
    @Test func quietStateIsSmall() {
        #expect(MemoryLayout<SessionStateMachine>.size <= 120)
        #expect(MemoryLayout<RoomMember>.stride <= 56)
        #expect(MemoryLayout<RoomStanding>.size <= 16)
        // 50 of them: the number of sessions of each user, and what was reported of each. (A resting room has neither.)
        // The rules are 8 of them.
        #expect(MemoryLayout<RoomStateMachine>.size <= 988)
    }

    @Test func packedOptionalsAreOptionals() {
        struct Pair {
            @Packed var moment: Moment?
            @Packed var serial: UInt64?
        }
        var pair = Pair()
        #expect(pair.moment == nil && pair.serial == nil && MemoryLayout<Pair>.size == 16)
        pair.moment = Moment(nanoseconds: 0)
        pair.serial = 7
        #expect(pair.moment == Moment(nanoseconds: 0) && pair.serial == 7)
        pair.moment = nil
        #expect(pair.moment == nil && pair.serial == 7)
    }
}
