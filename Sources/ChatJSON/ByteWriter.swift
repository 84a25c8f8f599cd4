/// Bytes that are put together from many small pieces: what runs for each message. A piece costs a look at the room that is left and
/// a copy, where an array also looks whether it is shared, each time.
public struct ByteWriter: ~Copyable {
    @usableFromInline var start: UnsafeMutableRawPointer
    @usableFromInline var capacity: Int
    @usableFromInline var written = 0

    /// `capacity`: bytes to make room for at first; more comes by itself.
    public init(capacity: Int = 512) {
        self.capacity = max(16, capacity)
        start = .allocate(byteCount: self.capacity, alignment: 1)
    }

    deinit { start.deallocate() }

    /// How many bytes there are.
    @inlinable public var count: Int { written }

    /// What was written. Valid inside `body` only.
    @inlinable
    public borrowing func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        body(UnsafeRawBufferPointer(start: start, count: written))
    }

    /// A copy of what was written.
    public var array: [UInt8] { withBytes { Array($0) } }

    /// Forgets what was written, and keeps the room.
    public mutating func removeAll() { written = 0 }

    /// Makes room for so many more bytes.
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

    /// Appends text as it is.
    @inlinable
    public mutating func appendText(_ text: StaticString) {
        let size = text.utf8CodeUnitCount
        reserve(size)
        (start + written).copyMemory(from: text.utf8Start, byteCount: size)
        written &+= size
    }

    /// Appends text as it is.
    public mutating func appendRaw(_ text: String) {
        var text = text
        text.withUTF8 { append(contentsOf: UnsafeRawBufferPointer($0)) }
    }
}
