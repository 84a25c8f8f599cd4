/// What the room does by the clock.
extension RoomStateMachine {
    /// When ``RoomEvent/timerFired`` is due; nil: not before the next event.
    public var nextWake: Moment? {
        var wake: Moment?
        func consider(_ moment: Moment?) {
            guard let moment else { return }
            wake = wake.map { min($0, moment) } ?? moment
        }
        consider(lingerUntil)
        consider(members.deadline)
        if case .entering(let entering) = phase {
            consider(entering.deadline)
            consider(entering.retryAt)
        }
        if !sends.isEmpty {
            consider(sends.deadline)
            if isInside { consider(sends.pausedUntil) }
        }
        if isInside, !sends.isEmpty || !members.waiting.isEmpty { consider(nodes.returnsUntil) }
        if phase == .leaving { consider(leaveRetryAt) }
        if isInside {
            consider(order.holeDeadline)
            consider(reads.nextWake)
            if !presence.isUpdating { consider(presence.flushAt) }
            consider(presence.readAt)
        }
        return wake
    }

    /// Does what is due.
    mutating func timerFired(now: Moment, _ actions: inout [RoomAction]) {
        expireJoins(now: now, &actions)
        expireSends(now: now, &actions)
        if case .entering(let entering) = phase {
            if let deadline = entering.deadline, deadline <= now {
                enterTimedOut(now: now, &actions)
            } else if let retryAt = entering.retryAt, retryAt <= now {
                phase = .entering(
                    Entering(serial: entering.serial, failures: entering.failures, bringsFrom: entering.bringsFrom))
                requestEnter(now: now, &actions)
            }
        }
        if phase == .leaving, let at = leaveRetryAt, at <= now {
            leaveRetryAt = nil
            requestLeave(&actions)
        }
        if isInside { timerFiredInside(now: now, &actions) }
        if let lingerUntil, lingerUntil <= now { lingerEnded(now: now, &actions) }
    }

    /// Releases the spare capacity of empty collections (500 bytes in a quiet room).
    private mutating func releaseMemory() {
        sends.releaseMemory()
        order.releaseMemory()
        members.releaseMemory()
    }

    /// Each due moment is cleared before it is acted on: one that stayed would make the runner's timer fire at once
    /// again.
    private mutating func timerFiredInside(now: Moment, _ actions: inout [RoomAction]) {
        if order.takeDueHole(now: now) { wantView(.hole, now: now, &actions) }
        if let reason = reads.takeWanted(now: now) { wantView(reason, now: now, &actions) }
        if reads.takeQuietView(now: now) {
            releaseMemory()
            wantView(.quiet, now: now, &actions)
        }
        sends.endPause(now: now)
        if nodes.endWaiting(now: now) { answerJoins(now: now, &actions) }
        flushPresence(now: now, &actions)
        pump(now: now, &actions)
    }
}
