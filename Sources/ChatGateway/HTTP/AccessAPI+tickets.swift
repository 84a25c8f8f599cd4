import ChatCore
import ChatJSON
import ChatWire
import HTTPTypes
import Hummingbird
import HummingbirdCore

extension AccessAPI {
    /// `POST`, with a token and no body: a ticket with the rights of the token. With a key of the scope `admin` and
    /// `{"user","rooms"}`, and optionally `deny`, `device` and `exp`: a ticket for that user. 201 with the ticket.
    func ticket(_ request: Request) async throws -> Response {
        let body = try await caller.object(in: request, mayBeEmpty: true)
        let credentials = try caller.carriers.credentials(of: request, claimed: nil)
        // Otherwise a ticket could be made to last.
        guard credentials.carrier != .ticket else {
            throw WireError(.unauthenticated, "a ticket gives no other ticket: a token or a key is needed")
        }
        guard let grant = try await caller.identity(of: request)?.grant else {
            throw WireError(.notFound, "there are no tickets without tokens: the node is in development mode")
        }
        guard credentials.token != nil else { throw WireError(.unauthenticated, "a token is missing") }
        let allowed = try body["user"] == nil ? Self.own(grant, body) : Self.other(grant, body)
        try pay(allowed.user)
        let ticket = try await caller.authenticator.ticket(for: allowed).get()
        var bytes = ByteWriter()
        bytes.appendText("{\"ticket\":")
        bytes.appendJSON(ticket.text)
        bytes.appendRaw(",\"expires\":\(ticket.expires)}")
        return HTTPRoutes.json(bytes.array, status: .created)
    }

    /// The grant of the bearer of a token.
    private static func own(_ grant: Grant, _ body: [String: JSONValue]) throws(WireError) -> Grant {
        guard !grant.permissions.actsForOthers else {
            throw WireError(.missingField, "a server must name the user, and the rights in rooms")
        }
        guard body.isEmpty else { throw WireError(.badField, "only a server that names a user may say more") }
        guard !grant.permissions.rules.isEmpty else { throw WireError(.forbidden, "the token gives no right at all") }
        return grant
    }

    /// How long a session goes on that a server's ticket opened, if the server does not say.
    private static let defaultLife: UInt64 = 3_600_000
    private static let members: Set<String> = ["user", "rooms", "deny", "device", "exp"]

    /// The grant that a server wants for a user.
    private static func other(_ grant: Grant, _ body: [String: JSONValue]) throws(WireError) -> Grant {
        if let error = AccessDecision.refusalOfAdministration(by: grant) { throw error }
        // A misspelt deny would otherwise allow what it was to forbid.
        guard body.keys.allSatisfy(members.contains) else {
            throw WireError(.badField, "only user, rooms, deny, device and exp are known")
        }
        guard case .string(let name)? = body["user"] else { throw WireError(.badField, "user must be a text") }
        let (rules, denied) = try PermissionsJSON.read(body)
        guard !rules.isEmpty else { throw WireError(.missingField, "rooms must give a right in a room") }
        let now = WallClock.milliseconds
        let expiresAt = try time("exp", body) ?? now + defaultLife
        guard expiresAt > now else { throw WireError(.badField, "exp is in the past") }
        do throws(NameError) {
            return Grant(
                user: try UserID(name), device: try device(body["device"]),
                permissions: Permissions(rules: rules, denied: denied), issuedAt: now, expiresAt: expiresAt)
        } catch {
            throw WireError(.badName, error.description)
        }
    }

    private static func device(_ value: JSONValue?) throws(NameError) -> DeviceName? {
        guard let value, value != .null else { return nil }
        guard case .string(let text) = value else { throw NameError("device must be a text") }
        return try DeviceName(text)
    }

    /// Charges the user and the address for a ticket.
    private func pay(_ user: UserID) throws {
        guard let account = HTTPAccount.current else { return }
        account.charge(RequestCost.read)
        let wait = account.accounts.takeTicket(of: user, now: .now)
        guard wait == .zero else {
            throw HTTPProblem(
                WireError(.rateLimited, "the user has taken too many tickets of late"),
                field: (.retryAfter, "\(max(1, wait.components.seconds + 1))"))
        }
    }
}
