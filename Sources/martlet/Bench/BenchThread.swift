import CLinux
import Glibc
import Histogram
import Synchronization

/// The state that the threads of a run share with the one that measures.
final class BenchControl: Sendable {
    /// The number of threads whose members have all joined, or that gave up.
    let ready = Atomic<Int>(0)
    /// The number of threads that have received everything.
    let done = Atomic<Int>(0)
    /// When to begin, in nanoseconds of the monotonic clock; 0 if it is not decided yet.
    let start = Atomic<UInt64>(0)
    /// Ends a run that only holds its connections.
    let stop = Atomic<Bool>(false)
}

/// One thread of the load generator: some rooms with the connections of all their members, on one epoll. It costs far
/// less than a node because it does next to nothing with a frame (see ``BenchFrames``), and shares nothing with other
/// threads.
final class BenchThread {
    let plan: BenchPlan
    let addresses: [BenchAddress]
    let control: BenchControl
    let prefix: String
    let poll = BenchPoll()
    var rooms: [BenchRoom] = []
    var members: [BenchMember] = []
    /// Their marks follow those of the members.
    var posters: [BenchPoster] = []
    var result = BenchResult()
    /// The buffer of one read. Complete frames are examined in place.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 262_144, alignment: 16)
    /// Messages sent from this moment on count.
    var measureFrom = UInt64.max
    var end: UInt64 = 0
    var heardAt: UInt64 = 0

    init(
        plan: BenchPlan, addresses: [BenchAddress], prefix: String, rooms: [Int], control: BenchControl
    ) {
        self.plan = plan
        self.addresses = addresses
        self.prefix = prefix
        self.control = control
        for number in rooms {
            let room = BenchRoom(plan.dialect, number: number, name: "\(prefix)\(number)", size: plan.size)
            self.rooms.append(room)
            for member in 0..<plan.members {
                let one = BenchMember(
                    mark: members.count, room: room, number: member,
                    node: plan.node(room: number, member: member))
                members.append(one)
                room.members.append(one)
            }
        }
    }

    deinit {
        for member in members { member.socket?.close() }
        for poster in posters { poster.socket.close() }
        buffer.deallocate()
    }

    /// The whole run. Blocks its thread until everything has arrived, or nothing has for some seconds (half a minute at
    /// most: an overloaded server keeps delivering for a long time).
    func run(isIdle: Bool) -> BenchResult {
        connectAll()
        control.ready.add(1, ordering: .sequentiallyConsistent)
        while control.start.load(ordering: .sequentiallyConsistent) == 0 {
            handleEvents(until: BenchPoll.now + 20_000_000)
        }
        if isIdle {
            while !control.stop.load(ordering: .sequentiallyConsistent) {
                handleEvents(until: BenchPoll.now + 200_000_000)
            }
        } else {
            talk(from: control.start.load(ordering: .sequentiallyConsistent))
            listenToTheEnd()
        }
        control.done.add(1, ordering: .sequentiallyConsistent)
        for room in rooms {
            result.rooms.append(
                BenchRoomVerdict(
                    room.members.map(\.ledger), stored: plan.dialect.acks ? room.acked : room.said))
            result.said += room.said
            result.acked += room.acked
        }
        return result
    }

    // MARK: Joining

    private func connectAll() {
        var next = 0
        var joining = 0
        let giveUpAt = BenchPoll.now + 120_000_000_000
        while BenchPoll.now < giveUpAt {
            joining = members[..<next].count { $0.isJoining }
            if next == members.count, joining == 0 { return }
            while next < members.count, joining < 256 {
                connect(members[next])
                next += 1
                joining += 1
            }
            // Handles several rounds of events before the members are counted again.
            for _ in 0..<4 { handleEvents(until: BenchPoll.now + 5_000_000) }
        }
        result.note("not joined in two minutes", UInt64(members.count { $0.phase != .live }))
    }

    private func connect(_ member: BenchMember) {
        let address = addresses[member.node]
        member.startedAt = BenchPoll.now
        do throws(BenchError) {
            let socket = try BenchSocket(address, origin: member.mark)
            member.socket = socket
            member.phase = .connecting
            poll.add(socket, mark: member.mark, writes: true)
        } catch {
            member.phase = .gone
            result.note(error.message, 1)
        }
    }

    // MARK: Talking

    private func talk(from start: UInt64) {
        measureFrom = start + UInt64(plan.warmup * 1e9)
        end = measureFrom + UInt64(plan.seconds * 1e9)
        heardAt = start
        while BenchPoll.now < start { handleEvents(until: start) }
        switch plan.pace {
        case .open(let perSecond, let burst): talkOpenly(perSecond / Double(burst), burst, start)
        case .closed(let inFlight):
            for room in rooms { keepGoing(room, inFlight: inFlight, now: BenchPoll.now) }
            while BenchPoll.now < end {
                handleEvents(until: min(end, BenchPoll.now + 100_000_000))
                goOnWithoutTheLost(inFlight)
            }
        }
        result.threadCPU = thread_cpu_time() - (cpuAtMeasure ?? 0)
        result.generatorCPU = result.threadCPU
        result.threadTime = BenchPoll.now - measureFrom
    }

    private var cpuAtMeasure: UInt64?

    private func talkOpenly(_ perSecond: Double, _ burst: Int, _ start: UInt64) {
        var schedule = BenchSchedule(rooms: rooms.count, perSecond: perSecond, start: start)
        while schedule.due < end {
            let now = BenchPoll.now
            guard schedule.due <= now else {
                handleEvents(until: schedule.due)
                continue
            }
            let (index, due) = schedule.next()
            if due >= measureFrom { _ = result.lag.record(now - due) }
            for _ in 0..<burst { say(in: rooms[index], stamp: due) }
        }
    }

    private func say(in room: BenchRoom, stamp: UInt64) {
        let member = room.members[plan.sender(of: room.said)]
        if stamp >= measureFrom { result.measuredSends += 1 }
        let bytes = room.say(stamp: stamp, node: member.node, countsPlaces: !plan.dialect.hasPositions)
        if plan.dialect.posts { post(bytes, in: room, node: member.node) } else { send(bytes, member) }
    }

    func send(_ bytes: [UInt8], _ member: BenchMember) {
        guard let socket = member.socket else { return }
        let hadUnsent = socket.hasUnsent
        socket.send(bytes)
        if socket.hasUnsent, !hadUnsent { poll.change(socket, mark: member.mark, writes: true) }
    }

    /// Closed loop: keeps so many messages in flight.
    func keepGoing(_ room: BenchRoom, inFlight: Int, now: UInt64) {
        while now < end, room.said < UInt64(inFlight) + room.settled { say(in: room, stamp: now) }
    }

    /// A closed loop would stop for good at the last message that a server lost, so it continues after a second of
    /// silence.
    private func goOnWithoutTheLost(_ inFlight: Int) {
        let now = BenchPoll.now
        guard heardAt > 0, now > heardAt + 1_000_000_000 else { return }
        heardAt = now
        for room in rooms {
            room.giveUp()
            keepGoing(room, inFlight: inFlight, now: now)
        }
    }

    // MARK: Listening

    private func listenToTheEnd() {
        heardAt = BenchPoll.now
        let giveUpAt = heardAt + 30_000_000_000
        while BenchPoll.now < heardAt + 3_000_000_000 {
            let isAll = rooms.allSatisfy { $0.delivered >= $0.said * UInt64(plan.members) && $0.acked >= $0.said }
            if isAll { return }
            guard BenchPoll.now < giveUpAt else {
                return result.note("still delivering half a minute after the end", 1)
            }
            handleEvents(until: BenchPoll.now + 50_000_000)
        }
    }

    private func handleEvents(until: UInt64) {
        if cpuAtMeasure == nil, BenchPoll.now >= measureFrom { cpuAtMeasure = thread_cpu_time() }
        poll.wait(until: until) { [self] mark, canRead, canWrite in
            guard mark < members.count else {
                return ready(posters[mark - members.count], canRead: canRead, canWrite: canWrite)
            }
            let member = members[mark]
            if canWrite { writable(member) }
            if canRead { readable(member) }
        }
    }

    private func writable(_ member: BenchMember) {
        guard let socket = member.socket else { return }
        if member.phase == .connecting {
            member.phase = .shaking
            let user = "\(prefix)u\(member.room.number)-\(member.number)"
            let address = addresses[member.node]
            socket.send(
                address.handshake(
                    plan.dialect.target(path: address.path, room: member.room.name, user: user),
                    isStream: plan.dialect.posts))
        }
        socket.sendRest()
        if !socket.hasUnsent { poll.change(socket, mark: member.mark, writes: false) }
    }
}
