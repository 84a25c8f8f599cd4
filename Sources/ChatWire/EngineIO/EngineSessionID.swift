/// A session's name: `<node>.<loop>.<random>`. It tells each node which node, and each loop which loop, a request is
/// for. The random part has 120 bits, so nobody can guess the name of another client's session.
public struct EngineSessionID: Hashable, Sendable, CustomStringConvertible {
    public static let maxBytes = 160

    public let text: String
    /// The node that has the session.
    public let node: String
    /// The loop that has it.
    public let loop: Int

    public init(node: String, loop: Int, using generator: inout some RandomNumberGenerator) {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_".utf8)
        var random: [UInt8] = []
        for _ in 0..<20 { random.append(letters[Int(generator.next() & 63)]) }
        self.node = node
        self.loop = loop
        text = "\(node).\(loop).\(String(decoding: random, as: UTF8.self))"
    }

    /// Nil for a text that no node has made.
    public init?(_ text: String) {
        guard text.utf8.count <= Self.maxBytes else { return nil }
        // The name of a node may hold dots.
        guard let last = text.lastIndex(of: "."), let middle = text[..<last].lastIndex(of: "."),
            let loop = Int(text[text.index(after: middle)..<last]), (0..<1_024).contains(loop),
            text.utf8.distance(from: last, to: text.endIndex) == 21, middle > text.startIndex
        else { return nil }
        self.text = text
        self.loop = loop
        node = String(text[..<middle])
    }

    public var description: String { text }
}
