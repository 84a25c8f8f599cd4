import ChatJSON
import Testing

/// The bounds of data that every JSON reader accepts.
@Suite struct JSONDataTests {
    private func problem(_ json: String) -> String? {
        Array(json.utf8).withUnsafeBytes { JSONData.problem($0)?.problem }
    }

    @Test(arguments: [
        "0", "-0", "0.0", "1", "-12.5", "1e307", "9.9e307", "1E-307", "0.5e-306", "123456789012345678901234567890",
        "0.1000000000000000055511151231257827021181583404541015625", "0e0", "0e307", "1e+5", "9007199254740993",
        "[1,{\"a\":[1e10]}]", "\"1e999\"",
    ])
    func whatEveryReaderTakesIsTaken(json: String) { #expect(problem(json) == nil) }

    @Test(arguments: [
        "1e308", "1e999", "-1e400", "1e-308", "0.01e-306", "10e307", "0e999", "1e99999999999999999999",
        "[1,{\"a\":[1e309]}]", String(repeating: "9", count: 101), "0." + String(repeating: "0", count: 101),
        "1e" + String(repeating: "0", count: 120) + "1", String(repeating: "9", count: 5_000),
    ])
    func whatSomeReaderDiesOfIsNot(json: String) {
        #expect(problem(json)?.hasPrefix("a number with more than 100 digits") == true)
    }

    @Test func nestingIsBound() {
        func nest(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(problem(nest(JSONData.maxDepth)) == nil && problem(nest(JSONData.maxDepth + 1)) != nil)
        // A page of messages adds a few levels, and readers of frames that use the scanner must accept those too.
        #expect(JSONData.maxDepth + 8 <= JSONScanner.maxDepth)
    }

    /// Accepted numbers are finite doubles, and zero only if they are written as zero.
    @Test func whatIsTakenIsADouble() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var text = Bool.random(using: &generator) ? "-" : ""
            text += (0..<Int.random(in: 1...30, using: &generator)).map { _ in
                "\(Int.random(in: 0...9, using: &generator))"
            }.joined()
            while text.hasPrefix("0") || text.hasPrefix("-0"), text.count > 2 {
                text = text.replacing("0", with: "1", maxReplacements: 1)
            }
            if Bool.random(using: &generator) { text += ".\(Int.random(in: 0...99_999, using: &generator))" }
            if Bool.random(using: &generator) { text += "e\(Int.random(in: -400...400, using: &generator))" }
            guard problem(text) == nil, let number = Double(text) else { continue }
            #expect(number.isFinite, "\(text)")
            #expect(number.isNormal || !text.prefix { $0 != "e" }.contains { ("1"..."9").contains($0) }, "\(text)")
        }
    }
}
