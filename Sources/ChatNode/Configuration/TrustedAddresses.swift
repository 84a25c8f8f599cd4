import ChatGateway

extension NodeConfiguration {
    /// The addresses from which reverse proxies connect. By default these are all addresses outside the public
    /// internet: there a limit for each address would be one limit for all clients of a proxy, while strangers connect
    /// from the public internet.
    public struct TrustedAddresses: Hashable, Sendable, CustomStringConvertible {
        /// The text as it was configured.
        public let description: String
        public let ranges: [AddressRange]

        static let standard = TrustedAddresses(
            description: "loopback,local", ranges: AddressRange.loopback + AddressRange.local)

        private init(description: String, ranges: [AddressRange]) {
            self.description = description
            self.ranges = ranges
        }

        /// Reads `none`, or addresses, ranges and the words `loopback` and `local`, separated by commas. Nil if one of
        /// them is invalid.
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
