/// The common syntax of URLs with several servers: `[[user]:password@]host[:port][,host[:port] …][/path][?options]`.
struct RedisServerList {
    /// Including its `@`.
    let login: Substring
    let hosts: [Substring]
    /// Including its slash.
    let path: Substring
    /// Including its question mark.
    let options: Substring

    /// `text` is what follows the scheme.
    init(_ text: Substring) {
        let authority = text.prefix { !"/?#".contains($0) }
        let login = authority.lastIndex(of: "@").map { authority[...$0] } ?? ""
        hosts = authority.dropFirst(login.count).split(separator: ",", omittingEmptySubsequences: false)
        let tail = text[authority.endIndex...]
        self.login = login
        path = tail.prefix { $0 != "?" && $0 != "#" }
        options = tail.dropFirst(path.count)
    }

    /// A URL with that scheme for each server.
    func servers(
        _ scheme: String, defaultPort: Int, path: String = ""
    ) throws(RedisURLError) -> [RedisURL] {
        var servers: [RedisURL] = []
        for host in hosts {
            let port = Self.holdsPort(host) ? "" : ":\(defaultPort)"
            let end = host.isEmpty ? "" : "\(port)\(path)"
            servers.append(try RedisURL("\(scheme)\(login)\(host)\(end)\(options)"))
        }
        return servers
    }

    private static func holdsPort(_ host: Substring) -> Bool {
        let name = host.lastIndex(of: "]").map { host[$0...] } ?? host
        return name.contains(":")
    }
}
