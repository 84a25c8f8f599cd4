import Foundation
import Testing

/// Lets few suites run at once. Each starts several processes; all suites together would wait for a processor longer
/// than a deadline of theirs allows.
struct Turns: SuiteTrait, TestScoping {
    private static let places = Places(max(2, 2 * ProcessInfo.processInfo.activeProcessorCount))

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        await Self.places.take()
        do {
            try await function()
            await Self.places.giveBack()
        } catch {
            await Self.places.giveBack()
            throw error
        }
    }
}

extension Trait where Self == Turns {
    /// The suite begins when one of few places is free: two for each processor.
    static var inTurn: Self { Turns() }
}

/// A number of places, given to those who wait in their order.
private actor Places {
    private var free: Int
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(_ count: Int) { free = count }

    func take() async {
        if free > 0 {
            free -= 1
        } else {
            await withCheckedContinuation { waiting.append($0) }
        }
    }

    func giveBack() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
