import ChatCore
import ChatJSON

/// The body of `POST messages`: a JSON object with `user`, and `text`, `data` and `key` under the rules of a `send`
/// over `martlet.v1`. Fields that only apply to a session are ignored, as are unknown ones.
public struct PostedMessage: Hashable, Sendable {
    /// The user who is named as the sender; it is not verified.
    public var user: String?
    public var text: String?
    /// JSON text.
    public var data: String?
    public var key: String?
    /// The thread to which it is a reply, and the users whom it mentions.
    public var extra: MessageExtra?

    /// The key, if it follows the rules of keys. `name`: what the error calls it.
    public static func checked(key: String, called name: String) throws(WireError) -> String {
        try RequestFields.checked(key: key, called: name)
    }

    public init(_ body: UnsafeRawBufferPointer) throws(WireError) {
        var fields = RequestFields(body)
        do throws(JSONError) {
            try fields.read(isUTF8: false)
        } catch {
            throw WireError(.badFrame, "the body must be a JSON object: \(error)")
        }
        text = try fields.string(.text)
        data = try fields.data()
        key = try fields.key()
        extra = try fields.extra()
        try fields.needContent(text: text)
        user = try fields.string(.user)
    }
}
