import Glibc

/// Reads small text files, such as keys.
package enum TextFile {
    /// Why a file cannot be used.
    package struct Problem: Error, CustomStringConvertible {
        package let description: String
    }

    /// A file of keys is not longer than this.
    private static let maxBytes = 1_048_576

    /// The file's text.
    package static func read(_ path: String) throws(Problem) -> String {
        guard let file = fopen(path, "rb") else { throw Problem(description: String(cString: strerror(errno))) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: maxBytes + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else { throw Problem(description: "it cannot be read") }
        guard count <= maxBytes else { throw Problem(description: "it is longer than \(maxBytes) bytes") }
        guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
            throw Problem(description: "it is not UTF-8")
        }
        return text
    }
}
