import ChatGateway
import ChatHub
import Logging
import NIOConcurrencyHelpers

/// The file with the node's list of words, which is read again when it changes. If it cannot be used then, the earlier
/// list stays in use.
final class WordFile: Sendable {
    let screen: WordScreen
    private let path: String
    private let configuration: NodeConfiguration
    private let logger: Logger
    private let changes: NIOLockedValueBox<FileChanges<FileStamp?>>
    /// The time between two looks at the file. A change is read at the second look that sees it.
    private static let interval: Duration = .seconds(2)

    /// Reads the file. Nil if none is configured; throws if it cannot be used.
    init?(_ configuration: NodeConfiguration, logger: Logger) throws {
        guard let path = configuration.screening.wordsFile else { return nil }
        let stamp = FileStamp(path)
        guard let screen = try configuration.readWords() else { return nil }
        self.screen = screen
        self.path = path
        self.configuration = configuration
        self.logger = logger
        changes = NIOLockedValueBox(FileChanges(stamp))
        logger.notice("messages are compared with a list of words", metadata: [LogKey.count: "\(screen.count)"])
    }

    /// Looks at the file until the task is cancelled.
    func watch(every interval: Duration = WordFile.interval) async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: interval) } catch { return }
            check()
        }
    }

    /// Looks once. Blocks for milliseconds if the file has changed.
    func check() {
        let stamp = FileStamp(path)
        guard changes.withLockedValue({ $0.looked(stamp) }) else { return }
        do throws(ConfigurationProblem) {
            guard let new = try configuration.readWords() else { return }
            screen.replace(with: new)
            logger.notice("the list of words was replaced", metadata: [LogKey.count: "\(screen.count)"])
        } catch {
            logger.warning(
                "the list of words was not replaced, the earlier one stays in use",
                metadata: [LogKey.error: "\(error)"])
        }
    }
}
