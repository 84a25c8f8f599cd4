/// An optional moment or number in eight bytes instead of sixteen, as each room has a dozen of them. The highest number
/// stands for nil; it is never a real moment or serial.
@propertyWrapper
struct Packed<Value: EightBytes>: Sendable {
    private var raw = UInt64.max

    init() {}

    var wrappedValue: Value? {
        get { raw == .max ? nil : Value(eightBytes: raw) }
        set { raw = newValue?.eightBytes ?? .max }
    }
}

/// A value that can be represented as a 64-bit number.
protocol EightBytes: Sendable {
    init(eightBytes: UInt64)
    var eightBytes: UInt64 { get }
}

extension UInt64: EightBytes {
    init(eightBytes: UInt64) { self = eightBytes }
    var eightBytes: UInt64 { self }
}

extension Moment: EightBytes {
    init(eightBytes: UInt64) { self.init(nanoseconds: eightBytes) }
    var eightBytes: UInt64 { nanoseconds }
}
