import ArgumentParser
import ChatCore
import MartletClient

/// The protocol that the users of a replay speak.
enum ReplayDialect: String, CaseIterable, Sendable, ExpressibleByArgument {
    /// `martlet.v1`, with a client that reconnects and resumes. Over the others a lost connection is a failure.
    case martlet
    /// Socket.IO 5 over WebSocket, with the events of the profile `martlet`.
    case socketIO = "socketio"
    /// STOMP 1.2 over WebSocket.
    case stomp
    /// An event stream for each room of a user, and POSTs.
    case events
}

/// The rules of a protocol over WebSocket: which text frames a client sends, and what those of the node mean. Pure.
protocol ReplayWire: Sendable {
    /// The path of the node's WebSocket, and what its query says of the user.
    func target(user: UserID) -> String
    var subprotocol: String? { get }
    /// Whether a join has to name the position of the room's newest message.
    var joinsAfter: Bool { get }
    /// The frame with which the client begins, if it begins.
    var opening: String? { get }
    mutating func join(_ room: RoomName, after: Position?, serial: Int) -> String
    mutating func leave(_ room: RoomName, serial: Int) -> String
    /// `isRepeated`: the same send may have been stored before.
    mutating func send(_ text: String, in room: RoomName, serial: Int, isRepeated: Bool) -> String
    mutating func received(_ text: String) -> [ReplayWireEvent]
}

/// What a frame of the node means.
enum ReplayWireEvent: Equatable {
    /// Requests can be sent.
    case ready
    /// The client has to send this.
    case reply(String)
    /// A request was carried out. `position`: of a message, where it is stored; of a join, of the room's newest one.
    case answered(serial: Int, position: Position?)
    case refused(serial: Int, ServerFault)
    case message(RoomName, Message)
    case gap(RoomName, Gap)
    case reset
    /// The connection is of no use any more.
    case failed(String)
}
