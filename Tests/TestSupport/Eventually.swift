/// The reason why a test cannot continue.
package struct TestFailure: Error, CustomStringConvertible {
    package var description: String

    package init(_ description: String) { self.description = description }
}

/// Checks the condition until it holds, for states that nobody announces. Throws when the time is over.
package func eventually(
    _ what: String, within time: Duration = .seconds(30),
    _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + time
    while try await !condition() {
        guard ContinuousClock.now < end else { throw TestFailure("not within \(time): \(what)") }
        try await Task.sleep(for: .milliseconds(10))
    }
}
