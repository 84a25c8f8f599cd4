/// A dictionary that stores a single entry inline. Most sessions are in one room, and a quiet room has one entry of
/// everything; a measured dictionary with one entry takes 130 to 200 bytes beyond the entry.
package struct SmallDictionary<Key: Hashable, Value> {
    /// The only entry; nil if there is none, or more than one.
    @usableFromInline var one: (key: Key, value: Value)?
    /// All entries, if there are at least two.
    @usableFromInline var all: [Key: Value] = [:]

    @inlinable package init() {}

    @inlinable package var count: Int { one == nil ? all.count : 1 }
    @inlinable package var isEmpty: Bool { one == nil && all.isEmpty }

    /// Like a dictionary's: setting nil removes.
    @inlinable package subscript(key: Key) -> Value? {
        get {
            guard let one else { return all.isEmpty ? nil : all[key] }
            return one.key == key ? one.value : nil
        }
        _modify {
            if !all.isEmpty {
                defer { settle() }
                yield &all[key]
            } else if let entry = one, entry.key != key {
                var value: Value?
                defer { if let value { grow(entry, key, value) } }
                yield &value
            } else {
                // Taken out and put back, so that what is in it is changed in place.
                let kept = one?.key ?? key
                var value = one?.value
                one = nil
                defer { one = value.map { (kept, $0) } }
                yield &value
            }
        }
    }

    @inlinable package subscript(key: Key, default value: @autoclosure () -> Value) -> Value {
        get { self[key] ?? value() }
        set { self[key] = newValue }
    }

    /// Changes the value under that key where it is. Does nothing if there is none.
    @inlinable package mutating func update(_ key: Key, _ body: (inout Value) -> Void) {
        if let index = all.index(forKey: key) {
            body(&all.values[index])
        } else if var entry = one, entry.key == key {
            // Taken out, so that what is in it is changed in place.
            one = nil
            body(&entry.value)
            one = entry
        }
    }

    @discardableResult
    @inlinable package mutating func removeValue(forKey key: Key) -> Value? {
        let value = self[key]
        if value != nil { self[key] = nil }
        return value
    }

    /// The stored key that is equal to this one.
    @inlinable package func keptKey(for key: Key) -> Key? {
        guard let one else { return all.index(forKey: key).map { all[$0].key } }
        return one.key == key ? one.key : nil
    }

    @inlinable package var keys: [Key] { map { $0.key } }
    @inlinable package var values: [Value] { map { $0.value } }

    @usableFromInline mutating func grow(_ first: (key: Key, value: Value), _ key: Key, _ value: Value) {
        one = nil
        all = [first.key: first.value, key: value]
    }

    @usableFromInline mutating func settle() {
        guard all.count < 2 else { return }
        one = all.first.map { ($0.key, $0.value) }
        all = [:]
    }
}

extension SmallDictionary: Sequence {
    @inlinable package func makeIterator() -> AnyIterator<(key: Key, value: Value)> {
        guard let one else {
            var iterator = all.makeIterator()
            return AnyIterator { iterator.next() }
        }
        var rest: (key: Key, value: Value)? = one
        return AnyIterator {
            defer { rest = nil }
            return rest
        }
    }
}

extension SmallDictionary: Sendable where Key: Sendable, Value: Sendable {}
