import ChatAccess
import ChatCore
import ChatHub
import ChatJSON
import ChatWire

/// Issues tickets and takes them back, each once, whichever node is shown it: a ticket is in the broker alone.
final class Tickets: Sendable {
    typealias Ask = @Sendable (BrokerRequest) async -> Result<BrokerReply, BrokerError>

    private let ask: Ask

    init(_ ask: @escaping Ask) {
        self.ask = ask
    }

    /// Why no ticket is issued, or accepted, is always a ``WireError``: a Redis that is away makes it `unavailable`
    /// within the deadline of commands.
    func issue(_ grant: Grant, now: UInt64) async -> Result<Ticket, WireError> {
        let text = TicketSecret.make()
        guard let name = TicketSecret.name(of: text) else {
            return .failure(WireError(.internalError, "a ticket cannot be made"))
        }
        var life = Ticket.life
        if let expiresAt = grant.expiresAt {
            life = min(life, .milliseconds(Int64(clamping: expiresAt > now ? expiresAt - now : 1)))
        }
        switch await ask(.storeTicket(name, allows: GrantJSON.text(of: grant), life: life)) {
        case .success: return .success(Ticket(text: text, expires: UInt64(max(0, life.components.seconds))))
        case .failure(let error): return .failure(error.wireError("ticket"))
        }
    }

    /// What a ticket allows, once. Nil if it was used, has expired, or never was one.
    func redeem(_ text: String) async -> Result<Grant?, WireError> {
        guard let name = TicketSecret.name(of: text) else { return .success(nil) }
        switch await ask(.takeTicket(name)) {
        case .success(.ticket(let allowed)): return .success(allowed.flatMap { GrantJSON.grant($0) })
        case .success: return .failure(BrokerError.malformed("").wireError("ticket"))
        case .failure(let error): return .failure(error.wireError("ticket"))
        }
    }
}

/// A grant as JSON: `user`, `device`, `rooms`, `deny`, `roles`, `jti`, `iat` and `exp`, the times in milliseconds since
/// 1970 as text. The form of `rooms` and `deny` is that of a token's claim.
enum GrantJSON {
    static func text(of grant: Grant) -> String {
        var members = PermissionsJSON.members(of: grant.permissions)
        members["user"] = .string(grant.user.text)
        members["roles"] = .array(grant.permissions.roles.map { .string($0) })
        if let device = grant.device { members["device"] = .string(device.text) }
        if let id = grant.tokenID { members["jti"] = .string(id) }
        if let time = grant.issuedAt { members["iat"] = .string(String(time)) }
        if let time = grant.expiresAt { members["exp"] = .string(String(time)) }
        return JSONValue.object(members).text
    }

    /// Nil for anything that no node has written. A bearer of a ticket is never a server.
    static func grant(_ text: String) -> Grant? {
        guard let members = try? JSONValue(parsing: Array(text.utf8)).object,
            let user = members["user"]?.string.flatMap({ try? UserID(stored: $0) }),
            let access = try? PermissionsJSON.read(members)
        else { return nil }
        let roles = members["roles"]?.array?.compactMap(\.string) ?? []
        guard !roles.contains(Permissions.administrator), let issuedAt = time(members["iat"]),
            let expiresAt = time(members["exp"])
        else { return nil }
        var device: DeviceName?
        if let value = members["device"] {
            guard let name = value.string.flatMap({ try? DeviceName($0) }) else { return nil }
            device = name
        }
        return Grant(
            user: user, device: device,
            permissions: Permissions(rules: access.rules, denied: access.denied, roles: roles),
            tokenID: members["jti"]?.string, issuedAt: issuedAt.value, expiresAt: expiresAt.value)
    }

    /// A time, or that there is none; nil for anything else.
    private static func time(_ value: JSONValue?) -> (value: UInt64?, Void)? {
        guard let value else { return (nil, ()) }
        return value.string.flatMap { UInt64($0) }.map { ($0, ()) }
    }
}
