import ChatCore

/// An ACK or a NACK that can be carried out.
struct StompAcknowledgement {
    let subscriptions: [StompSubscription]
    let position: Position
    /// Nothing is sent again from a log, so NACK only makes space for further messages.
    let isPositive: Bool
}

/// ACK and NACK.
extension StompConnection {
    func acknowledge(_ frame: StompFrame, _ give: Give) throws(StompFault) {
        guard frame.command == "ACK" || version > .v10 else {
            throw StompFault("Bad command", "Could not interpret command \"NACK\"\n")
        }
        let acknowledgement = try acknowledgement(frame)
        if let name = frame["transaction"] {
            guard var transaction = transactions[name] else { throw Self.unknown(transaction: name) }
            guard transaction.count < StompTransaction.most else { throw transactionTooLarge }
            if let acknowledgement { transaction.acknowledgements.append(acknowledgement) }
            transactions[name] = transaction
            return receipt(frame, give)
        }
        if let acknowledgement { carryOut([acknowledgement], give) }
        receipt(frame, give)
        goOn(give)
    }

    /// What the frame stands for; nil if its subscription has ended meanwhile.
    private func acknowledgement(_ frame: StompFrame) throws(StompFault) -> StompAcknowledgement? {
        let header = version == .v12 ? "id" : "message-id"
        guard let value = frame[header] else { throw Self.missing(header, frame.command) }
        let invalid = StompFault("Invalid header", "'\(frame.command)' must include a valid '\(header)' header\n")
        let parts = value.split(separator: "~", omittingEmptySubsequences: false)
        guard let position = Position(parts.last ?? ""), parts.count <= 2 else { throw invalid }
        let candidates: [StompSubscription]
        if parts.count == 2 {
            guard let serial = UInt64(parts[0]), serial > 0, serial <= nextSubscription else { throw invalid }
            candidates = all { $0.serial == serial }
            if candidates.isEmpty { return nil }
        } else if let id = frame["subscription"] {
            candidates = all { $0.id == id }
        } else {
            guard version == .v10 else { throw version == .v12 ? invalid : Self.missing("subscription", frame.command) }
            candidates = all { $0.acks != .auto }
        }
        guard !candidates.isEmpty else {
            throw StompFault("Subscription not found", "There is no subscription for that '\(frame.command)'.\n")
        }
        let subscriptions = candidates.filter { $0.canAcknowledge(position) }
        guard !subscriptions.isEmpty else { throw invalid }
        return StompAcknowledgement(
            subscriptions: subscriptions, position: position, isPositive: frame.command == "ACK")
    }

    /// Those of subscriptions that have ended meanwhile have no effect.
    func carryOut(_ acknowledgements: [StompAcknowledgement], _ give: Give) {
        for one in acknowledgements {
            for room in rooms.values {
                let known = room.subscriptions.filter { here in one.subscriptions.contains { $0 === here } }
                guard !known.isEmpty else { continue }
                for subscription in known { subscription.acknowledge(one.position) }
                if one.isPositive { room.reading.acknowledge(one.position) }
            }
        }
    }

    /// Makes the requests for which there is space now.
    func goOn(_ give: Give) {
        for room in Array(rooms.values) where room.hasWork { tend(room, give) }
        if asked.takeRefused() { retrySoon() }
    }

    private func all(_ isWanted: (StompSubscription) -> Bool) -> [StompSubscription] {
        rooms.values.flatMap { $0.subscriptions.filter(isWanted) }
    }
}
