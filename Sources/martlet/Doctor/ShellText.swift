/// Quotes names from Redis in commands that a person may copy into a shell.
enum ShellText {
    /// `text` as one word of a POSIX shell, whatever it holds (IEEE 1003.1, 2.2.2: in single quotes only they are
    /// special).
    static func quoted(_ text: String) -> String {
        "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
