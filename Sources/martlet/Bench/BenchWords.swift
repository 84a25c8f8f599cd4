import ChatCore
import ChatNode

/// `martlet bench --words`: what comparing messages with a list of words costs.
struct BenchWords {
    /// The kinds of messages: letters of ASCII alone, Hangul, and both with other characters that are folded.
    enum Kind: String, CaseIterable {
        case ascii, hangul, mixed

        fileprivate var letters: [Character] {
            switch self {
            case .ascii: Array("etaoinshrdlucmfwypvbgkjqxzETAOIN    ,.!")
            case .hangul: Array("가나다라마바사아자차카타파하이그저것을는은의에서고도지만면요습니까있없했 .?")
            case .mixed: Array("etaoin 가나다라마바사아ㅋㅋㅎㅎéü😀ＡＢｃ! ")
            }
        }
    }

    struct Figure {
        var kind: Kind
        /// Bytes of a message, on average.
        var bytes: Double
        var nanoseconds: Double
        /// Messages of the sample with a word of the list.
        var hits: Int
    }

    let filter: WordFilter
    /// Bytes of a message, and seconds of measurement.
    let size: Int
    let seconds: Double
    private static let sample = 2_000

    /// Reads the list.
    init(file: String, size: Int, seconds: Double) throws(BenchError) {
        do {
            filter = try WordList.read(try TextFile.read(file))
        } catch {
            throw BenchError("\(file): \(error)")
        }
        self.size = size
        self.seconds = seconds
    }

    /// The cost of each kind of message. Those with a word cost less, as the search ends there.
    func measure() -> [Figure] { Kind.allCases.map(measure) }

    private func measure(_ kind: Kind) -> Figure {
        var random = SplitMix64(seed: 7)
        let letters = kind.letters
        let messages = (0..<Self.sample).map { _ in
            var text = ""
            while text.utf8.count < size { text.append(letters[Int(random.next() % UInt64(letters.count))]) }
            return text
        }
        let clock = ContinuousClock()
        let share = Duration.seconds(seconds / Double(Kind.allCases.count))
        let began = clock.now
        var (rounds, found) = (0, 0)
        repeat {
            for message in messages where filter.matches(message) { found += 1 }
            rounds += 1
        } while clock.now - began < share
        let time = (clock.now - began) / Double(rounds * messages.count)
        let bytes = messages.reduce(0) { $0 + $1.utf8.count }
        return Figure(
            kind: kind, bytes: Double(bytes) / Double(messages.count),
            nanoseconds: Double(time.components.attoseconds) / 1e9 + Double(time.components.seconds) * 1e9,
            hits: found / rounds)
    }

    func text(_ figures: [Figure]) -> String {
        let head = "\(filter.count) words, \(filter.memoryBytes / 1_024) KiB"
        let rows = figures.map { figure in
            "\(figure.kind.rawValue): \(Int(figure.nanoseconds.rounded())) ns for a message of "
                + "\(Int(figure.bytes.rounded())) bytes, \(figure.hits) of \(Self.sample) with a word"
        }
        return ([head] + rows).joined(separator: "\n")
    }

    func json(_ figures: [Figure]) -> String {
        let kinds = figures.map { figure in
            "\"\(figure.kind.rawValue)\":{\"nanoseconds\":\(Int(figure.nanoseconds.rounded())),"
                + "\"bytes\":\(Int(figure.bytes.rounded())),\"hits\":\(figure.hits)}"
        }
        return "{\"words\":\(filter.count),\"memory\":\(filter.memoryBytes),\(kinds.joined(separator: ","))}"
    }
}
