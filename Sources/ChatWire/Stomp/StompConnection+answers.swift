import ChatCore
import ChatJSON

/// What the node says to this connection alone.
extension StompConnection {
    func write(_ event: ServerEvent, viewer: UserID, _ body: (_ bytes: [UInt8], _ isText: Bool) -> Void) {
        guard !isOver else { return }
        switch event {
        case .welcome(let welcome): connected(welcome, body)
        case .joined(let joined): self.joined(joined, viewer, body)
        case .left(let ref, _): _ = asked.answered(ref)
        case .sent(let ref, _, _, _, _): sent(ref, body)
        case .message(let name, let message, let showKey):
            guard let room = room(name) else { return }
            room.last = message.position
            deliver(message, showKey: showKey, in: room, body)
        case .gap(let name, let gap):
            guard let room = room(name) else { return }
            for subscription in room.subscriptions where subscription.phase == .live {
                tell(gap, to: subscription, in: room, body)
            }
        case .reset(let name, let reset):
            guard let room = room(name) else { return }
            room.last = reset.position
            room.reading.reset()
            for subscription in room.subscriptions where subscription.phase == .live {
                tell(reset, to: subscription, in: room, body)
                subscription.last = reset.position
                subscription.unacknowledged = []
                subscription.isHeld = false
            }
        case .history(let ref, let name, let page): self.page(page, ref, name, viewer, body)
        case .removed(let name, let removal): removed(from: name, removal, body)
        case .error(let ref, let error): refused(ref, error, body)
        case .inbox(.read(let ref, _, _)):
            if case .read(let name)? = asked.answered(ref) { hasRead(name) }
        case .presence, .signal, .draining, .roster, .pong, .renewed, .expiring, .moderated, .conversation, .amended,
            .inbox,
            .rules, .sanction, .participants:
            break
        }
    }

    private func connected(_ welcome: Welcome, _ body: ([UInt8], Bool) -> Void) {
        state = .open
        user = welcome.user.text
        var bytes = ByteWriter(capacity: 160)
        bytes.appendText("CONNECTED\nserver:Martlet\n")
        // CONNECTED has no escapes.
        bytes.stompHeader("session", welcome.session, .v10)
        bytes.stompHeader("heart-beat", plain: "\(heartBeats.sends),\(heartBeats.expects)")
        bytes.stompHeader("version", plain: version.text)
        bytes.stompHeader("user-name", welcome.user.text, .v10)
        bytes.append(0x0A)
        bytes.append(0)
        body(bytes.array, true)
        heartBeats.start()
        // What the client has sent meanwhile is read, and the times of the heart-beats begin.
        hasWork = true
    }

    private func joined(_ joined: Joined, _ viewer: UserID, _ body: ([UInt8], Bool) -> Void) {
        _ = asked.answered(joined.ref)
        guard let room = room(joined.room) else { return }
        room.membership = .joined
        room.last = max(room.last ?? joined.position, joined.position)
        room.reading.isParticipant = joined.receipts?.own != nil
        for subscription in room.subscriptions where subscription.phase == .waiting {
            begin(subscription, joined, in: room, body)
        }
        for message in joined.messages {
            deliver(message, showKey: message.content.user == viewer, in: room, body)
        }
        if room.hasWork || !sends.isEmpty { hasWork = true }
        if case .leaving = state { hasWork = true }
    }

    private func begin(
        _ subscription: StompSubscription, _ joined: Joined, in room: StompRoom, _ body: ([UInt8], Bool) -> Void
    ) {
        var last: Position?
        switch subscription.start {
        case .next: last = joined.position
        case .last: last = Position(epoch: 0, seq: joined.position.seq > 0 ? joined.position.seq - 1 : 0)
        case .after(let position): last = position
        }
        if case .last = subscription.start {
            // Positions are compared by their epochs first.
            last = joined.messages.last.map { Position(epoch: $0.position.epoch, seq: $0.position.seq - 1) } ?? last
        }
        goLive(subscription, last: last, body)
        guard case .after(let position) = subscription.start else { return }
        switch joined.resumption {
        case .fresh, .complete: break
        case .gap(let gap): if position.seq > 0 { tell(gap, to: subscription, in: room, body) }
        case .reset(let reset):
            tell(reset, to: subscription, in: room, body)
            subscription.last = joined.messages.isEmpty ? reset.position : nil
        }
    }

    private func sent(_ ref: Ref?, _ body: ([UInt8], Bool) -> Void) {
        guard case .send(let name, let receipt, let batch)? = asked.answered(ref) else { return }
        answered(name)
        if let receipt { body(StompAnswer.receipt(receipt, version), true) }
        if let batch {
            batch.remaining -= 1
            if batch.remaining == 0, let receipt = batch.receipt {
                body(StompAnswer.receipt(receipt, version), true)
            }
        }
        if case .leaving = state, !asked.hasSends { hasWork = true }
    }

    /// What the user has read was stored, or cannot be.
    private func hasRead(_ name: RoomName) {
        guard let room = rooms[name] else { return }
        room.reading.answered()
        if room.hasWork { hasWork = true }
    }

    /// A SEND to the room has its answer.
    private func answered(_ name: RoomName) {
        guard let room = rooms[name] else { return }
        room.sendsWaiting -= 1
        if !sends.isEmpty || room.hasWork { hasWork = true }
    }

    // MARK: Messages

    private func deliver(
        _ message: Message, showKey: Bool, in room: StompRoom, _ body: ([UInt8], Bool) -> Void
    ) {
        for subscription in room.subscriptions where subscription.takes(message.position) {
            show(message, showKey: showKey, to: subscription, in: room, body)
        }
    }

    private func show(
        _ message: Message, showKey: Bool, to subscription: StompSubscription, in room: StompRoom,
        _ body: ([UInt8], Bool) -> Void
    ) {
        if subscription.layout == .object, subscription.acks == .auto, !StompMessage.isBinary(message) {
            let rest = shared.objects.bytes(of: message, showKey: showKey, in: room.name, version)
            return body(subscription.prefix.bytes + rest, true)
        }
        var bytes = ByteWriter()
        subscription.prefix.bytes.withUnsafeBytes { bytes.append(contentsOf: $0) }
        let ack = subscription.acks == .auto ? nil : "\(subscription.serial)~\(message.position)"
        StompMessage.append(
            message, showKey: showKey, ack: ack, layout: subscription.layout, in: room.name,
            isTextOnly: shared.isTextOnly, version, to: &bytes)
        body(bytes.array, !StompMessage.isBinary(message) || shared.isTextOnly)
    }

    private func page(
        _ page: HistoryPage, _ ref: Ref?, _ name: RoomName, _ viewer: UserID, _ body: ([UInt8], Bool) -> Void
    ) {
        guard case .page(_, let serial)? = asked.answered(ref), let room = room(name),
            let subscription = room.subscriptions.first(where: { $0.serial == serial })
        else { return }
        for message in page.messages where subscription.takes(message.position, fromLog: true) {
            show(message, showKey: message.content.user == viewer, to: subscription, in: room, body)
        }
        subscription.paged(hasNewer: page.hasNewer)
        if room.hasWork { hasWork = true }
    }

    // MARK: What is no message

    private func tell(
        _ gap: Gap, to subscription: StompSubscription, in room: StompRoom, _ body: ([UInt8], Bool) -> Void
    ) {
        event("gap", "gap-\(gap.before)", .gap(room: room.name, gap), to: subscription, body)
    }

    private func tell(
        _ reset: Reset, to subscription: StompSubscription, in room: StompRoom, _ body: ([UInt8], Bool) -> Void
    ) {
        event("reset", "reset-\(reset.position)", .reset(room: room.name, reset), to: subscription, body)
    }

    private func event(
        _ name: StaticString, _ id: String, _ event: ServerEvent, to subscription: StompSubscription,
        _ body: ([UInt8], Bool) -> Void
    ) {
        var bytes = ByteWriter()
        subscription.prefix.bytes.withUnsafeBytes { bytes.append(contentsOf: $0) }
        StompMessage.event(name, id: id, version, to: &bytes) { body in
            MartletV1Codec(limits: limits).encode(event, into: &body)
        }
        body(bytes.array, true)
    }

    /// The connection was made to leave the room: its subscriptions there are told, and end.
    private func removed(from name: RoomName, _ removal: Removal, _ body: ([UInt8], Bool) -> Void) {
        guard let room = room(name) else { return }
        for subscription in room.subscriptions {
            event("left", "left-\(subscription.serial)", .removed(room: name, removal), to: subscription, body)
        }
        forget(room)
    }

    // MARK: Refusals

    private func refused(_ ref: Ref?, _ error: WireError, _ body: ([UInt8], Bool) -> Void) {
        if asked.refusedByRate(ref, error) { return }
        switch asked.answered(ref) {
        case .send(let name, let receipt, _):
            answered(name)
            refuse(error, receipt: receipt, isSend: true, body)
        case .join(let name):
            guard let room = room(name) else { return }
            room.membership = .none
            room.failure = error
            if let subscription = room.subscriptions.first {
                refuse(error, receipt: subscription.receipt, isSend: false, body)
            } else {
                hasWork = true
            }
        case .page(let name, let serial):
            // It is asked again with the next acknowledgement.
            room(name)?.subscriptions.first { $0.serial == serial }?.isPaging = false
        case .read(let name): hasRead(name)
        case .leave: break
        case nil: refuse(error, receipt: nil, isSend: false, body)
        }
    }

    /// An ERROR, which ends the connection; or, of a SEND, a MESSAGE to whoever has subscribed to errors.
    func refuse(_ error: WireError, receipt: String?, isSend: Bool, _ body: ([UInt8], Bool) -> Void) {
        let fault = StompFault(error.code.name, error.message + "\n")
        if isSend, let errors {
            var bytes = ByteWriter()
            errors.prefix.bytes.withUnsafeBytes { bytes.append(contentsOf: $0) }
            uses += 1
            bytes.stompHeader("message-id", plain: "error-\(uses)")
            if let receipt { bytes.stompHeader("receipt-id", receipt, version) }
            bytes.stompHeader("code", plain: error.code.name)
            bytes.appendText(error.code.retry ? "retry:true\n" : "retry:false\n")
            bytes.stompHeader("content-type", plain: StompContent.plainType)
            Array(fault.detail.utf8).withUnsafeBytes { bytes.stompBody($0) }
            body(bytes.array, true)
            if case .leaving = state { hasWork = true }
            return
        }
        body(StompAnswer.error(fault, receipt: receipt, code: error.code.name, version), true)
        state = .ended(isTold: false)
        hasWork = true
    }
}
