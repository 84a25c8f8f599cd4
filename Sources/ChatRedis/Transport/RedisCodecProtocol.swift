import ChatCore

/// What a codec wrote for one ``BrokerRequest``.
public struct RedisEncoded: Sendable, Equatable {
    /// How many commands: that many replies belong to the request. 0 completes it at once as `.done`.
    public var commands: Int
    /// The codec's own, handed back with the replies: which kind of request it was…
    public var operation: UInt8
    /// …and what else it needs to know of it (an epoch, a limit).
    public var number: UInt64
    /// True: the link keeps the request itself and hands it back with the replies. Needed for
    /// ``RedisDecoded/libraryMissing`` (the request is encoded a second time) and for replies that cannot be read
    /// without it. Costs a copy: hot requests (append, publish) go without.
    public var keepsRequest: Bool

    public init(commands: Int = 1, operation: UInt8, number: UInt64 = 0, keepsRequest: Bool = false) {
        self.commands = commands
        self.operation = operation
        self.number = number
        self.keepsRequest = keepsRequest
    }
}

/// What a link knows of a request whose replies came.
public struct RedisPending: Sendable {
    /// From ``RedisEncoded``.
    public var operation: UInt8
    public var number: UInt64
    /// The request, if ``RedisEncoded/keepsRequest``.
    public var request: BrokerRequest?

    public init(operation: UInt8, number: UInt64, request: BrokerRequest?) {
        self.operation = operation
        self.number = number
        self.request = request
    }
}

/// What a codec makes of the replies to a request.
public enum RedisDecoded: Sendable, Equatable {
    case completed(Result<BrokerReply, BrokerError>)
    /// Redis does not know the function ("ERR Function not found"), so nothing was carried out: somebody flushed the
    /// library. The link loads it again, encodes the request once more and completes it with the second answer; if
    /// that is `libraryMissing` too, as `.notStored`. Requests submitted later complete after it, although Redis
    /// carries them out before it. Only for requests with `keepsRequest`.
    case libraryMissing
}

/// What a codec thinks of the function library that it found in Redis, or loaded into it.
public enum RedisLibraryVerdict: Sendable, Equatable {
    /// This node can work with it.
    case ready
    /// Missing or old: load it.
    case load
    /// Somebody else's, or too new; the text is for the operator. The connection is given up, and tried again later.
    case incompatible(String)
}

/// Why a payload on a room's channel is no ``ChannelEvent``: anybody with `redis-cli` can publish anything. The text
/// says what was expected and where, and quotes little of the payload.
public struct ChannelPayloadError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// The schema's side of a ``RedisLink``: what ``BrokerRequest`` means in Redis commands, and what Redis' replies and
/// channel payloads mean. It knows keys, functions and formats; it knows nothing of connections, order or time.
///
/// Pure and shared by all loops. Replies and bytes that it is handed are valid only until it returns. It never traps
/// on what Redis sent: that is `.failure(.malformed(…))`.
public protocol RedisCodecProtocol: Sendable {
    /// Writes the request as one or several commands, which Redis carries out in this order, without anything of this
    /// link in between (but not atomically).
    ///
    /// If it throws, or wrote a command with a wrong number of arguments, what it wrote is taken back and the request
    /// completes with the error.
    func encode(_ request: BrokerRequest, into writer: inout RESPWriter) throws(BrokerError) -> RedisEncoded

    /// Writes one PUBLISH of all the events, which are never none, on the room's channel.
    func encodePublish(_ events: [ChannelEvent], in room: RoomName, into writer: inout RESPWriter) -> RedisEncoded

    /// Reads the replies to a request: as many as it was encoded into, errors included. Errors that any command can
    /// get (LOADING, READONLY, OOM …) are `RedisErrors.brokerError(of:)`.
    func decode(_ pending: RedisPending, _ replies: RESPReplies) -> RedisDecoded

    /// The name of the room's channel. Different rooms, different names.
    func channelName(of room: RoomName) -> String
    /// What stands in that name around the room's.
    var channelFrame: ChannelFrame { get }

    /// A command that has a place in the stream that replicas follow, and no other effect that lasts. `tag`: in a Cluster, the hash tag
    /// of a slot that is served there.
    func replicationMark(tag: String?) -> [String]

    /// Cuts what was published on a room's channel into its events, in order.
    func forEachEvent(
        inPayload payload: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void)

    /// Reads one event of a payload.
    func event(ofPayload payload: UnsafeBufferPointer<UInt8>) throws(ChannelPayloadError) -> ChannelEvent

    /// The position of a message and the seq at which its epoch began, if the event begins as a node writes it; nil: read all of it.
    /// Costs next to nothing.
    func place(ofPayload payload: UnsafeBufferPointer<UInt8>) -> (Position, base: UInt64)?

    // MARK: Connection set-up, on the command connection only

    /// Writes one command that asks for the function library.
    func encodeLibraryCheck(into writer: inout RESPWriter)
    /// Reads its reply, errors included.
    func libraryVerdict(ofCheck reply: RESPReply) -> RedisLibraryVerdict
    /// Writes one command that loads the library, replacing an older one.
    func encodeLibraryLoad(into writer: inout RESPWriter)
    /// Reads its reply. `.load` means that it failed; a check follows (another node may have been faster), and no
    /// second load.
    func libraryVerdict(ofLoad reply: RESPReply) -> RedisLibraryVerdict
}

/// Errors that Redis may give to any command.
public enum RedisErrors {
    /// First words of errors with which Redis refuses a command before it touches anything (redis.io; `src/server.c`
    /// `processCommand`, `src/script.c`). WRONGTYPE belongs here because each of our functions and commands checks
    /// the type before it writes.
    public static let refusals: Set<String> = [
        "LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "NOPERM", "WRONGTYPE", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN",
        "NOAUTH",
        "NOREPLICAS", "MOVED", "ASK", "CROSSSLOT", "NOSCRIPT", "NOTBUSY", "WRONGPASS", "UNKILLABLE",
    ]

    /// The meaning of an error reply: `.notStored` with Redis' own text for a refusal, `.malformed` for any other
    /// error, with `context` (which command) before it. Nil if the reply is no error.
    public static func brokerError(of reply: RESPReply, context: StaticString) -> BrokerError? {
        guard let text = reply.error, let code = reply.errorCode else { return nil }
        return refusals.contains(String(code)) ? .notStored(text) : .malformed("\(context): \(text)")
    }
}
