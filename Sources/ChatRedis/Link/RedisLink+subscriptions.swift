import ChatCore
import Logging
import NIOCore

/// A channel to subscribe to, or to unsubscribe from, in the write of this tick.
struct SubscriptionOrder {
    var subscribes: Bool
    var entity: Entity
    var channel: String
}

extension RedisLink {
    /// The number of names in one SUBSCRIBE. Redis accepts a million arguments, but serves no other client while it
    /// processes them.
    private static let namesPerCommand = 1_000

    /// In a Cluster channels are sharded. Then each command has one name: several would have to be in one slot, and
    /// each name needs an answer of its own, as any of them may have moved.
    private var isSharded: Bool { settings.kind == .clusterMaster }

    // MARK: Out

    func order(_ entity: Entity, subscribes: Bool) {
        // While the connection is down, the order is dropped: the owner subscribes again once it is up.
        guard subscriptions.isUp else { return }
        subscriptionBatch.append(
            SubscriptionOrder(subscribes: subscribes, entity: entity, channel: codec.channelName(of: entity)))
        scheduleTick()
    }

    /// Sends the orders of the tick in sequence, with one command for each run of the same kind.
    func flushSubscriptions() {
        guard !subscriptionBatch.isEmpty || subscriptionPing, subscriptions.isUp else { return }
        var writer = RESPWriter()
        var rest = subscriptionBatch[...]
        while let first = rest.first {
            let run = rest.prefix { $0.subscribes == first.subscribes }.prefix(isSharded ? 1 : Self.namesPerCommand)
            writer.command(run.count + 1)
            writer.argument(verb(subscribes: first.subscribes))
            for order in run {
                writer.argument(order.channel)
                if order.subscribes {
                    machine.subscribe(order.entity, channel: order.channel, now: now)
                } else {
                    machine.unsubscribe(order.entity, channel: order.channel, now: now)
                }
            }
            rest = rest.dropFirst(run.count)
        }
        subscriptionBatch.removeAll(keepingCapacity: true)
        if subscriptionPing {
            subscriptionPing = false
            writer.command(words: ["PING"])
            machine.ping(now: now)
        }
        lastSubscriptionActivity = now
        subscriptions.write(writer.take())
    }

    private func verb(subscribes: Bool) -> StaticString {
        guard isSharded else { return subscribes ? "SUBSCRIBE" : "UNSUBSCRIBE" }
        return subscribes ? "SSUBSCRIBE" : "SUNSUBSCRIBE"
    }

    // MARK: In

    /// Returns false if the connection was dropped.
    func subscriptionReplied(_ arena: RESPArena, readAt: Moment) -> Bool {
        defer { arena.removeAll() }
        let reply = RESPReplies(arena: arena)[0]
        if let error = reply.error {
            if isSharded, ClusterRefusal(error) != nil, let entity = machine.refused() {
                cluster?.channelLeft(entity, error, from: self)
                return subscriptions.isUp
            }
            delegate?.brokerRefused(error)
            // Redis refuses PING with MISCONF if it cannot save, and with BUSY while a script runs. It answers, so it
            // is alive.
            if case .ponged(let since) = machine.pingRefused() {
                sampled(roundTrip: readAt - min(since, readAt))
                return true
            }
            subscriptions.drop(
                RedisSetupError(.notPermitted, "\(subscriptions.place) refuses to subscribe: \(error)"))
            return false
        }
        let kind = kind(of: reply)
        let count = kind == .message ? nil : reply[2].integer
        switch reply[1].withBytes({ machine.received(kind, channel: $0, count: count) }) {
        case .left(let entity):
            cluster?.channelLeft(entity, "the slot of its channel has moved", from: self)
        case .heard(let entity):
            heard(entity, reply[2])
        case .subscribed(let entity):
            delegate?.brokerSubscribed(entity)
        case .unsubscribed(let entity):
            delegate?.brokerUnsubscribed(entity)
        case .ponged(let since):
            sampled(roundTrip: readAt - min(since, readAt))
        case .ignore:
            break
        case .fail(let text):
            subscriptions.drop(RedisSetupError(.notRedis, "\(subscriptions.place): \(text)"))
            return false
        }
        return subscriptions.isUp
    }

    private func kind(of reply: RESPReply) -> SubscriptionStateMachine.Kind {
        switch reply.kind {
        case .array:
            let word = reply[0]
            if isSharded, reply.count == 3 {
                if word.equals("smessage") { return .message }
                if word.equals("ssubscribe") { return .subscribe }
                if word.equals("sunsubscribe") { return .unsubscribe }
            }
            if word.equals("message"), reply.count == 3 { return .message }
            if word.equals("subscribe"), reply.count == 3 { return .subscribe }
            if word.equals("unsubscribe"), reply.count == 3 { return .unsubscribe }
            return word.equals("pong") ? .pong : .other
        case .status:
            // While nothing is subscribed, PING is answered as on any other connection.
            return reply.equals("PONG") ? .pong : .other
        case .error, .string, .integer, .null:
            return .other
        }
    }

    private func heard(_ entity: Entity, _ payload: RESPReply) {
        payload.withBytes { codec.forEachEvent(inPayload: $0) { heard(entity, $0) } }
    }

    private func heard(_ entity: Entity, _ payload: UnsafeBufferPointer<UInt8>) {
        if case .room(let room) = entity, let (position, base) = codec.place(ofPayload: payload),
            delegate?.brokerKnows(room, position, base: base) ?? false
        {
            observer?.redisHeard(bytes: payload.count, accepted: true)
            return
        }
        do throws(ChannelPayloadError) {
            let event = try codec.event(ofPayload: payload)
            observer?.redisHeard(bytes: payload.count, accepted: true)
            delegate?.brokerHeard(entity, event)
        } catch {
            observer?.redisHeard(bytes: payload.count, accepted: false)
            ignored(.payload, "\(error)", of: entity)
        }
    }

    // MARK: Time

    func checkSubscriptions(now: Moment) {
        guard subscriptions.isUp else { return }
        if let oldest = machine.oldestQuestion, isSilent(subscriptions, since: oldest, now: now) {
            subscriptions.drop(
                RedisSetupError(
                    .timedOut,
                    "\(subscriptions.place) did not answer on the subscribe connection in \(settings.commandTimeout)")
            )
        } else if machine.outstanding == 0, now - lastSubscriptionActivity >= settings.pingInterval {
            subscriptionPing = true
            flushSubscriptions()
        }
    }
}
