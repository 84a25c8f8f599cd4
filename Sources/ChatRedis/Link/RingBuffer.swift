/// A queue in a circular array, which does not allocate once it has reached its maximum length. (NIO's CircularBuffer
/// is generic code of another module; this one is specialised here.)
struct RingBuffer<Element> {
    private var storage: [Element?] = Array(repeating: nil, count: 16)
    private var head = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    var first: Element? { count == 0 ? nil : storage[head] }

    /// The element at `offset` after the first; nil if there is none.
    subscript(offset: Int) -> Element? {
        get { offset >= 0 && offset < count ? storage[place(offset)] : nil }
        set {
            guard offset >= 0, offset < count, let newValue else { return }
            storage[place(offset)] = newValue
        }
    }

    private func place(_ offset: Int) -> Int { (head &+ offset) & (storage.count &- 1) }

    mutating func append(_ element: Element) {
        if count == storage.count { grow() }
        storage[place(count)] = element
        count &+= 1
    }

    mutating func popFirst() -> Element? {
        guard count > 0 else { return nil }
        let element = storage[head]
        storage[head] = nil
        head = place(1)
        count &-= 1
        return element
    }

    private mutating func grow() {
        var larger = [Element?](repeating: nil, count: storage.count * 2)
        for offset in 0..<count { larger[offset] = storage[place(offset)] }
        storage = larger
        head = 0
    }
}
