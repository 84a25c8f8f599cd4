import ChatCore
import ChatWire

/// What the gateway knows of a session, whatever its transport.
struct SessionCore {
    var machine: SessionStateMachine
    /// Set while the service knows the session.
    var id: SessionID?
    /// The reader, if it also words what is sent; nil if the session gets what its protocol encodes for all.
    let writer: (any ClientWriter)?
    let spoken: SpokenProtocol
    let reader: any ClientReader
    let identity: SessionIdentity
    /// Why the session ends, for the counters; set once.
    var endReason: String?
    /// When the reader's time is next looked at; nil if no such task is scheduled.
    var timerDue: Moment?
    /// When anything was last written, for readers that keep time.
    private(set) var lastWritten: Moment

    /// `reader` may have been used before the client was identified.
    init(
        identity: SessionIdentity, speaking spoken: SpokenProtocol, reader: any ClientReader,
        rules: SessionStateMachine.Common
    ) {
        let now = Moment.now
        machine = SessionStateMachine(common: rules, now: now)
        writer = spoken.hasWriters ? reader as? any ClientWriter : nil
        self.spoken = spoken
        self.reader = reader
        self.identity = identity
        lastWritten = now
    }

    /// Something was written to the client.
    mutating func spoke() {
        machine.spoke()
        if writer != nil { lastWritten = .now }
    }
}
