import ChatCore

/// The ID of a process: the name of the node, a hyphen and eight random hexadecimal digits, so that a node that starts
/// again is another one.
extension NodeID {
    /// Throws a ``NameError`` if the name is none.
    static func unique(name: String) throws -> NodeID {
        let suffix = String(UInt32.random(in: .min ... .max), radix: 16)
        return try NodeID("\(name)-\(String(repeating: "0", count: randomDigits - suffix.count))\(suffix)")
    }

    /// The name of the node.
    var name: String { String(text.dropLast(Self.randomDigits + 1)) }

    private static let randomDigits = 8
}
