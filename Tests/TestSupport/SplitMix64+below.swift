import ChatCore

extension SplitMix64 {
    /// 0..<bound; 0 if there is nothing to choose from.
    package mutating func below(_ bound: Int) -> Int { bound <= 1 ? 0 : Int(next() % UInt64(bound)) }
}
