import FoundationEssentials
import Testing

@testable import ChatNode

/// The table of variables in the README is the one that the program prints.
struct ReadmeTests {
    private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    @Test func theTableOfVariablesIsTheOneThatTheProgramPrints() throws {
        let page = root.appending(path: "Sources/ChatNode/Configuration/README.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        #expect(
            text.contains(NodeConfiguration.markdownTable()),
            "paste what `martlet serve --list-variables` prints into Sources/ChatNode/Configuration/README.md")
    }

    @Test func theReadmeIsShort() throws {
        let text = try String(contentsOf: root.appending(path: Documents.top), encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).count - 1
        #expect(lines <= 200, "README.md has \(lines) lines: move details next to what they describe")
    }

    @Test func everyLinkLeadsSomewhereAndEveryPageIsLinked() throws {
        let documents = try Documents.read(root: root)
        #expect(documents.pages.count >= 12)
        #expect(documents.problems() == [])
    }

    @Test func linksThatLeadNowhereAreFound() {
        let top = """
            # Top & `code`
            [good](a/page.md#two-words-1) ![picture](a/p.png "title") [here](#top--code) [other host](https://example.org/x)
            `[in code](nowhere.md)` [gone](a/gone.md) [no heading](a/page.md#three) [outside](../x.md) [absolute](/a/page.md)
            [in a picture](a/p.png#two-words) [named](#by-name) <a id="by-name"></a>

            ```sh
            # Not a heading
            [in a block](nowhere.md)
            ```
            [not a heading](#not-a-heading)
            [reference]: a/lost.md
            """
        let page = "# Two words\n## Two words\n[up](../README.md) [beside](p.png) [wrong](a/p.png)\n"
        let documents = Documents(
            pages: ["README.md": top, "a/page.md": page, "a/alone.md": "[itself](alone.md)\n"]
        ) { ["a", "a/p.png"].contains($0) }
        #expect(
            documents.problems() == [
                "README.md: a/gone.md: there is no a/gone.md",
                "README.md: a/page.md#three: a/page.md has no heading for #three",
                "README.md: ../x.md: write it relative to the page, inside the repository",
                "README.md: /a/page.md: write it relative to the page, inside the repository",
                "README.md: a/p.png#two-words: a/p.png is no page, so it has no #two-words",
                "README.md: #not-a-heading: README.md has no heading for #not-a-heading",
                "README.md: a/lost.md: there is no a/lost.md",
                "a/page.md: a/p.png: there is no a/a/p.png",
                "a/alone.md: no chain of links from README.md leads here",
            ])
    }
}
