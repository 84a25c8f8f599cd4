import ChatCore
import MartletClient
import NIOCore
import NIOPosix

/// A whole replay: plays a trace, waits until every session was shown everything, reads the logs of the rooms, and
/// compares.
struct ReplayProof {
    var urls: [String]
    var options = ReplayOptions()
    /// Whether no progress is written to standard error.
    var isQuiet = true

    /// Throws a ``ReplayError`` or ``ClientError`` if the replay could not be carried out. The errors that it found are
    /// in the verdict.
    func verdict(_ trace: ReplayTrace) async throws -> ReplayVerdict {
        var addresses: [ClientURL] = []
        for text in urls { addresses.append(try ClientURL(text)) }
        let run = ReplayRun(
            trace: trace, addresses: addresses, options: options, group: MultiThreadedEventLoopGroup.singleton)
        let reader = try ReplayLogReader(urls: urls)
        let shower = Task { if !isQuiet { await show(run) } }
        do {
            let verdict = try await played(run, reader, shower)
            try await run.close()
            await reader.close()
            return verdict
        } catch {
            shower.cancel()
            await shower.value
            try? await run.close()
            await reader.close()
            throw error
        }
    }

    private func played(
        _ run: ReplayRun, _ reader: ReplayLogReader, _ shower: Task<Void, Never>
    ) async throws -> ReplayVerdict {
        let began = ContinuousClock.now
        try await run.play()
        var final = try await run.highest()
        for (index, room) in run.trace.rooms.enumerated() {
            final[index] = max(final[index], try await reader.newest(room)?.seq ?? 0)
        }
        let behind = try await run.settle(final)
        let seconds = (ContinuousClock.now - began) / .seconds(1)
        shower.cancel()
        await shower.value
        var verdict = try await compared(run, final, reader)
        verdict.seconds = seconds
        verdict.behind = behind
        return verdict
    }

    private func compared(_ run: ReplayRun, _ final: [UInt64], _ reader: ReplayLogReader) async throws -> ReplayVerdict
    {
        var ledgers = [RoomLedger](repeating: RoomLedger(), count: run.trace.rooms.count)
        var ranges: [SeenRange] = []
        var counts: [ReplayCounts] = []
        var failures: [String] = []
        for lane in run.lanes {
            let (rooms, finished, count, failed) = try await lane.loop.submit {
                lane.endAll(final)
                return (lane.rooms, lane.finished, lane.counts, lane.failures)
            }.get()
            for index in rooms.indices { ledgers[index].merge(rooms[index]) }
            ranges += finished
            counts.append(count)
            failures += failed
        }
        var logs: [[Message]] = []
        for (index, room) in run.trace.rooms.enumerated() {
            logs.append(try await reader.log(room, after: ledgers[index].lowestStart, upTo: final[index]))
        }
        var verdict = ReplayVerdict(run: run, ranges: ranges, ledgers: ledgers, logs: logs)
        let progress = await run.currentProgress()
        verdict.messages = progress.messages
        verdict.deliveries = progress.deliveries
        verdict.failures = Array(failures.prefix(10))
        for count in counts { verdict.add(count) }
        return verdict
    }

    private func show(_ run: ReplayRun) async {
        var progress = ReplayProgress()
        while !Task.isCancelled {
            try? await Task.sleep(for: progress.interval)
            if Task.isCancelled { break }
            let state = await run.currentProgress()
            progress.show(state, state.done < state.events ? "playing" : "waiting for the last ones")
        }
        progress.end()
    }
}
