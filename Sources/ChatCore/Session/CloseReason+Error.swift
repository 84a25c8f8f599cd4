/// A session that may not be opened is refused with the reason that its WebSocket is closed with.
extension CloseReason: Error {}
