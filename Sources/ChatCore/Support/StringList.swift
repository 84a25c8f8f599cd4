import ChatJSON

/// A JSON array of strings, as amendments keep names and positions.
public enum StringList {
    /// The strings of the array; none if the text is not such an array.
    public static func read(_ text: String) -> [String] {
        guard let elements = try? JSONValue(parsing: text).array else { return [] }
        let strings = elements.compactMap(\.string)
        return strings.count == elements.count ? strings : []
    }

    /// The array as JSON text.
    public static func write(_ strings: some Sequence<String>) -> String {
        JSONValue.array(strings.map { .string($0) }).text
    }
}
