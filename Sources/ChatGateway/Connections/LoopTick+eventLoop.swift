import ChatCore
import NIOCore

extension LoopTick {
    /// Ends the ticks of that event loop.
    public convenience init(of loop: any EventLoop) {
        self.init(execute: { loop.execute($0) })
    }
}
