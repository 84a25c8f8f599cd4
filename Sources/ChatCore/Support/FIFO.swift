/// A queue whose elements keep their number: the first element ever appended has number 0, the next one 1, and so on,
/// whether or not earlier ones have been removed. A look-up by number is O(1), so that an answer finds its question.
struct FIFO<Element: Sendable>: Sendable {
    private var storage: [Element?] = []
    private var head = 0
    /// The number of the element at `storage[0]`.
    private var origin: UInt64 = 0
    private(set) var count = 0

    /// Creates an empty queue, as if `nextNumber` elements had been appended and removed.
    init(nextNumber: UInt64 = 0) {
        origin = nextNumber
    }

    /// The number that the next appended element gets.
    var nextNumber: UInt64 { origin + UInt64(storage.count) }
    var isEmpty: Bool { count == 0 }

    /// Appends and returns the element's number.
    @discardableResult
    mutating func append(_ element: Element) -> UInt64 {
        storage.append(element)
        count += 1
        return nextNumber - 1
    }

    /// The element with that number; nil if it was removed or never was.
    subscript(number: UInt64) -> Element? {
        guard number >= origin, number - origin < UInt64(storage.count) else { return nil }
        return storage[Int(number - origin)]
    }

    /// Changes the element with that number in place. Does nothing if it is not there.
    mutating func update(_ number: UInt64, _ body: (inout Element) -> Void) {
        guard number >= origin, number - origin < UInt64(storage.count) else { return }
        let index = Int(number - origin)
        // Moved out and in: a copy would cost a retain for each reference in the element.
        guard var element = storage[index].take() else { return }
        body(&element)
        storage[index] = consume element
    }

    /// Removes and returns the element with that number; nil if it is not there.
    @discardableResult
    mutating func remove(_ number: UInt64) -> Element? {
        guard number >= origin, number - origin < UInt64(storage.count) else { return nil }
        let index = Int(number - origin)
        guard let element = storage[index].take() else { return nil }
        count -= 1
        while head < storage.count, storage[head] == nil { head += 1 }
        if head == storage.count {
            origin += UInt64(head)
            storage.removeAll(keepingCapacity: storage.capacity <= 64)
            head = 0
        } else if head >= 64, head * 2 >= storage.count {
            storage.removeFirst(head)
            origin += UInt64(head)
            head = 0
        }
        return element
    }

    /// The oldest element; nil if there is none.
    var first: Element? { isEmpty ? nil : storage[head] }

    /// Removes and returns the oldest element; nil if there is none.
    mutating func popFirst() -> Element? {
        isEmpty ? nil : remove(origin + UInt64(head))
    }

    /// Releases the storage if the queue is empty.
    mutating func releaseMemory() {
        guard isEmpty else { return }
        origin = nextNumber
        storage = []
        head = 0
    }

    /// The numbers of all elements, oldest first.
    var numbers: [UInt64] {
        var result: [UInt64] = []
        result.reserveCapacity(count)
        for index in head..<storage.count where storage[index] != nil {
            result.append(origin + UInt64(index))
        }
        return result
    }

    /// The number of the first element at or after `number` that satisfies the predicate; nil if there is none.
    func firstNumber(from number: UInt64 = 0, where predicate: (Element) -> Bool) -> UInt64? {
        first(from: number) { predicate($1) ? $0 : nil }
    }

    /// What the body returns of the first element at or after `number`, and of its number, for which that is not nil.
    func first<Result>(from number: UInt64 = 0, _ body: (UInt64, Element) -> Result?) -> Result? {
        var index = max(head, number > origin ? Int(min(number - origin, UInt64(storage.count))) : 0)
        while index < storage.count {
            if let element = storage[index], let result = body(origin + UInt64(index), element) { return result }
            index += 1
        }
        return nil
    }
}
