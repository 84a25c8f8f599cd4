import ChatCore
import ChatWire

/// What the gateway knows of a session, whatever its transport.
struct SessionCore {
    var machine: SessionStateMachine
    /// Set while the service knows the session.
    var id: SessionID?
    /// Nil if the session gets what its protocol encodes for all. A reference, as most sessions have none.
    let wording: Wording?
    let spoken: SpokenProtocol
    let reader: any ClientReader
    let identity: SessionIdentity
    /// Why the session ends, for the counters; set once.
    var endReason: String?

    /// `reader` may have been used before the client was identified.
    init(
        identity: SessionIdentity, speaking spoken: SpokenProtocol, reader: any ClientReader,
        rules: SessionStateMachine.Common
    ) {
        let now = Moment.now
        machine = SessionStateMachine(common: rules, now: now)
        wording = spoken.hasWriters ? (reader as? any ClientWriter).map { Wording($0, now: now) } : nil
        self.spoken = spoken
        self.reader = reader
        self.identity = identity
    }

    /// Something was written to the client.
    mutating func spoke() {
        machine.spoke()
        wording?.lastWritten = .now
    }
}

/// What a session has whose connection words what it is sent.
final class Wording {
    let writer: any ClientWriter
    /// When the writer's time is next looked at; nil if no such task is scheduled.
    var timerDue: Moment?
    /// When anything was last written.
    var lastWritten: Moment

    init(_ writer: any ClientWriter, now: Moment) {
        self.writer = writer
        lastWritten = now
    }
}
