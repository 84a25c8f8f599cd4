/// Finds the name that was probably meant by a mistyped one.
enum NearestName {
    /// The candidate with the smallest edit distance to `name`, the first of several. Nil if the distance is more than
    /// a third of the longer name, which is no longer a typing error.
    static func of(_ name: String, among candidates: [String]) -> String? {
        var best: (candidate: String, distance: Int)?
        for candidate in candidates {
            // The distance is at least the difference in length.
            guard abs(candidate.utf8.count - name.utf8.count) < best?.distance ?? Int.max else { continue }
            let found = distance(name, candidate)
            if found < best?.distance ?? Int.max { best = (candidate, found) }
        }
        guard let best, best.distance * 3 <= max(name.utf8.count, best.candidate.utf8.count) else { return nil }
        return best.candidate
    }

    /// The optimal string alignment distance: the number of single errors (a character omitted, inserted or replaced,
    /// or two neighbours swapped) between the two. Only the first 128 bytes count.
    static func distance(_ left: String, _ right: String) -> Int {
        let (left, right) = (Array(left.utf8.prefix(128)), Array(right.utf8.prefix(128)))
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for i in left.indices {
            var row = [i + 1]
            for j in right.indices {
                var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (left[i] == right[j] ? 0 : 1))
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] {
                    cost = min(cost, beforeLast[j - 1] + 1)
                }
                row.append(cost)
            }
            (beforeLast, last) = (last, row)
        }
        return last[right.count]
    }
}
