import ChatCore

/// A session's outlet as its gateway loop sees it, whatever the transport.
protocol GatewayOutlet: SessionOutlet {
    /// The name of the protocol that its client speaks: constant.
    var protocolName: String { get }
    /// Its place in the loop's list of sessions whose heartbeats are due at the same time. Nil before it was added and
    /// after it was removed.
    var place: (slot: UInt32, index: UInt32)? { get set }
    /// The end of the loop tick: writes what the tick brought, and tells the service if the session is ending.
    func tickEnded()
    /// Called about once in a heartbeat interval.
    func heartbeatDue(now: Moment)
    /// Closes the connection at once.
    func cut()
}
