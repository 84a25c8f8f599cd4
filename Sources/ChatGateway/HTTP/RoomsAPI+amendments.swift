import ChatCore
import ChatJSON
import ChatWire
import Hummingbird
import HummingbirdCore
import NIOCore

extension RoomsAPI {
    /// `POST amendments` with `{"operation","of",…}`: 201 with the position of the amendment, 200 if nothing was
    /// stored.
    func amend(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        try caller.refuseForeignPage(request)
        let buffer = try await caller.body(of: request)
        let claimed = try buffer.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try PostedAmendment(bytes).user()
        }
        let sender = try await caller.sender(request, claimed: claimed)
        // Which right an amendment takes is known only when it was read, but nobody amends what they may not see.
        try service.allow(.read, in: room, by: sender.grant)
        var amendment = try buffer.withUnsafeReadableBytes { (bytes) throws(WireError) in
            try PostedAmendment(bytes).request(of: room)
        }
        amendment.key = try key(request, amendment.key)
        let amended = try await service.amend(amendment, by: sender.user, grant: sender.grant)
        HTTPAccount.current?.charge(amended.cost)
        var bytes = ByteWriter()
        bytes.appendText("{\"room\":")
        bytes.appendJSON(room.text)
        bytes.append(UInt8(ascii: ","))
        codec.fields(of: amended.reply, into: &bytes)
        bytes.append(UInt8(ascii: "}"))
        return HTTPRoutes.json(bytes.array, status: amended.reply.outcome == .stored ? .created : .ok)
    }

    /// `GET audit?before=&limit=`: who changed rules and sanctions, and who reported messages, newest first.
    func audit(_ request: Request, room: String?) async throws -> Response {
        let room = try name(room)
        let query = try fields(request)
        var before: Position?
        if let text = query["before"] {
            guard let position = Position(text) else {
                throw WireError(.badField, "before must be a position: two decimal numbers, <epoch>-<seq>")
            }
            before = position
        }
        let limit = try limit(query["limit"])
        let grant = try await caller.reader(request)
        let entries = try await service.audit(room: room, before: before, limit: limit, by: grant)
        HTTPAccount.current?.charge(RequestCost.roster(entries.count, read: true))
        return object(room) { bytes in
            bytes.field("\"entries\":", list: entries) { entry, bytes in
                bytes.field("{\"position\":", entry.position)
                bytes.field(",\"at\":", at: entry.position.epoch)
                bytes.field(",\"operation\":", entry.operation)
                bytes.field(",\"user\":", entry.user)
                bytes.field(",\"value\":", entry.value)
                bytes.field(",\"reason\":", entry.reason)
                bytes.field(",\"by\":", entry.by)
                bytes.field(",\"version\":", "\(entry.version)")
                bytes.append(UInt8(ascii: "}"))
            }
        }
    }
}
