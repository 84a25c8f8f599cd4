import FoundationEssentials
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import NIOSSL
import TestSupport
import Testing

@testable import ChatAccess

/// Fetching a key set from servers of every kind.
struct KeySetFetcherTests {
    private let loop = MultiThreadedEventLoopGroup.singleton.any()
    private let keySet = String(decoding: Fixtures.keySet([Fixtures.jwk("p256")]), as: UTF8.self)

    /// The body, or why there is none.
    private func fetch(
        _ url: String, deadline: Duration = .seconds(60), maxBytes: Int = 262_144, authorityFile: String? = nil
    ) async throws -> Result<[UInt8], KeySetFetcher.Failure> {
        let fetcher = try KeySetFetcher(
            try KeySetURL(url), authorityFile: authorityFile, deadline: deadline, maxBytes: maxBytes)
        do {
            return .success(try await fetcher.fetch(on: loop).get())
        } catch let failure as KeySetFetcher.Failure {
            return .failure(failure)
        }
    }

    private func problem(_ answer: KeySetServer.Answer, deadline: Duration = .seconds(60)) async throws -> String? {
        let server = try await KeySetServer(answer)
        let result = try await fetch("http://127.0.0.1:\(server.port)/keys", deadline: deadline)
        await server.close()
        guard case .failure(let failure) = result else { return nil }
        return failure.description
    }

    @Test func aKeySetIsFetched() async throws {
        let server = try await KeySetServer(KeySetServer.ok(keySet))
        for host in ["127.0.0.1", "localhost"] {
            let body = try await fetch("http://\(host):\(server.port)/a/keys?x=1").get()
            #expect(String(decoding: body, as: UTF8.self) == keySet)
        }
        let request = try #require(server.heard.first)
        #expect(request.hasPrefix("GET /a/keys?x=1 HTTP/1.1\r\n"))
        #expect(request.lowercased().contains("host: 127.0.0.1:\(server.port)\r\n"))
        await server.close()
    }

    @Test func bodiesOfOtherForms() async throws {
        for head in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            let server = try await KeySetServer(.send(head))
            #expect(try await fetch("http://127.0.0.1:\(server.port)/").get() == Array("{}".utf8))
            await server.close()
        }
        let server = try await KeySetServer(.sendAndClose("HTTP/1.0 200 OK\r\n\r\n{}"))
        #expect(try await fetch("http://127.0.0.1:\(server.port)/").get() == Array("{}".utf8))
        await server.close()
    }

    @Test(arguments: [301, 302, 303, 307, 308, 304]) func redirectsAreNotFollowed(status: Int) async throws {
        let problem = try await problem(
            .send("HTTP/1.1 \(status) Moved\r\nLocation: http://127.0.0.1:1/secret-place\r\nContent-Length: 0\r\n\r\n"))
        #expect(problem == "status \(status), a redirect, which is not followed: give the final address")
    }

    @Test(arguments: [201, 204, 206, 400, 401, 404, 429, 500, 503]) func onlyStatus200Counts(status: Int) async throws {
        #expect(
            try await problem(.send("HTTP/1.1 \(status) Text\r\nContent-Length: 2\r\n\r\n{}")) == "status \(status)")
    }

    @Test(arguments: [
        "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"k",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ])
    func answersThatEndEarly(text: String) async throws {
        let problem = try await problem(.sendAndClose(text))
        #expect(problem?.contains("end") == true, "\(problem ?? "accepted")")
    }

    @Test(arguments: ["SSH-2.0-x\r\n", "\u{0}\u{1}\u{2}\u{3}", "{}", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"])
    func whatIsNotHTTP(text: String) async throws {
        #expect(try await problem(.sendAndClose(text)) != nil)
        #expect(try await problem(.greet(text), deadline: .milliseconds(500)) != nil)
    }

    @Test func slowServers() async throws {
        let slow = "no complete answer within 300 ms"
        #expect(try await problem(.silence, deadline: .milliseconds(300)) == slow)
        #expect(
            try await problem(
                .drip("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"), deadline: .milliseconds(300)) == slow)
        #expect(
            try await problem(
                .send("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"), deadline: .milliseconds(300)) == slow)
    }

    @Test func hugeAnswers() async throws {
        let huge = "the answer is longer than 262144 bytes"
        #expect(try await problem(.endless("HTTP/1.1 200 OK\r\n\r\n")) == huge)
        #expect(try await problem(.endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")) == huge)
        let server = try await KeySetServer(KeySetServer.ok(keySet))
        let url = "http://127.0.0.1:\(server.port)/"
        #expect(try await fetch(url, maxBytes: keySet.utf8.count).get().count == keySet.utf8.count)
        guard case .failure = try await fetch(url, maxBytes: keySet.utf8.count - 1) else { throw TestFailure("taken") }
        await server.close()
        // A head without end.
        let head =
            "HTTP/1.1 200 OK\r\n" + String(repeating: "A: \(String(repeating: "x", count: 1_000))\r\n", count: 500)
        #expect(try await problem(.send(head)) != nil)
    }

    @Test func nobodyThere() async throws {
        // A port that the kernel gives to nobody. Another test could be given the port of a server that was closed. The
        // refusal may come within the call of connect(2), or later.
        for url in ["http://127.0.0.1:1/", "https://127.0.0.1:1/"] {
            for _ in 0..<50 {
                guard case .failure(let failure) = try await fetch(url) else { throw TestFailure("taken") }
                #expect(failure.description == "Connection refused")
            }
        }
        guard case .failure(let failure) = try await fetch("https://nowhere.invalid/") else {
            throw TestFailure("taken")
        }
        #expect(failure.description == "the host name does not resolve")
    }

    // MARK: TLS

    @Test func overTLS() async throws {
        let certificate = try NIOSSLCertificate(bytes: Array(Fixtures.tls("certificate").utf8), format: .pem)
        let key = try NIOSSLPrivateKey(bytes: Array(Fixtures.tls("key").utf8), format: .pem)
        let tls = try NIOSSLContext(
            configuration: .makeServerConfiguration(
                certificateChain: [.certificate(certificate)], privateKey: .privateKey(key)))
        let server = try await KeySetServer(KeySetServer.ok(keySet), tls: tls)
        let file = FileManager.default.temporaryDirectory.appending(path: "authority-\(UUID()).pem")
        try Fixtures.tls("authority").write(to: file, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(at: file) }
        for host in ["127.0.0.1", "localhost"] {
            let body = try await fetch("https://\(host):\(server.port)/keys", authorityFile: file.path()).get()
            #expect(String(decoding: body, as: UTF8.self) == keySet)
        }
        // The system does not trust this authority.
        guard case .failure(let untrusted) = try await fetch("https://localhost:\(server.port)/") else {
            throw TestFailure("taken")
        }
        #expect(untrusted.description == "TLS: the certificate is not of an authority that is trusted here")
        // The certificate is for other names.
        let other = try await fetch("https://127.0.0.2:\(server.port)/", authorityFile: file.path())
        guard case .failure = other else { throw TestFailure("taken") }
        await server.close()
        // No TLS is spoken there.
        let plain = try await KeySetServer(.greet("HTTP/1.1 400 Bad Request\r\n\r\n"))
        guard case .failure(let spoken) = try await fetch("https://localhost:\(plain.port)/") else {
            throw TestFailure("taken")
        }
        #expect(spoken.description.hasPrefix("TLS: "))
        await plain.close()
    }

    @Test func theAuthorityIsAPEMFile() throws {
        let url = try KeySetURL("https://issuer.example/keys")
        #expect(throws: KeySetFetcher.Failure.self) {
            _ = try KeySetFetcher(url, authorityFile: "/nonexistent/authority.pem")
        }
    }

    // MARK: URLs

    @Test func addresses() throws {
        let url = try KeySetURL("HTTPS://issuer.example:8443/a/b?c=d")
        #expect(url.isSecure && url.host == "issuer.example" && url.port == 8_443 && url.target == "/a/b?c=d")
        #expect(try KeySetURL("https://issuer.example").target == "/")
        #expect(try KeySetURL("https://issuer.example?a=b").target == "/?a=b")
        #expect(try KeySetURL("https://[2001:db8::1]/").authority == "[2001:db8::1]")
        #expect("\(try KeySetURL("https://issuer.example:443/k"))" == "https://issuer.example/k")
        for text in ["http://localhost/", "http://127.0.0.1:80/", "http://127.9.9.9/", "http://[::1]:8080/"] {
            #expect(try !KeySetURL(text).isSecure)
        }
    }

    @Test(arguments: [
        "", "issuer.example", "ftp://issuer.example/", "file:///etc/passwd", "https://", "https:///keys",
        "https://issuer.example:0/", "https://issuer.example:65536/", "https://issuer.example:x/",
        "https://user:pass@issuer.example/", "https://issuer.example/#keys", "https://issuer.example/a b",
        "https://issuer.example/\r\nX: y", "https://é.example/", "https://[::1/", "http://issuer.example/",
        "http://10.0.0.1/", "http://localhost.evil.example/", "http://127.0.0.1.evil.example/", "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1.x]/", "http://user@localhost/",
    ])
    func whatIsNoAddress(text: String) {
        #expect(throws: KeySetURL.Problem.self) { _ = try KeySetURL(text) }
    }
}
