import FoundationEssentials
import Testing

@testable import ChatNode

/// The README's table of variables is the one that the program prints.
struct ReadmeTests {
    @Test func theReadmeHoldsTheTableOfVariables() throws {
        let readme = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "README.md")
        let text = try String(contentsOf: readme, encoding: .utf8)
        #expect(
            text.contains(NodeConfiguration.markdownTable()),
            "paste what `martlet serve --list-variables` prints into README.md, under Environment")
    }
}
