/// A buffer that is assembled from many small pieces; this runs for each message. Appending costs a check of the
/// remaining capacity and a copy, whereas an array also checks each time whether it is shared.
public struct ByteWriter: ~Copyable {
    @usableFromInline var start: UnsafeMutableRawPointer
    @usableFromInline var capacity: Int
    @usableFromInline var written = 0

    /// `capacity` is the number of bytes to allocate at first; the buffer grows as needed.
    public init(capacity: Int = 512) {
        self.capacity = max(16, capacity)
        start = .allocate(byteCount: self.capacity, alignment: 1)
    }

    deinit { start.deallocate() }

    /// The number of bytes written.
    @inlinable public var count: Int { written }

    /// The written bytes. They are valid inside `body` only.
    @inlinable
    public borrowing func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        body(UnsafeRawBufferPointer(start: start, count: written))
    }

    /// A copy of the written bytes.
    public var array: [UInt8] { withBytes { Array($0) } }

    /// Removes all bytes, and keeps the capacity.
    public mutating func removeAll() { written = 0 }

    /// Ensures capacity for this many more bytes.
    @inlinable
    public mutating func reserve(_ more: Int) {
        if capacity &- written < more { grow(more) }
    }

    @usableFromInline
    mutating func grow(_ more: Int) {
        capacity = max(2 * capacity, written + more)
        let bigger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
        bigger.copyMemory(from: start, byteCount: written)
        start.deallocate()
        start = bigger
    }

    @inlinable
    public mutating func append(_ byte: UInt8) {
        reserve(1)
        start.storeBytes(of: byte, toByteOffset: written, as: UInt8.self)
        written &+= 1
    }

    public mutating func append(contentsOf bytes: UnsafeRawBufferPointer) {
        guard let from = bytes.baseAddress else { return }
        reserve(bytes.count)
        (start + written).copyMemory(from: from, byteCount: bytes.count)
        written &+= bytes.count
    }

    /// Appends text without escaping it.
    @inlinable
    public mutating func appendText(_ text: StaticString) {
        let size = text.utf8CodeUnitCount
        reserve(size)
        (start + written).copyMemory(from: text.utf8Start, byteCount: size)
        written &+= size
    }

    /// Appends text without escaping it.
    public mutating func appendRaw(_ text: String) {
        text.withBytes { append(contentsOf: $0) }
    }
}
