import ChatGateway

extension NodeConfiguration {
    /// The addresses whose connections are a proxy's. The default are those that are not the internet's: there a limit for an address
    /// would be one for all clients of a proxy, and a stranger's address is on the internet.
    public struct TrustedAddresses: Hashable, Sendable, CustomStringConvertible {
        /// As it was written.
        public let description: String
        public let ranges: [AddressRange]

        static let standard = TrustedAddresses(
            description: "loopback,local", ranges: AddressRange.loopback + AddressRange.local)

        private init(description: String, ranges: [AddressRange]) {
            self.description = description
            self.ranges = ranges
        }

        /// Reads `none`, or addresses, ranges and the words `loopback` and `local`, separated by commas. Nil if one of them is none.
        init?(_ text: String) {
            guard text != "none" else {
                self.init(description: text, ranges: [])
                return
            }
            var ranges: [AddressRange] = []
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                let trimmed = part.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
                switch String(trimmed) {
                case "loopback": ranges += AddressRange.loopback
                case "local": ranges += AddressRange.local
                case let word:
                    guard let range = AddressRange(word) else { return nil }
                    ranges.append(range)
                }
            }
            self.init(description: text, ranges: ranges)
        }
    }
}
