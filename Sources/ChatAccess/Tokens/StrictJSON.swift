import ChatJSON

/// JSON in which no object has two members of the same name. RFC 8259 leaves the meaning of such an object open, so two
/// readers of one token could see different claims.
enum StrictJSON {
    /// Parses JSON text: valid UTF-8, one value, nested in at most ``JSONScanner/maxDepth`` levels.
    static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
        try bytes.withUnsafeBytes { bytes in Result { () throws(JSONError) in try parse(bytes) } }.get()
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer) throws(JSONError) -> JSONValue {
        var validator = UTF8Validator()
        if let offset = validator.check(bytes) { throw JSONError(offset: offset, problem: "not UTF-8") }
        guard validator.isComplete else {
            throw JSONError(offset: bytes.count, problem: "the text ends inside a UTF-8 character")
        }
        var scanner = JSONScanner(bytes)
        let slice = try scanner.document()
        return try build(bytes, slice, at: 0)
    }

    /// Builds a value from text that a scanner has found to be well formed. `start` is the offset of `bytes` in the
    /// whole text.
    private static func build(
        _ bytes: UnsafeRawBufferPointer, _ slice: JSONSlice, at start: Int
    ) throws(JSONError) -> JSONValue {
        let inner = UnsafeRawBufferPointer(rebasing: bytes[slice.range])
        let start = start + slice.range.lowerBound
        var scanner = JSONScanner(inner)
        let whole = JSONSlice(kind: slice.kind, range: 0..<inner.count)
        switch slice.kind {
        case .null: return .null
        case .bool(let flag): return .bool(flag)
        case .number: return .number(scanner.text(whole))
        case .string: return .string(scanner.string(whole))
        case .array:
            var elements: [JSONValue] = []
            try scanner.elements { (element) throws(JSONError) in
                elements.append(try build(inner, element, at: start))
            }
            return .array(elements)
        case .object:
            let names = JSONScanner(inner)
            var members: [String: JSONValue] = [:]
            try scanner.members { (name, value) throws(JSONError) in
                let built = try build(inner, value, at: start)
                guard members.updateValue(built, forKey: names.string(name)) == nil else {
                    throw JSONError(
                        offset: start + name.range.lowerBound, problem: "two members of an object have the same name")
                }
            }
            return .object(members)
        }
    }
}
