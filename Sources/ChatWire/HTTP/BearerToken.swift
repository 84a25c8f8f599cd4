/// Bearer tokens in HTTP fields (RFC 6750 §2.1).
public enum BearerToken {
    /// The token of an `Authorization: Bearer …` field with this value; nil for another scheme.
    public static func read(_ value: String) -> String? {
        let parts = value.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return String(parts[1])
    }
}
