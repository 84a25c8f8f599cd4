import ChatCore

/// A session's outlet as its gateway loop knows it, whatever carries the session.
protocol GatewayOutlet: SessionOutlet {
    /// Where the loop keeps it: among those whose heartbeat is due at the same time. Nil: not yet, or no longer.
    var place: (slot: UInt32, index: UInt32)? { get set }
    /// The end of the loop tick: writes what the tick brought; tells the service if the session is ending.
    func tickEnded()
    /// About once in a heartbeat interval.
    func heartbeatDue(now: Moment)
    /// Closes the connection at once.
    func cut()
}
