import ChatCore
import Testing

@testable import ChatWire

struct SocketStateMachineTests {
    private let start = Moment(nanoseconds: 1_000_000_000)

    private func machine(_ change: (inout SocketStateMachine.Limits) -> Void = { _ in }) -> SocketStateMachine {
        var limits = SocketStateMachine.Limits()
        limits.connectTimeout = .seconds(1)
        change(&limits)
        return SocketStateMachine(limits: limits, now: start)
    }

    private func connected(_ change: (inout SocketStateMachine.Limits) -> Void = { _ in }) -> SocketStateMachine {
        var machine = machine(change)
        _ = send("0", &machine)
        _ = machine.connected("/")
        return machine
    }

    private func send(_ text: String, _ machine: inout SocketStateMachine) -> SocketStateMachine.Action {
        machine.received(Array(text.utf8), isText: true)
    }

    @Test func aClientConnectsTalksAndLeaves() throws {
        var machine = machine()
        #expect(machine.deadline == start + .seconds(1))
        #expect(send("0", &machine) == .connect(namespace: "/", auth: nil))
        #expect(machine.deadline == nil)
        #expect(machine.connected("/") == true)
        guard case .event(let event) = send("212[\"say\",1]", &machine) else {
            Issue.record("no event")
            return
        }
        #expect(event.name == "say" && event.id == 12 && event.attachments.isEmpty && event.namespace == "/")
        #expect(send("1", &machine) == .disconnect(namespace: "/"))
        // What was under way has no effect.
        #expect(send("2[\"say\",1]", &machine) == .doNothing)
        #expect(send("0{\"a\":1}", &machine) == .connect(namespace: "/", auth: SocketValue(Array("{\"a\":1}".utf8))))
    }

    @Test func namespacesAreIndependent() {
        var machine = connected()
        #expect(send("0/a,", &machine) == .connect(namespace: "/a", auth: nil))
        #expect(machine.connected("/a") == true)
        machine.disconnected("/a")
        #expect(send("2/a,[\"say\"]", &machine) == .doNothing)
        guard case .event = send("2[\"say\"]", &machine) else {
            Issue.record("no event")
            return
        }
    }

    @Test(arguments: ["2/a,[\"say\"]", "0", "4abc", "abc", "1/a", "2{}"])
    func whatBreaksTheProtocolEndsTheConnection(_ text: String) {
        var machine = connected()
        #expect(send(text, &machine) == .end)
        #expect(send("2[\"say\"]", &machine) == .doNothing)
    }

    @Test func packetsBeforeTheAnswerToConnectEndTheConnection() {
        var machine = machine()
        _ = send("0", &machine)
        #expect(send("2[\"say\"]", &machine) == .end)
        #expect(machine.connected("/") == false)
    }

    @Test func aClientThatConnectsToNothingIsGivenUp() {
        var machine = machine()
        #expect(machine.timePassed(now: start + .milliseconds(999)) == .doNothing)
        #expect(machine.timePassed(now: start + .seconds(1)) == .end)
        var refused = self.machine()
        _ = send("0", &refused)
        #expect(refused.timePassed(now: start + .seconds(2)) == .doNothing)
        refused.refused("/", now: start + .seconds(2))
        #expect(refused.deadline == start + .seconds(3))
        #expect(send("0", &refused) == .connect(namespace: "/", auth: nil))
    }

    @Test func attachmentsBelongToThePacketBeforeThem() {
        var machine = connected()
        #expect(send("52-9[\"a\",{\"_placeholder\":true,\"num\":0}]", &machine) == .doNothing)
        #expect(machine.received([1], isText: false) == .doNothing)
        guard case .event(let event) = machine.received([2, 3], isText: false) else {
            Issue.record("no event")
            return
        }
        #expect(event.attachments == [[1], [2, 3]] && event.id == 9)
        #expect(send("61-4[]", &machine) == .doNothing)
        guard case .acknowledged(_, 4, _, [[5]]) = machine.received([5], isText: false) else {
            Issue.record("no acknowledgement")
            return
        }
    }

    @Test func attachmentsOutOfPlaceEndTheConnection() {
        var alone = connected()
        #expect(alone.received([1], isText: false) == .end)
        var interrupted = connected()
        _ = send("51-[\"a\"]", &interrupted)
        #expect(send("2[\"a\"]", &interrupted) == .end)
        var long = connected { $0.packetBytes = 20 }
        _ = send("52-[\"a\"]", &long)
        #expect(long.received([UInt8](repeating: 0, count: 30), isText: false) == .end)
        var many = connected { $0.attachments = 3 }
        #expect(send("54-[\"a\"]", &many) == .end)
    }

    @Test func namespacesAreBounded() {
        var machine = machine { $0.namespaces = 2 }
        #expect(send("0", &machine) == .connect(namespace: "/", auth: nil))
        #expect(send("0/a", &machine) == .connect(namespace: "/a", auth: nil))
        #expect(send("0/b", &machine) == .refuse(namespace: "/b"))
        machine.refused("/a", now: start)
        #expect(send("0/b", &machine) == .connect(namespace: "/b", auth: nil))
    }
}
