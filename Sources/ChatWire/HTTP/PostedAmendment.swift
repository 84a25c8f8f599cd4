import ChatCore
import ChatJSON

/// The body of `POST amendments`: a JSON object with the fields of an `amend` of `martlet.v1`, and in development mode
/// `by`, who amends.
public struct PostedAmendment {
    private let fields: RequestFields

    /// Reads the form of the body, whose bytes must outlive this value.
    public init(_ body: UnsafeRawBufferPointer) throws(WireError) {
        var fields = RequestFields(body)
        do throws(JSONError) {
            try fields.read(isUTF8: false)
        } catch {
            throw WireError(.badFrame, "the body must be a JSON object: \(error)")
        }
        self.fields = fields
    }

    /// The user who is named as the author of the amendment; it is not verified.
    public func user() throws(WireError) -> String? { try fields.string(.by) }

    public func request(of room: RoomName) throws(WireError) -> AmendRequest { try fields.amendment(of: room) }
}
