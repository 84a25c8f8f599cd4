extension String {
    /// Where the scalars that fit whole into `count` bytes of UTF-8 end. It may be inside a character, because where
    /// one ends takes time in proportion to its length, which is the writer's choice.
    func endOfScalars(within count: Int) -> Index {
        guard utf8.count > count else { return endIndex }
        var end = utf8.index(startIndex, offsetBy: count)
        while end > startIndex, UTF8.isContinuation(utf8[end]) { end = utf8.index(before: end) }
        return end
    }
}
