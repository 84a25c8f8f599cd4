import ChatCore

/// How a codec encoded one ``BrokerRequest``.
public struct RedisEncoded: Sendable, Equatable {
    /// The number of commands, and so of replies that belong to the request. 0 completes it at once as `.done`.
    public var commands: Int
    /// The kind of request, which the codec gets back with the replies.
    public var operation: UInt8
    /// Something else that the codec needs to read the replies (an epoch, a cursor).
    public var number: UInt64
    /// Whether the link keeps the request itself and hands it back with the replies. This is needed for
    /// ``RedisDecoded/libraryMissing``, where the request is encoded a second time, and for replies that cannot be read
    /// without it. It costs a copy, so hot requests (append, publish) do without.
    public var keepsRequest: Bool

    public init(commands: Int = 1, operation: UInt8, number: UInt64 = 0, keepsRequest: Bool = false) {
        self.commands = commands
        self.operation = operation
        self.number = number
        self.keepsRequest = keepsRequest
    }
}

/// A request whose replies have arrived.
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

/// How a codec reads the replies to a request.
public enum RedisDecoded: Sendable, Equatable {
    case completed(Result<BrokerReply, BrokerError>)
    /// Redis does not know the function ("ERR Function not found"), because the library was flushed. Nothing was
    /// carried out. The link loads the library again, encodes the request once more and completes it with the second
    /// answer, or as `.notStored` if that is `libraryMissing` too. Requests that were submitted later complete after
    /// it, although Redis carries them out before it. Only for requests with `keepsRequest`.
    case libraryMissing
}

/// Whether the function library in Redis can be used.
public enum RedisLibraryVerdict: Sendable, Equatable {
    /// This node can work with it.
    case ready
    /// Missing or old: load it.
    case load
    /// It belongs to another program, or is too new; the text is for the operator. The connection is closed, and tried
    /// again later.
    case incompatible(String)
}

/// Why a payload on a channel is not a ``ChannelEvent``: anybody with `redis-cli` can publish anything. The text says
/// what was expected and where, and quotes little of the payload.
public struct ChannelPayloadError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// The schema behind a ``RedisLink``: it translates a ``BrokerRequest`` into Redis commands, and replies and payloads
/// of channels back. It knows keys, functions and formats, and nothing of connections, order or time.
///
/// Pure, and shared by all loops. The replies and bytes that it gets are valid only until it returns. It never traps on
/// what Redis sent; that is `.failure(.malformed(…))`.
public protocol RedisCodecProtocol: Sendable {
    /// Writes the request as one or several commands, which Redis carries out in this order, with no other command of
    /// this link in between (but not atomically).
    ///
    /// If it throws, or writes a command with a wrong number of arguments, its output is discarded and the request
    /// completes with the error.
    ///
    /// - Parameter isBusy: Whether the link has so much to do that requests share a round trip anyway, so that the
    ///   cheapest commands are better than the fewest.
    func encode(
        _ request: BrokerRequest, isBusy: Bool, into writer: inout RESPWriter
    ) throws(BrokerError) -> RedisEncoded

    /// Writes one PUBLISH of all the events, of which there is at least one, on the entity's channel.
    func encodePublish(_ events: [ChannelEvent], on entity: Entity, into writer: inout RESPWriter) -> RedisEncoded

    /// Reads the replies to a request: as many as there were commands, errors included. Errors that any command can get
    /// (LOADING, READONLY, OOM …) are read by `RedisErrors.brokerError(of:)`.
    func decode(_ pending: RedisPending, _ replies: RESPReplies) -> RedisDecoded

    /// The name of the entity's channel. Different entities have different names.
    func channelName(of entity: Entity) -> String
    /// How the name of a room's channel is built around the name of the room.
    var channelFrame: ChannelFrame { get }

    /// A command that is part of the stream that replicas follow, and has no other lasting effect. `tag`: in a Cluster,
    /// the hash tag of a slot that is served there.
    func replicationMark(tag: String?) -> [String]

    /// Splits a payload of a channel into its events, in order.
    func forEachEvent(
        inPayload payload: UnsafeBufferPointer<UInt8>, _ body: (UnsafeBufferPointer<UInt8>) -> Void)

    /// Reads one event of a payload.
    func event(ofPayload payload: UnsafeBufferPointer<UInt8>) throws(ChannelPayloadError) -> ChannelEvent

    /// The position of a message and the seq at which its epoch began, if the event begins as a node writes it. If nil,
    /// the whole event has to be read. The cost is negligible.
    func place(ofPayload payload: UnsafeBufferPointer<UInt8>) -> (Position, base: UInt64)?

    // MARK: Connection set-up, on the command connection only

    /// Writes one command that asks for the function library.
    func encodeLibraryCheck(into writer: inout RESPWriter)
    /// Reads its reply, errors included.
    func libraryVerdict(ofCheck reply: RESPReply) -> RedisLibraryVerdict
    /// Writes one command that loads the library. `replacing`: in place of an older one, which the check has found.
    func encodeLibraryLoad(replacing: Bool, into writer: inout RESPWriter)
    /// Reads its reply. `.load` means that it failed; a check follows (another node may have been faster), and no
    /// second load.
    func libraryVerdict(ofLoad reply: RESPReply) -> RedisLibraryVerdict
}

/// Errors that Redis may give to any command.
public enum RedisErrors {
    /// First words of errors with which Redis refuses a command before it changes anything (redis.io; `src/server.c`
    /// `processCommand`, `src/script.c`). WRONGTYPE is among them because each function and command of Martlet checks
    /// the type before it writes.
    public static let refusals: Set<String> = [
        "LOADING", "READONLY", "OOM", "MISCONF", "BUSY", "NOPERM", "WRONGTYPE", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN",
        "NOAUTH",
        "NOREPLICAS", "MOVED", "ASK", "CROSSSLOT", "NOSCRIPT", "NOTBUSY", "WRONGPASS", "UNKILLABLE",
    ]

    /// The meaning of an error reply: `.notStored` with Redis' own text for a refusal, `.malformed` for any other
    /// error, with `context` (which command) before it. Nil if the reply is not an error.
    public static func brokerError(of reply: RESPReply, context: StaticString) -> BrokerError? {
        guard let text = reply.error, let code = reply.errorCode else { return nil }
        return refusals.contains(String(code)) ? .notStored(text) : .malformed("\(context): \(text)")
    }
}
