/// The bounds of `data`: JSON that clients send, and that programs in any language read with their own JSON parsers.
/// The grammar (RFC 8259) does not limit numbers and nesting, but parsers do, and some fail on what exceeds their
/// limits: Python rejects integers of more than 4,300 digits, Go and C++ reject numbers that no double can hold, and
/// .NET rejects more than 64 levels.
public enum JSONData {
    /// Levels of arrays and objects. A message itself is nested in some levels of a frame.
    public static let maxDepth = 32
    /// Digits of one number, including those of its exponent.
    public static let maxDigits = 100
    /// A number other than zero is at least 10^-307 and below 10^308, where a double has its full precision.
    static let maxExponent = 307

    /// The problem with a number, for an error message.
    static let numberProblem =
        "a number with more than \(maxDigits) digits, or that is not between 1e-\(maxExponent) and 1e\(maxExponent + 1)"

    /// Why the text, which is UTF-8, is not JSON within these bounds; nil if it is.
    public static func problem(_ bytes: UnsafeRawBufferPointer) -> JSONError? {
        var scanner = JSONScanner(data: bytes)
        do throws(JSONError) {
            _ = try scanner.document()
            return nil
        } catch {
            return error
        }
    }

    /// Whether the text of a number, whose grammar was checked, is within the bounds.
    static func isWithinBounds(_ number: UnsafeRawBufferPointer) -> Bool {
        // The fast path: nearly every number is short and has no exponent.
        if number.count <= 15, !number.contains(where: { $0 | 0x20 == UInt8(ascii: "e") }) { return true }
        guard number.count <= maxDigits + 5 else { return false }
        var digits = 0
        /// The power of ten of the first digit that is not zero (0 for the digit before the point, -1 for the one after
        /// it); nil if there is none.
        var places: Int?
        var fraction = 0
        var isFraction = false
        var isExponent = false
        var isNegative = false
        var exponent = 0
        for byte in number {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                digits += 1
                let digit = Int(byte - UInt8(ascii: "0"))
                if isExponent {
                    exponent = min(exponent * 10 + digit, 1_000_000)
                } else if isFraction {
                    fraction += 1
                    if digit > 0, places == nil { places = -fraction }
                } else if let known = places {
                    places = known + 1
                } else if digit > 0 {
                    places = 0
                }
            case UInt8(ascii: "."): isFraction = true
            case UInt8(ascii: "e"), UInt8(ascii: "E"): isExponent = true
            case UInt8(ascii: "-"): isNegative = isExponent
            default: break
            }
        }
        guard digits <= maxDigits else { return false }
        let power = (places ?? 0) + (isNegative ? -exponent : exponent)
        return abs(power) <= maxExponent
    }
}
