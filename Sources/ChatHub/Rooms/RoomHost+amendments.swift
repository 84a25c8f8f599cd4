import ChatCore

/// Amendments. They go to the broker directly, which checks them and gives them their place in the room's order. The
/// room shows them when it hears them.
extension RoomHost {
    /// How often an amendment with a key is repeated while Redis reads the room's log.
    private static let mostReads = 1_000

    /// A session amends a message of a room in which it need not be.
    func amend(_ order: AmendOrder, ref: Ref?, from session: SessionID, _ rate: UserRate) {
        let room = order.request.room
        guard rate.spend(cost(ofAmending: order.request), now: context.now) else {
            return post(.answer(session, .error(ref: ref, settings.rooms.limits.tooDear)), to: session.loop)
        }
        amend(order) { [weak self] result in
            guard let self else { return }
            switch result {
            case .success(let reply):
                if let erased = reply.erased {
                    rate.charge(RequestCost.erasure &* UInt64(max(0, erased)), now: context.now)
                }
                context.answerStored(session, .amended(ref: ref, room: room, reply), in: room)
            case .failure(let error): post(.answer(session, .error(ref: ref, error)), to: session.loop)
            }
        }
    }

    /// Carries out an amendment. The words of an edit are looked at like those of a message. `then` is called once, on
    /// this loop.
    public func amend(_ order: AmendOrder, then: @escaping (Result<AmendReply, WireError>) -> Void) {
        guard case .edit(_, let text, let data) = order.request.operation else {
            return ask(order, reads: 0, then)
        }
        let content = MessageContent(
            user: order.user, at: order.at, text: text, data: data, key: order.request.key)
        screen(content, in: order.request.room) { [weak self] result in
            switch result {
            case .failure(let error): then(.failure(error))
            case .success(let content):
                var order = order
                order.request.operation.text = content.text
                self?.ask(order, reads: 0, then)
            }
        }
    }

    private func ask(
        _ order: AmendOrder, reads: Int, _ then: @escaping (Result<AmendReply, WireError>) -> Void
    ) {
        context.ask(.amend(order)) { [weak self] result in
            switch result {
            case .success(.amended(let reply)):
                self?.steps.eraseCopies(after: order.request.operation, reply, in: order.request.room)
                then(.success(reply))
            case .success: then(.failure(BrokerError.malformed("").wireError("amend")))
            case .failure(.again) where reads < Self.mostReads: self?.ask(order, reads: reads + 1, then)
            case .failure(let error): then(.failure(error.wireError("amend")))
            }
        }
    }

    /// The cost of telling each session of the room, without ``RequestCost/before(_:)``.
    public func cost(ofAmending request: AmendRequest) -> UInt64 {
        let room = room(named: request.room)
        if let room { awaken(room) }
        let receivers = room?.look { $0.receivers } ?? nil
        return RequestCost.fanOut(bytes: 128 + request.byteCount, to: receivers ?? RequestCost.unknownReceivers)
    }
}
