import FoundationEssentials

/// The Markdown pages of a repository and the links between them. Nothing here uses the network: links to other hosts
/// are not followed.
struct Documents {
    /// The text of each page by its path from the top of the repository.
    var pages: [String: String]
    /// Whether there is a file or a folder at a path.
    var exists: (String) -> Bool

    /// The page at the top, from which all others must be reachable.
    static let top = "README.md"

    /// Every page below a folder. Folders whose names begin with a dot hold builds and caches.
    static func read(root: URL) throws -> Documents {
        var pages: [String: String] = [:]
        var folders = [""]
        while let folder = folders.popLast() {
            let place = folder.isEmpty ? root : root.appending(path: folder)
            for name in try FileManager.default.contentsOfDirectory(atPath: place.path) where !name.hasPrefix(".") {
                let path = folder.isEmpty ? name : folder + "/" + name
                if isFolder(root.appending(path: path)) {
                    folders.append(path)
                } else if name.hasSuffix(".md") {
                    pages[path] = try String(contentsOf: root.appending(path: path), encoding: .utf8)
                }
            }
        }
        return Documents(pages: pages) { FileManager.default.fileExists(atPath: root.appending(path: $0).path) }
    }

    private static func isFolder(_ place: URL) -> Bool {
        var isFolder = false
        return FileManager.default.fileExists(atPath: place.path, isDirectory: &isFolder) && isFolder
    }

    /// One line for each link that leads nowhere, and for each page that no chain of links from the top reaches.
    func problems() -> [String] {
        let parsed = pages.mapValues(MarkdownPage.init)
        var problems: [String] = []
        for (page, text) in parsed.sorted(by: { $0.key < $1.key }) {
            for link in text.links {
                if let problem = problem(of: link, in: page, parsed) { problems.append("\(page): \(link): \(problem)") }
            }
        }
        let reached = reachable(parsed)
        problems += pages.keys.sorted().filter { !reached.contains($0) }.map {
            "\($0): no chain of links from \(Self.top) leads here"
        }
        return problems
    }

    private func problem(of link: String, in page: String, _ parsed: [String: MarkdownPage]) -> String? {
        guard let target = target(of: link, in: page) else { return nil }
        guard let path = target.path else { return "write it relative to the page, inside the repository" }
        guard parsed[path] != nil || exists(path) else { return "there is no \(path)" }
        guard let anchor = target.anchor else { return nil }
        guard let other = parsed[path] else { return "\(path) is no page, so it has no #\(anchor)" }
        return other.anchors.contains(anchor) ? nil : "\(path) has no heading for #\(anchor)"
    }

    private func reachable(_ parsed: [String: MarkdownPage]) -> Set<String> {
        var reached: Set<String> = []
        var next = [Self.top]
        while let page = next.popLast() {
            guard let text = parsed[page], reached.insert(page).inserted else { continue }
            next += text.links.compactMap { target(of: $0, in: page)?.path }
        }
        return reached
    }

    /// Where a link leads: nil for another host, a nil path for a place outside the repository.
    private func target(of link: String, in page: String) -> (path: String?, anchor: String?)? {
        guard link.prefixMatch(of: /[a-z][a-z0-9+.\-]*:/) == nil else { return nil }
        let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        let anchor = parts.count > 1 ? String(parts[1]) : nil
        guard let first = parts.first, !first.isEmpty else { return (page, anchor) }
        guard !first.hasPrefix("/") else { return (nil, anchor) }
        var path = page.split(separator: "/").dropLast()
        for part in first.split(separator: "/") where part != "." {
            guard part == ".." else {
                path.append(part)
                continue
            }
            guard path.popLast() != nil else { return (nil, anchor) }
        }
        return (path.joined(separator: "/"), anchor)
    }
}

/// What links from and to one page need: its links, and the anchors of its headings as GitHub makes them.
struct MarkdownPage {
    private(set) var links: [String] = []
    private(set) var anchors: Set<String> = []

    init(_ text: String) {
        var fence: Substring?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if let open = fence {
                if line.hasPrefix(open) { fence = nil }
            } else if let opening = line.prefixMatch(of: /`{3,}|~{3,}/) {
                fence = opening.output
            } else {
                read(line)
            }
        }
    }

    private mutating func read(_ line: Substring) {
        if let heading = line.wholeMatch(of: /#{1,6}\s+(.*?)\s*#*/) {
            addAnchor(Self.slug(heading.1))
        }
        let prose = line.replacing(/`[^`]*`/, with: "`")
        links += prose.matches(of: /\]\(\s*([^()\s]+)(?:\s+"[^"]*")?\s*\)/).map { String($0.1) }
        if let definition = prose.wholeMatch(of: /\s*\[[^\]]+\]:\s*(\S+).*/) { links.append(String(definition.1)) }
        for explicit in prose.matches(of: /<a\s+(?:id|name)="([^"]+)"/) { anchors.insert(String(explicit.1)) }
    }

    /// Further headings of the same words get a number.
    private mutating func addAnchor(_ slug: String) {
        var anchor = slug
        var number = 0
        while !anchors.insert(anchor).inserted {
            number += 1
            anchor = "\(slug)-\(number)"
        }
    }

    /// Lower case, without punctuation, with hyphens for spaces; of a link only its words.
    static func slug(_ heading: Substring) -> String {
        let words = heading.replacing(/!?\[([^\]]*)\]\([^)]*\)/) { $0.1 }.lowercased()
        return String(words.filter { $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" || $0 == " " })
            .replacing(" ", with: "-")
    }
}
