import ChatCore
import Testing

@testable import ChatHub

/// What sessions with tokens may ask, when their tokens expire, and what follows from new and revoked ones.
@Suite struct SessionAccessTests {
    private final class Outlet: SessionOutlet {
        let protocolID = ProtocolID(rawValue: 0)
        let user: UserID
        var events: [ServerEvent] = []
        var closed: CloseReason?

        init(_ user: UserID) {
            self.user = user
        }

        func send(_ event: ServerEvent) { events.append(event) }
        func send(_ frame: Frame) {}
        func takesPage() -> Bool { true }
        func close(_ reason: CloseReason) { closed = closed ?? reason }

        /// The code of the newest event, if it is an error.
        var error: WireError.Code? {
            guard case .error(_, let error) = events.last else { return nil }
            return error.code
        }
    }

    private final class Encoder: FrameEncoder {
        private final class Nothing: FrameEncoding {
            func copied() -> any FrameEncoding { self }
        }

        func encode(_ event: ServerEvent, for protocolID: ProtocolID, viewer: UserID?) -> any FrameEncoding {
            Nothing()
        }
    }

    private final class Context: SessionHostContext {
        var now = Moment(nanoseconds: 1_000_000_000)
        var wallClock: UInt64 = 1_000_000
        var passedOn = 0
        var forbidden: [Rights] = []

        func atHome(_ loop: Int, _ body: @escaping @Sendable (RoomHost) -> Void) { passedOn += 1 }
        func atHome(of user: UserID, _ body: @escaping @Sendable (UserHost) -> Void) {}
        func ask(_ request: BrokerRequest, _ then: @escaping (Result<BrokerReply, BrokerError>) -> Void) {
            passedOn += 1
        }
        func schedule(after delay: Duration, _ body: @escaping () -> Void) {}
        func refused(by limit: HubLimit) {}
        func fannedOut(after time: Duration) {}
        func forbade(_ right: Rights) { forbidden.append(right) }
    }

    private let context = Context()
    private let host: SessionHost

    init() throws {
        host = SessionHost(
            index: 0, of: 1,
            settings: HubSettings(node: try NodeID("n-1"), rooms: RoomSettings(), encoder: Encoder()), context: context)
    }

    private func grant(
        _ user: String, _ rules: [(String, Rights)], id: String? = nil, expiresAt: UInt64? = nil
    ) throws -> Grant {
        Grant(
            user: try UserID(user),
            permissions: Permissions(rules: try rules.map { Permissions.Rule(try RoomPattern($0.0), $0.1) }),
            tokenID: id, expiresAt: expiresAt)
    }

    private func open(_ grant: Grant) -> (id: SessionID, outlet: Outlet) {
        let outlet = Outlet(grant.user)
        let identity = SessionIdentity(Identity(user: grant.user, grant: grant), device: nil)
        return (host.open(identity, rate: UserRate(UserRate.Rules(Limits())), outlet: outlet), outlet)
    }

    @Test func requestsWithoutTheirRightDoNotReachARoom() throws {
        let lobby = try RoomName("lobby")
        let (id, outlet) = open(try grant("ana", [("lobby", [.read]), ("open", .all)]))
        for (body, right) in [
            (ClientRequest.Body.send(SendRequest(room: lobby, text: "a")), Rights.send),
            (.signal(room: lobby, name: "typing", data: nil), .signal),
            (.join(room: try RoomName("secret"), after: nil, history: nil), .read),
            (.history(room: try RoomName("secret"), query: HistoryQuery(anchor: .newest, limit: 1)), .read),
            (.roster(room: try RoomName("secret"), cursor: nil), .read),
            (.moderate(room: lobby, .freeze(true)), .moderate),
            (.conversation(.create(lobby, [])), .send),
            (.conversation(.direct(try UserID("bob"))), .send),
            (.conversation(.invite(try RoomName("secret"), [])), .read),
            (.conversation(.participants(try RoomName("secret"))), .read),
            (.amend(AmendRequest(room: lobby, .delete(of: Position(epoch: 1, seq: 1)))), .amend),
            (.amend(AmendRequest(room: lobby, .pin(of: Position(epoch: 1, seq: 1)))), .amendAny),
            (.amend(AmendRequest(room: lobby, .react(of: Position(epoch: 1, seq: 1), emoji: "x"))), .send),
            (.amend(AmendRequest(room: lobby, .deleteUser(try UserID("bo"), from: nil))), .moderate),
            (.inbox(.read(room: try RoomName("secret"), position: Position(epoch: 1, seq: 1))), .read),
            (.inbox(.watch([lobby, try RoomName("secret")])), .read),
        ] {
            host.perform(body, ref: .number("1"), from: id)
            #expect(outlet.error == .forbidden && context.passedOn == 0)
            #expect(context.forbidden.last == right)
        }
        #expect(context.forbidden.count == 16)
        host.perform(.join(room: lobby, after: nil, history: nil), ref: nil, from: id)
        host.perform(.history(room: lobby, query: HistoryQuery(anchor: .newest, limit: 1)), ref: nil, from: id)
        host.perform(.send(SendRequest(room: try RoomName("open"), text: "a")), ref: nil, from: id)
        #expect(context.passedOn == 3 && outlet.events.count == 16)
    }

    @Test func anExpiredTokenIsToldAndThenClosed() throws {
        let (id, outlet) = open(try grant("ana", [("**", .all)], expiresAt: 1_010_000))
        let (_, forever) = open(try grant("bob", [("**", .all)]))
        context.wallClock = 1_009_999
        host.endExpired()
        #expect(outlet.events.isEmpty && outlet.closed == nil)
        context.wallClock = 1_010_400
        host.endExpired()
        host.endExpired()
        #expect(outlet.events == [.expiring(closesIn: 24_600)])
        host.perform(.ping, ref: nil, from: id)
        #expect(outlet.events.last == .pong(ref: nil), "within the grace the session goes on")
        context.wallClock = 1_035_000
        host.endExpired()
        #expect(outlet.closed == .expired && forever.closed == nil && forever.events.isEmpty)
    }

    @Test func aRequestAfterTheGraceEndsTheSessionEvenIfNoTimerDid() throws {
        let (id, outlet) = open(try grant("ana", [("**", .all)], expiresAt: 1_010_000))
        context.wallClock = 1_035_000
        host.perform(.send(SendRequest(room: try RoomName("lobby"), text: "a")), ref: nil, from: id)
        #expect(outlet.closed == .expired && context.passedOn == 0)
    }

    @Test func aNewTokenIsForTheSameUserAndReplacesTheOldOne() throws {
        let (id, outlet) = open(try grant("ana", [("**", .all)], expiresAt: 1_010_000))
        host.renew(id, .success(Identity(user: try UserID("bob"), grant: try grant("bob", [("**", .all)]))), ref: nil)
        #expect(outlet.error == .forbidden)
        host.renew(id, .failure(WireError(.unauthenticated, "the token has expired")), ref: nil)
        #expect(outlet.error == .unauthenticated)
        let next = try grant("ana", [("**", .all)], expiresAt: 1_100_000)
        host.renew(id, .success(Identity(user: try UserID("ana"), grant: next)), ref: .number("7"))
        #expect(outlet.events.last == .renewed(ref: .number("7"), expiresIn: 100))
        context.wallClock = 1_050_000
        host.endExpired()
        #expect(outlet.closed == nil && outlet.events.count == 3, "the old token's end does not count")
        context.wallClock = 1_125_000
        host.endExpired()
        #expect(outlet.closed == .expired)
    }

    @Test func aRenewalThatRemovesRightsMakesTheSessionLeave() throws {
        let (id, outlet) = open(try grant("ana", [("**", .all)]))
        let (lobby, team) = (try RoomName("lobby"), try RoomName("team:a"))
        for room in [lobby, team] {
            host.perform(.join(room: room, after: nil, history: nil), ref: .string(room.text), from: id)
        }
        let passedOn = context.passedOn
        let less = try grant("ana", [("lobby", [.read])])
        host.renew(id, .success(Identity(user: try UserID("ana"), grant: less)), ref: nil)
        #expect(context.passedOn == passedOn + 1, "the home loop is told that the session leaves")
        #expect(outlet.events.contains(.removed(room: team, Removal(.forbidden))))
        let refusal = outlet.events.compactMap { event in
            if case .error(.string("team:a"), let error) = event { error.code } else { nil }
        }
        #expect(refusal == [.forbidden], "the join of that room is answered")
        host.perform(.send(SendRequest(room: lobby, text: "a")), ref: nil, from: id)
        #expect(outlet.error == .forbidden, "the right to send is gone in the room that stays")
        host.perform(.join(room: team, after: nil, history: nil), ref: nil, from: id)
        #expect(outlet.error == .forbidden)
    }

    @Test func revokedTokensEndTheirSessionsAndNoOthers() throws {
        let (_, ana) = open(try grant("ana", [("**", .all)], id: "t1"))
        let (_, other) = open(try grant("ana", [("**", .all)], id: "t2"))
        var revocations = Revocations()
        _ = revocations.revoke(.token(id: "t1"), issuedBefore: .max, until: 2_000_000, now: context.wallClock)
        #expect(host.endRevoked { revocations.isRevoked($0) } == 1)
        #expect(ana.closed == .revoked && other.closed == nil)
    }

    @Test func sanctionsInAllRoomsEndSessionsOrRefuseMessages() throws {
        let (ana, bob) = (try UserID("ana"), try UserID("bob"))
        let (_, first) = open(try grant("ana", [("**", .all)]))
        let (id, second) = open(try grant("bob", [("**", .all)]))
        let lobby = try RoomName("lobby")
        host.perform(.join(room: lobby, after: nil, history: nil), ref: nil, from: id)
        let now = context.wallClock
        var sanctions = UserSanctions()
        _ = sanctions.impose(.ban, on: ana, Sanction(until: now + 60_000), now: now)
        _ = sanctions.impose(.mute, on: bob, Sanction(until: now + 60_000, reason: "calm"), now: now)
        #expect(host.apply(sanctions) == 1)
        #expect(first.closed == .banned && second.closed == nil)
        let passedOn = context.passedOn
        host.perform(.send(SendRequest(room: lobby, text: "a")), ref: nil, from: id)
        #expect(second.error == .muted && context.passedOn == passedOn, "the room is not asked")
        host.perform(.signal(room: lobby, name: "typing", data: nil), ref: nil, from: id)
        #expect(context.passedOn == passedOn + 1, "a mute is about messages")
        context.wallClock += 60_000
        host.perform(.send(SendRequest(room: lobby, text: "a")), ref: nil, from: id)
        #expect(context.passedOn == passedOn + 2, "it has ended")
    }

    @Test func memoryOfExpiriesIsBoundedWhateverIsRenewed() throws {
        let (id, _) = open(try grant("ana", [("**", .all)], expiresAt: 2_000_000))
        for step in 0..<1_000 {
            let next = try grant("ana", [("**", .all)], expiresAt: 2_000_000 + UInt64(step))
            host.renew(id, .success(Identity(user: try UserID("ana"), grant: next)), ref: nil)
        }
        #expect(host.expiries.count <= 67)
    }
}
