/// A session that may not be opened is refused with the reason for which its WebSocket is closed.
extension CloseReason: Error {}
