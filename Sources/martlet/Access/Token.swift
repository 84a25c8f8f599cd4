import ArgumentParser
import ChatAccess
import ChatCore
import ChatGateway
import ChatJSON
import ChatNode
import Glibc

/// `martlet token`: makes tokens and keys, and revokes tokens.
struct Token: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make tokens for development, make keys of servers, and revoke tokens.",
        subcommands: [Sign.self, Key.self, Revoke.self])

    struct Sign: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print a token, for development and tests.",
            discussion: """
                Signs with the secret in MARTLET_TOKEN_HMAC_SECRET, or with a private key. In production the back end \
                that knows the users makes their tokens.
                """)

        @Option(help: "The user (sub).")
        var user: String

        @Option(
            name: .customLong("room"),
            help: """
                A pattern of rooms and its rights, as in 'team:*=read,send'. May be repeated. Without it: \
                '**=read,send,signal,amend'.
                """)
        var rooms: [String] = []

        @Option(name: .customLong("deny"), help: "A pattern of rooms without any right. May be repeated.")
        var denied: [String] = []

        @Option(name: .customLong("role"), help: "A role. May be repeated.")
        var roles: [String] = []

        @Option(help: "The only device for which the token may be used.")
        var device: String?

        @Option(help: "How long the token lives, as in 15m, 1h or 30d.")
        var lifetime = "1h"

        @Option(help: "An ID (jti), by which the token can be revoked.")
        var id: String?

        @Option(help: "The issuer (iss).")
        var issuer: String?

        @Option(help: "The audience (aud).")
        var audience: String?

        @Option(help: "How many such tokens to print, one in each line, each signed anew: for load tests.")
        var count = 1

        @Option(help: "A PEM file with the private key (PKCS #8) that signs; instead of the secret.")
        var key: String?

        @Option(help: "The ID of the key (kid).")
        var keyID: String?

        func run() throws {
            let seconds = Int64(WallClock.milliseconds / 1_000)
            var claims: [String: JSONValue] = [
                "sub": .string(try name(user) { (text) throws(NameError) in try UserID(text).text }),
                "iat": .number("\(seconds)"), "exp": .number("\(seconds + (try life()))"),
                "martlet": .object(try permissions()),
            ]
            if let device {
                claims["device"] = .string(try name(device) { (text) throws(NameError) in try DeviceName(text).text })
            }
            if let id { claims["jti"] = .string(id) }
            if let issuer { claims["iss"] = .string(issuer) }
            if let audience { claims["aud"] = .string(audience) }
            guard (1...1_000_000).contains(count) else { throw ValidationError("--count must be 1 to 1000000") }
            let signer = try signer()
            for number in 1...count {
                // A shared secret signs the same claims the same way.
                if count > 1 { claims["jti"] = .string("\(id ?? "token")-\(number)") }
                Terminal.write(try signer.sign(claims) + "\n")
            }
        }

        private func life() throws -> Int64 {
            do {
                let life = try DurationText.parse(lifetime)
                guard life >= .seconds(1) else { throw ValidationError("--lifetime must be at least 1s") }
                return life.components.seconds
            } catch let error as Misfit {
                throw ValidationError("--lifetime \(lifetime) is no duration: \(error.hint ?? "such as 1h")")
            }
        }

        private func signer() throws -> TokenSigner {
            if let key {
                do {
                    return try TokenSigner(privatePEM: try TextFile.read(key), keyID: keyID)
                } catch {
                    throw ValidationError("--key \(key) cannot be used: \(error)")
                }
            }
            guard let secret = getenv("MARTLET_TOKEN_HMAC_SECRET").map({ String(cString: $0) }), !secret.isEmpty else {
                throw ValidationError("set MARTLET_TOKEN_HMAC_SECRET, or give --key")
            }
            do {
                return try TokenSigner(secret: Array(secret.utf8), keyID: keyID)
            } catch {
                throw ValidationError("MARTLET_TOKEN_HMAC_SECRET cannot be used: \(error)")
            }
        }

        private func permissions() throws -> [String: JSONValue] {
            var allowed: [String: JSONValue] = [:]
            for rule in rooms.isEmpty ? ["**=read,send,signal,amend"] : rooms {
                guard let equals = rule.lastIndex(of: "=") else {
                    throw ValidationError("--room \(rule) has no rights: write \(rule)=read,send")
                }
                let names = rule[rule.index(after: equals)...].split(separator: ",").map(String.init)
                guard Rights(names: names) != nil, !names.isEmpty else {
                    throw ValidationError(
                        "--room \(rule): the rights are \(Rights.names.map(\.name).joined(separator: ", "))")
                }
                allowed[try pattern(String(rule[..<equals]))] = .array(names.map { .string($0) })
            }
            var permissions: [String: JSONValue] = ["rooms": .object(allowed)]
            if !denied.isEmpty { permissions["deny"] = .array(try denied.map { .string(try pattern($0)) }) }
            if !roles.isEmpty { permissions["roles"] = .array(roles.map { .string($0) }) }
            return permissions
        }

        private func pattern(_ text: String) throws -> String {
            try name(text) { (text) throws(NameError) in try RoomPattern(text).description }
        }

        private func name(_ text: String, _ check: (String) throws(NameError) -> String) throws -> String {
            do throws(NameError) {
                return try check(text)
            } catch {
                throw ValidationError("\(text.debugDescription): \(error)")
            }
        }
    }

    struct Key: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key for a server, and its entry for MARTLET_API_KEYS.",
            discussion: "The key is printed once and stored nowhere. A node knows only its SHA-256.")

        @Argument(help: "The server's name.")
        var name: String

        @Option(help: "What it may do: read, send, moderate, admin, joined by +, each with an optional @pattern.")
        var scopes = "read+send"

        func run() throws {
            var generator = SystemRandomNumberGenerator()
            let key = (0..<4).map { _ in
                let part = String(generator.next() as UInt64, radix: 16)
                return String(repeating: "0", count: 16 - part.count) + part
            }.joined()
            let entry = "\(name):\(APIKeys.hash(of: key)):\(scopes)"
            do {
                _ = try APIKeys(entry)
            } catch {
                throw ValidationError("\(error)")
            }
            Terminal.write("key    \(key)\nentry  \(entry)\n")
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a token by its ID (jti), on all nodes within a second.")

        @Argument(help: "The ID.")
        var id: String

        @OptionGroup var revocation: Revocation

        func run() async throws { try await revocation.revoke("token", id) }
    }
}
