import ChatCore

/// Something that writes what a loop tick has brought when the tick ends.
protocol FlushedOutlet: AnyObject {
    /// The end of the loop tick: writes what the tick brought, and tells the service if a session is ending.
    func tickEnded()
}

/// A session's outlet as its gateway loop sees it, whatever the transport.
protocol GatewayOutlet: SessionOutlet, FlushedOutlet {
    /// The name of its protocol, for counters.
    var protocolName: String { get }
    /// Its place in the loop's list of sessions whose heartbeats are due at the same time. Nil before it was added and
    /// after it was removed.
    var place: (slot: UInt32, index: UInt32)? { get set }
    /// Called about once in a heartbeat interval.
    func heartbeatDue(now: Moment)
    /// Closes the connection at once.
    func cut()
}
