/// The way from the node to one client, on the event loop that accepted the client. Writes are queued and flushed once
/// per loop tick; a session whose queue outgrows `limits.outboundBytes` is closed as slow.
public protocol SessionOutlet: AnyObject {
    /// The protocol that the client speaks: constant.
    var protocolID: ProtocolID { get }
    var user: UserID { get }
    /// Sends one event to this session alone.
    func send(_ event: ServerEvent)
    /// Sends a frame that many sessions share.
    func send(_ frame: Frame)
    /// Whether a long answer (a page) may be sent now: the session has read most of what it was sent. If not, the node
    /// is told when it has.
    func takesPage() -> Bool
    /// Closes with a reason, after what is queued.
    func close(_ reason: CloseReason)
}
