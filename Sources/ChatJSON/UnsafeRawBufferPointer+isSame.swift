extension UnsafeRawBufferPointer {
    /// Whether the bytes are equal, compared eight at a time: names are compared for each message several times, and
    /// `elementsEqual` compares one byte after the other.
    @inlinable
    package func isSame(as other: UnsafeRawBufferPointer) -> Bool {
        guard count == other.count else { return false }
        guard count >= 8 else {
            for index in 0..<count where self[index] != other[index] { return false }
            return true
        }
        var index = 0
        while index &+ 8 < count {
            guard word(index) == other.word(index) else { return false }
            index &+= 8
        }
        // The last eight, some of which may have been compared already.
        return word(count &- 8) == other.word(count &- 8)
    }

    @inlinable
    package func word(_ offset: Int) -> UInt64 { loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
}
