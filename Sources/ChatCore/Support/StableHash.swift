/// A hash that is the same in every process and version, for values that are compared between processes or spread work
/// over them: 64-bit FNV-1a (draft-eastlake-fnv). It is not for keys that an attacker may choose so that they collide.
package struct StableHash: Sendable {
    package private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    package init() {}

    package init(_ text: String) {
        add(text)
    }

    package mutating func add(_ text: String) { add(bytes: text.utf8) }

    /// Adds a number in one step, which is cheaper than its eight bytes and gives another value.
    package mutating func add(number: UInt64) { value = (value ^ number) &* 0x100_0000_01B3 }

    package mutating func add(bytes: some Sequence<UInt8>) {
        for byte in bytes { add(number: UInt64(byte)) }
    }
}
