import ChatCore
import ChatJSON

extension ModerationOrder {
    /// The fields of a JSON object: `operation`, `user`, `value`, `time` and `reason`. `user`: who is meant if the
    /// object names nobody. Throws `missingField` or `badField`.
    init(body: [String: JSONValue], user: String? = nil) throws(WireError) {
        func text(_ name: String) throws(WireError) -> String? {
            guard let value = body[name], value != .null else { return nil }
            guard case .string(let text) = value else { throw WireError(.badField, "\(name) must be a string") }
            return text
        }
        guard let operation = try text("operation") else {
            throw WireError(.missingField, "operation is missing")
        }
        self.init(
            operation, user: try text("user") ?? user, value: try text("value"), reason: try text("reason"))
        if let value = body["time"], value != .null {
            guard let number = value.double, number == number.rounded(), (0...9_007_199_254_740_992).contains(number)
            else { throw WireError(.badField, "time must be a whole number of milliseconds") }
            time = UInt64(number)
        }
    }
}
