/// Finds what somebody meant who mistyped a name.
enum NearestName {
    /// The candidate with the fewest typing errors between it and `name`, the first of equals; nil if even that one
    /// takes more than a third of the longer of the two, which is no typing error any more.
    static func of(_ name: String, among candidates: [String]) -> String? {
        var best: (candidate: String, distance: Int)?
        for candidate in candidates {
            // The difference in length is the least that the distance can be.
            guard abs(candidate.utf8.count - name.utf8.count) < best?.distance ?? Int.max else { continue }
            let found = distance(name, candidate)
            if found < best?.distance ?? Int.max { best = (candidate, found) }
        }
        guard let best, best.distance * 3 <= max(name.utf8.count, best.candidate.utf8.count) else { return nil }
        return best.candidate
    }

    /// How many single errors (a character left out, put in, exchanged, or two neighbours swapped) lead from one to the
    /// other: the optimal string alignment distance. Only the first 128 bytes count.
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
