/// The key by which a Cluster routes a command: its first key, or its shard channel.
enum CommandKey {
    /// Nil if the command has no key; any master may answer it.
    static func of(_ command: [String]) -> String? {
        func word(_ place: Int) -> String? { command.count > place ? command[place] : nil }
        switch command.first?.uppercased() {
        case nil, "ACL", "ASKING", "AUTH", "BGREWRITEAOF", "BGSAVE", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE",
            "DISCARD", "ECHO", "EXEC", "FUNCTION", "HELLO", "INFO", "KEYS", "LASTSAVE", "LATENCY", "MODULE", "MULTI",
            "PING", "PSUBSCRIBE", "PUBLISH", "PUNSUBSCRIBE", "RANDOMKEY", "READONLY", "READWRITE", "ROLE", "SCAN",
            "SCRIPT", "SELECT", "SLOWLOG", "SUBSCRIBE", "TIME", "UNSUBSCRIBE", "WAIT":
            return nil
        case "FCALL", "FCALL_RO", "EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO":
            return word(2).flatMap { Int($0) } ?? 0 > 0 ? word(3) : nil
        case "MEMORY":
            return word(1)?.uppercased() == "USAGE" ? word(2) : nil
        case "PUBSUB":
            return word(1)?.uppercased() == "SHARDNUMSUB" ? word(2) : nil
        case "OBJECT", "XGROUP", "XINFO":
            return word(2)
        case "XREAD", "XREADGROUP":
            guard let streams = command.firstIndex(where: { $0.uppercased() == "STREAMS" }) else { return nil }
            return word(streams + 1)
        default:
            return word(1)
        }
    }
}
