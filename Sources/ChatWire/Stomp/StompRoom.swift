import ChatCore

/// A room as one connection knows it.
final class StompRoom {
    enum Membership {
        case none
        /// A join waits for its answer.
        case joining
        case joined
    }

    let name: RoomName
    var membership = Membership.none
    var subscriptions: [StompSubscription] = []
    /// SENDs to the room that wait for their answer.
    var sendsWaiting = 0
    /// When the connection last sent to it, as a count.
    var lastUse: UInt64 = 0
    /// The position of the last message, as far as the connection was told.
    var last: Position?
    /// The room is to be left as soon as no answer is awaited.
    var shouldLeave = false
    /// What the client has acknowledged is what the user has read.
    var reading = StompReading()
    /// Why the room could not be joined for a SEND.
    var failure: WireError?

    init(_ name: RoomName) {
        self.name = name
    }

    /// Nobody needs the membership any more.
    var isIdle: Bool { subscriptions.isEmpty && sendsWaiting == 0 }

    var hasWork: Bool {
        guard membership != .joining else { return false }
        return shouldLeave && isIdle || reading.isDue || subscriptions.contains { $0.phase == .wanted || $0.needsPage }
    }

    /// How the connection is sent a message that many sessions share.
    func form(of message: Message, _ version: StompVersion, isTextOnly: Bool) -> SharedForm {
        guard subscriptions.count == 1, let subscription = subscriptions.first else {
            return subscriptions.isEmpty ? .nothing : .own
        }
        guard subscription.phase == .live else { return .nothing }
        guard let prefix = subscription.sharedPrefix else { return .own }
        guard subscription.isNews(message.position) else { return .nothing }
        if message.content.data != nil {
            if StompMessage.isBinary(message) { return .own }
            if version == .v11, StompMessage.mayDiffer(message) { return .own }
        }
        subscription.last = message.position
        last = message.position
        return .prefixed(prefix)
    }
}

/// Up to where the user of a connection has read a room, of which that user is a participant. One request is unanswered
/// at a time, and a node answers it when the position is stored, so that any number of ACKs is few requests.
struct StompReading: Sendable {
    /// Other rooms have no read positions.
    var isParticipant = false
    private var acknowledged: Position?
    private var told: Position?
    private var isAsked = false

    mutating func acknowledge(_ position: Position) {
        guard isParticipant, position > acknowledged ?? Position(epoch: 0, seq: 0) else { return }
        acknowledged = position
    }

    var isDue: Bool { isParticipant && !isAsked && acknowledged != told }

    /// The position to tell now.
    mutating func take() -> Position? {
        guard isDue else { return nil }
        isAsked = true
        told = acknowledged
        return told
    }

    mutating func answered() { isAsked = false }

    /// Positions of a history that is void count no more.
    mutating func reset() {
        acknowledged = nil
        told = nil
    }
}

enum StompAcks: Sendable {
    case auto
    /// An ACK is for all messages up to that one.
    case client
    case individual
}

/// One SUBSCRIBE.
final class StompSubscription {
    /// Where a subscription begins.
    enum Start: Sendable, Hashable {
        /// With the next message.
        case next
        /// With the newest message.
        case last
        /// With the message after this position; seq 0 is before the first one.
        case after(Position)
    }

    enum Phase: Sendable {
        /// To be begun as soon as the room can be asked.
        case wanted
        /// The answer to a join will begin it.
        case waiting
        /// Messages are for it.
        case live
    }

    let serial: UInt64
    /// Nil in 1.0, where a destination may identify the subscription.
    let id: String?
    /// As the client wrote it.
    let destination: String
    let layout: StompLayout
    let acks: StompAcks
    /// Messages that may wait for their acknowledgement; 0: any number.
    let prefetch: Int
    let start: Start
    var receipt: String?
    let prefix: FramePrefix
    /// The prefix, if what follows it may be what all members share.
    let sharedPrefix: FramePrefix?
    var phase = Phase.wanted
    /// The last message that it was shown, or where it began; nil: nothing yet.
    var last: Position?
    /// Positions that wait for their acknowledgement; kept only if their number is limited.
    var unacknowledged: [Position] = []
    /// A message came while too many waited: they are read from the log later.
    var isHeld = false
    /// The newest message that came meanwhile.
    var held: Position?
    var isPaging = false

    init(
        serial: UInt64, id: String?, destination: String, layout: StompLayout, acks: StompAcks, prefetch: Int,
        start: Start, receipt: String?, prefix: FramePrefix, _ version: StompVersion
    ) {
        self.serial = serial
        self.id = id
        self.destination = destination
        self.layout = layout
        self.acks = acks
        self.prefetch = acks == .auto ? 0 : prefetch
        self.start = start
        self.receipt = receipt
        self.prefix = prefix
        sharedPrefix = acks == .auto && layout == .plain && version > .v10 ? prefix : nil
    }

    func isNews(_ position: Position) -> Bool { last.map { position > $0 } ?? true }

    /// What identifies it for UNSUBSCRIBE.
    var name: String { id ?? destination }

    private var credit: Int { prefetch - unacknowledged.count }

    /// It waits for messages of the log, and may have some.
    var needsPage: Bool { phase == .live && isHeld && !isPaging && credit > 0 && credit * 2 >= prefetch }

    /// The number of messages of the log that it may have now.
    var pageLength: Int { max(1, credit) }

    /// Whether the message is to be sent now. If so, it counts as sent.
    func takes(_ position: Position, fromLog: Bool = false) -> Bool {
        guard phase == .live, isNews(position) else { return false }
        guard prefetch > 0 else {
            last = position
            return true
        }
        guard fromLog || !isHeld, credit > 0 else {
            isHeld = true
            held = position
            return false
        }
        last = position
        unacknowledged.append(position)
        return true
    }

    /// A page of the log was sent.
    func paged(hasNewer: Bool) {
        isPaging = false
        let isBehind = held.map { isNews($0) } ?? false
        isHeld = hasNewer || isBehind
    }

    /// False if no message with that position was sent.
    func acknowledge(_ position: Position) {
        switch acks {
        case .auto: break
        case .client: unacknowledged.removeAll { $0 <= position }
        case .individual: unacknowledged.removeAll { $0 == position }
        }
        if unacknowledged.isEmpty { unacknowledged = [] }
    }

    /// Whether there may have been a message at that position for this subscription, and it wants to be told.
    func canAcknowledge(_ position: Position) -> Bool {
        guard let last, acks != .auto else { return false }
        return position <= last
    }
}
