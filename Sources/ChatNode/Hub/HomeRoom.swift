import ChatCore

/// A room on its home loop: the machine with the rules, and where its members are. Confined to the home loop.
final class HomeRoom {
    let slot: UInt32
    let generation: UInt32
    var machine: RoomStateMachine
    /// One for each loop of the node.
    let locals: [LocalRoom]
    /// Sessions on each loop that are in the room or waiting to be: loops without any get no deliveries.
    var sessionsByLoop: [Int]
    /// When the shard's timer will look at the room again.
    var wake: Moment?

    init(slot: UInt32, generation: UInt32, machine: RoomStateMachine, home: Int, loops: Int) {
        self.slot = slot
        self.generation = generation
        self.machine = machine
        self.locals = (0..<loops).map { _ in LocalRoom(room: machine.room, home: home) }
        self.sessionsByLoop = Array(repeating: 0, count: loops)
    }
}
