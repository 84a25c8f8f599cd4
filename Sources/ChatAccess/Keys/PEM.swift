import ChatJSON

/// PEM (RFC 7468): base64 between a BEGIN and an END line. Text outside of blocks is ignored.
enum PEM {
    struct Block: Hashable {
        var label: String
        var bytes: [UInt8]
    }

    static func blocks(_ text: String) throws(KeyProblem) -> [Block] {
        var blocks: [Block] = []
        var open: (label: String, base64: [UInt8])?
        for line in text.utf8.split(whereSeparator: { $0 == 0x0A || $0 == 0x0D }) {
            let line = String(decoding: line, as: UTF8.self)
            if let label = label(line, "BEGIN") {
                guard open == nil else { throw KeyProblem("PEM: a block without an end") }
                open = (label, [])
            } else if var block = open {
                if line.hasPrefix("-----END") {
                    guard Self.label(line, "END") == block.label else {
                        throw KeyProblem("PEM: a block without an end")
                    }
                    guard let bytes = Base64.decodePadded(block.base64), !bytes.isEmpty else {
                        throw KeyProblem("PEM: a block that is not base64")
                    }
                    blocks.append(Block(label: block.label, bytes: bytes))
                    open = nil
                } else {
                    block.base64.append(contentsOf: line.utf8.filter { $0 != 0x20 && $0 != 0x09 })
                    open = block
                }
            }
        }
        guard open == nil else { throw KeyProblem("PEM: a block without an end") }
        return blocks
    }

    /// One block.
    static func text(_ label: String, _ bytes: [UInt8]) -> String {
        let base64 = Array(Base64.encodePadded(bytes))
        let lines = stride(from: 0, to: base64.count, by: 64).map { start in
            String(base64[start..<min(base64.count, start + 64)])
        }
        return (["-----BEGIN \(label)-----"] + lines + ["-----END \(label)-----"]).joined(separator: "\n") + "\n"
    }

    /// The label of the line `-----BEGIN label-----`.
    private static func label(_ line: String, _ word: String) -> String? {
        let start = "-----\(word) "
        guard line.hasPrefix(start), let end = line.dropFirst(start.count).firstRange(of: "-----") else { return nil }
        return String(line.dropFirst(start.count)[..<end.lowerBound])
    }
}
