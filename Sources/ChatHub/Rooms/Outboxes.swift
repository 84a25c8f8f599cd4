import ChatCore

/// The deliveries of the rooms of one loop to the sessions of each loop: gathered during a tick, handed over at its
/// end.
final class Outboxes: TickWork {
    private let index: Int
    private let tick: LoopTick
    private let errand = LoopTick.Errand(.deliveries)
    private unowned let context: any RoomHostContext
    private var boxes: [[Delivery]]
    /// When the first delivery of the tick was made.
    private var since = Moment(nanoseconds: 0)

    init(index: Int, of loops: Int, tick: LoopTick, context: any RoomHostContext) {
        boxes = Array(repeating: [], count: max(1, loops))
        self.index = index
        self.tick = tick
        self.context = context
    }

    /// Adds a delivery to the batch for that loop.
    func post(_ delivery: Delivery, to loop: Int) {
        guard boxes.indices.contains(loop) else { return assertionFailure("there is no loop \(loop)") }
        boxes[loop].append(delivery)
        guard !errand.isAsked else { return }
        since = context.now
        tick.ask(errand, self)
    }

    func tickEnded(_ phase: LoopTick.Phase) {
        for loop in boxes.indices where !boxes[loop].isEmpty {
            var batch: [Delivery] = []
            swap(&batch, &boxes[loop])
            context.hand(batch, to: loop, made: since)
            // The memory of a batch that this loop has delivered itself is reused.
            guard loop == index, boxes[loop].isEmpty else { continue }
            batch.removeAll(keepingCapacity: batch.capacity <= 4_096)
            swap(&batch, &boxes[loop])
        }
    }
}
