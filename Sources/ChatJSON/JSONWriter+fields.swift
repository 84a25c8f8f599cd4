/// Writes fields of objects. `name` is all that comes before the value, as it is written: a comma (or, for the first
/// field, a brace or nothing), the name and a colon, as in `,"room":`.
extension ByteWriter {
    @inlinable
    public mutating func field(_ name: StaticString, _ text: String) {
        appendText(name)
        appendJSON(text)
    }

    /// A value that is JSON already.
    @inlinable
    public mutating func field(_ name: StaticString, raw json: String) {
        appendText(name)
        appendRaw(json)
    }

    @inlinable
    public mutating func field(_ name: StaticString, _ number: Int) {
        appendText(name)
        appendJSON(number)
    }

    @inlinable
    public mutating func field(_ name: StaticString, _ flag: Bool) {
        appendText(name)
        appendText(flag ? "true" : "false")
    }

    @inlinable
    public mutating func field(_ name: StaticString, _ number: UInt64) {
        appendText(name)
        appendJSON(number)
    }

    /// A number as a string, for readers in languages that keep numbers as doubles.
    @inlinable
    public mutating func field(_ name: StaticString, quoted number: UInt64) {
        appendText(name)
        append(UInt8(ascii: "\""))
        appendJSON(number)
        append(UInt8(ascii: "\""))
    }

    /// Two numbers with a hyphen between them as a string.
    @inlinable
    public mutating func field(_ name: StaticString, quoted first: UInt64, _ second: UInt64) {
        appendText(name)
        append(UInt8(ascii: "\""))
        appendJSON(first)
        append(UInt8(ascii: "-"))
        appendJSON(second)
        append(UInt8(ascii: "\""))
    }

    /// A time, as ``Timestamp`` writes it.
    @inlinable
    public mutating func field(_ name: StaticString, at milliseconds: UInt64) {
        appendText(name)
        append(UInt8(ascii: "\""))
        Timestamp.append(milliseconds, to: &self)
        append(UInt8(ascii: "\""))
    }

    /// An array; `body` writes an item.
    @inlinable
    public mutating func field<Item>(
        _ name: StaticString, list: [Item], _ body: (Item, inout ByteWriter) -> Void
    ) {
        appendText(name)
        append(UInt8(ascii: "["))
        for (index, element) in list.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            body(element, &self)
        }
        append(UInt8(ascii: "]"))
    }
}
