/// What a room received and what it did, as one line each, for `MARTLET_LOG_LEVEL=trace`.
///
/// The lines hold names of users, devices and nodes, positions, serials and counts. They never hold what people say
/// (text, data, keys, names of signals), nor a client's `ref`, nor the text of an error, which may repeat any of these.
/// Nothing is computed until a property is read.
extension RoomEvent {
    /// What happened, without payload.
    public var traceText: String {
        switch self {
        case .join(let request):
            let after = request.after.map { " after \($0)" } ?? ""
            return "join of \(request.session.trace), user \(request.user), device \(request.device)\(after), "
                + "history \(request.history)"
        case .leave(let session): return "leave of \(session.trace)"
        case .send(let request, _, let session, _):
            let key = request.key == nil ? "" : ", with a key"
            let again = request.again.map { ", again \($0)" } ?? ""
            let since = request.since.map { ", since \($0)" } ?? ""
            return "send of \(session.trace), \(request.byteCount) bytes\(key)\(again)\(since)"
        case .signal(let name, let data, _, let session):
            return "signal of \(session.trace), \(name.utf8.count + (data?.utf8.count ?? 0)) bytes"
        case .roster(let cursor, _, let session):
            return "roster for \(session.trace), \(cursor == nil ? "first" : "next") page"
        case .watched(let isWatched): return isWatched ? "watched" : "not watched any more"
        case .commandsUp(let identity): return "commandsUp, run \(identity.runID.prefix(8))"
        case .commandsDown: return "commandsDown"
        case .subscriptionsUp: return "subscriptionsUp"
        case .subscriptionsDown: return "subscriptionsDown"
        case .subscribed: return "subscribed"
        case .unsubscribed: return "unsubscribed"
        case .heard(let event): return "heard \(event.trace)"
        case .completed(let serial, .success(let reply)): return "completed \(serial.traceSerial): \(reply.trace)"
        case .completed(let serial, .failure(let error)): return "completed \(serial.traceSerial): \(error.trace)"
        case .timerFired: return "timerFired"
        case .turnCame: return "turnCame"
        case .logReaches(let position): return "logReaches \(position)"
        case .nodeForgotten: return "nodeForgotten"
        case .nodeLeaves: return "nodeLeaves"
        case .releaseMemory(let bytes): return "releaseMemory to \(bytes) bytes"
        }
    }
}

extension RoomAction {
    /// What the room asks of its runner, without payload.
    public var traceText: String {
        switch self {
        case .subscribe: "subscribe"
        case .unsubscribe: "unsubscribe"
        case .submit(let request, RequestTag.ignoredSerial): "submit, without an answer: \(request.trace)"
        case .submit(let request, let serial): "submit \(serial.traceSerial): \(request.trace)"
        case .awaitTurn(let isUrgent): isUrgent ? "awaitTurn, urgent" : "awaitTurn"
        case .endTurn: "endTurn"
        case .resetLinks: "resetLinks"
        case .deliver(let message): "deliver \(message.trace)"
        case .deliverGap(let gap): "deliverGap \(gap.trace)"
        case .deliverReset(let reset): "deliverReset to \(reset.position)"
        case .deliverPresence(let joined, let left, let count):
            "deliverPresence, \(joined.count) joined, \(left.count) left, \(count) in the room"
        case .deliverPresenceApart(let joined, let left, let count, let except):
            "deliverPresence, \(joined.count) joined, \(left.count) left, \(count) in the room, except to "
                + "\(except.count) sessions"
        case .deliverSignal(let signal): "deliverSignal of \(signal.trace)"
        case .settleIndexes: "settleIndexes"
        case .deliverRules(_, let version): "deliverRules, version \(version)"
        case .deliverSanction(let change): "deliverSanction, \(change.operation.rawValue) of user \(change.user)"
        case .deliverParticipants(let changes): "deliverParticipants, \(changes.changes.count) changes"
        case .goLive(let session, let joined): "goLive of \(session.trace): \(joined.trace)"
        case .answer(let session, let event): "answer to \(session.trace): \(event.trace)"
        case .refuseJoin(let session, let event): "refuseJoin of \(session.trace): \(event.trace)"
        case .remove(let session, let removal): "remove \(session.trace), \(removal.reason.rawValue)"
        case .refusePage(let session, let event): "refusePage of \(session.trace): \(event.trace)"
        case .sawNodes(let nodes): "sawNodes, \(nodes.count) nodes"
        case .conversed(let conversation, let last, let isRewound):
            "conversed, \(conversation?.participants.count ?? 0) participants, last \(last)"
                + (isRewound ? ", rewound" : "")
        case .charge(let session, let cost): "charge session \(session.raw) \(cost) ns"
        case .finished: "finished"
        case .count(let counter): "count \(counter)"
        }
    }
}

// MARK: what events and actions consist of

extension UInt64 {
    /// The serial of a request: that of an append is the number of its send.
    fileprivate var traceSerial: String {
        self & RoomRequests.appendBit == 0
            ? "request \(self)" : "append of send \(self & ~RoomRequests.appendBit)"
    }
}

extension SessionID {
    fileprivate var trace: String { "session \(raw)" }
}

extension Message {
    fileprivate var trace: String { "\(position) of user \(content.user), \(content.trace)" }
}

extension MessageContent {
    fileprivate var trace: String { "\(storedBytes) bytes" }
}

extension Signal {
    fileprivate var trace: String { "user \(user), \(session.trace) on \(node)" }
}

extension Gap {
    fileprivate var trace: String { "after \(after), before \(before)" }
}

extension Joined {
    fileprivate var trace: String {
        let result =
            switch resumption {
            case .fresh: "fresh"
            case .complete: "complete"
            case .gap(let gap): "gap \(gap.trace)"
            case .reset: "reset"
            }
        return "\(result) at \(position), \(messages.count) messages\(hasMore ? " and more" : ""), \(count) in the room"
    }
}

extension ServerEvent {
    fileprivate var trace: String {
        switch self {
        case .welcome: "welcome"
        case .joined(let joined): "joined, \(joined.trace)"
        case .left: "left"
        case .sent(_, _, let position, _, let repeated): "sent \(position)\(repeated ? ", repeated" : "")"
        case .message(_, let message, _): "message \(message.trace)"
        case .presence(_, let joined, let left, let count):
            "presence, \(joined.count) joined, \(left.count) left, \(count) in the room"
        case .signal(_, let user, _, _): "signal of user \(user)"
        case .gap(_, let gap): "gap \(gap.trace)"
        case .reset(_, let reset): "reset to \(reset.position)"
        case .draining: "draining"
        case .history(_, _, let page): "history, \(page.messages.count) messages"
        case .roster(_, _, let page): "roster, \(page.members.count) of \(page.count)"
        case .pong: "pong"
        case .renewed: "renewed"
        case .expiring: "expiring"
        case .removed(_, let removal): "removed, \(removal.reason.rawValue)"
        case .moderated(_, _, let reply): "moderated, version \(reply.version)"
        case .conversation: "conversation"
        case .amended(_, _, let reply): "amended \(reply.position)"
        case .rules(_, let version, _): "rules, version \(version)"
        case .sanction(_, let change): "sanction, \(change.operation.rawValue) of user \(change.user)"
        case .participants(_, let changes): "participants, \(changes.changes.count) changes"
        case .inbox: "inbox"
        case .error(_, let error): "error \(error.code.name)"
        }
    }
}

extension ChannelEvent {
    fileprivate var trace: String {
        switch self {
        case .message(let message, let base): "message \(message.trace)\(base.map { ", base \($0)" } ?? "")"
        case .epoch(let epoch, let base, let nodes, let node, let rules):
            "epoch \(epoch), base \(base), \(nodes.count) nodes, begun by \(node)"
                + (rules == 0 ? "" : ", rules \(rules)")
        case .gone(let node, let value, let nodes, let last):
            "gone \(node) with value \(value), \(nodes.count) nodes, last \(last)"
        case .presence(let notice): "presence \(notice.trace)"
        case .signal(let signal): "signal of \(signal.trace)"
        case .reads(let marks): "reads of \(marks.count) users"
        case .notice(let notice): "notice, \(notice.kind.rawValue)"
        }
    }
}

extension PresenceNotice {
    fileprivate var trace: String { "after \(after) to \(position), \(changes.count) changes, \(count) in the room" }
}

extension BrokerRequest {
    fileprivate var trace: String {
        switch self {
        case .append(_, let epoch, let content, let others, _):
            "append in epoch \(epoch)\(others.map { ", \($0.trace)" } ?? ""), \(content.trace)"
        case .publish(_, let event): "publish \(event.trace)"
        case .enter(let request):
            "enter after \(request.after?.description ?? "nothing"), seen \(request.seen), "
                + "\(request.tail.count) messages brought\(request.identityChanged ? ", another broker" : "")"
                + "\(request.offersTail ? ", offers its tail" : "")"
        case .view(_, let after, let page, _): "view after \(after?.description ?? "nothing"), \(page.count) at most"
        case .leave(_, let node, let value, let cursor, _): "leave of \(node) with value \(value), cursor \(cursor)"
        case .once(let request):
            "once in epoch \(request.epoch), known \(request.knownFrom) to \(request.known), "
                + "\(request.sends.count) sends"
        case .presence(let request): "presence with value \(request.value), \(request.changes.count) changes"
        case .roster(_, let cursor): "roster, cursor \(cursor)"
        case .trim: "trim"
        case .hold: "hold"
        case .release: "release"
        case .say, .moderate, .amend, .audit, .rules, .history, .heartbeat, .nodes, .rooms, .holders, .forget,
            .tryStoring, .memory, .ping, .command, .commands, .storeTicket, .takeTicket, .conversation, .user, .reading,
            .relay:
            "none of a room's"
        }
    }
}

extension OtherNodes {
    fileprivate var trace: String { "for others behind \(known)\(base.map { ", base \($0)" } ?? "")" }
}

extension BrokerReply {
    fileprivate var trace: String {
        switch self {
        case .done: "done"
        case .appended(let position, let isPublished): "appended \(position)\(isPublished ? " and published" : "")"
        case .view(let view):
            "view \(view.verdict) at \(view.epoch)-\(view.last), base \(view.base), branch \(view.branch), "
                + "\(view.nodes.count) nodes, \(view.entries.count) messages\(view.hasMore ? " and more" : "")"
                + (view.moderation.map { ", rules \($0.version), \($0.sanctionCount) sanctions" } ?? "")
        case .bring(let position): "bring from \(position)"
        case .left(let wasThere): "left \(wasThere)"
        case .leaving(let cursor): "leaving, cursor \(cursor)"
        case .once(let once): "once at epoch \(once.epoch), base \(once.base), \(once.outcomes.trace)"
        case .said(let position, _): "said \(position)"
        case .presence(let reply): "presence at \(reply.position)\(reply.notice.map { ", \($0.trace)" } ?? "")"
        case .roster(let part):
            "roster at \(part.position), \(part.members.count) of \(part.count), cursor \(part.cursor)"
        case .history(let page): "history, \(page.messages.count) messages"
        case .moderated, .amended, .audit, .rules, .heartbeat, .nodes, .rooms, .someRooms, .forgetting, .holders,
            .memory, .commanded, .commands, .ticket, .conversation, .participants, .user, .reading, .relayed:
            "none of a room's"
        }
    }
}

extension [OnceOutcome] {
    fileprivate var trace: String {
        map { outcome in
            switch outcome {
            case .stored(let position): "stored \(position)"
            case .repeated(let position, _): "repeated \(position)"
            case .outcomeUnknown: "outcomeUnknown"
            }
        }.joined(separator: ", ")
    }
}

extension BrokerError {
    fileprivate var trace: String {
        switch self {
        case .refused: "refused"
        case .missing: "missing"
        // The first word of Redis' text is the kind of the error (`OOM`); the rest may quote the request.
        case .notStored(let text): "notStored \(text.prefix { $0.isUppercase })"
        case .forbidden(let error): "forbidden \(error.code.name)"
        case .notConnected: "notConnected"
        case .again: "again"
        case .outcomeUnknown: "outcomeUnknown"
        case .malformed: "malformed"
        }
    }
}
