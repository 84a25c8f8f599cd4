import ChatCore

/// The interpreter of ``RoomAction``.
extension RoomHost {
    /// Returns true if the room is finished.
    func carryOut(_ action: RoomAction, _ room: HomeRoom) -> Bool {
        if isTracing { context.trace("-> \(action.traceText)", in: room.name) }
        switch action {
        case .subscribe: link.subscribe(room.name)
        case .unsubscribe: link.unsubscribe(room.name)
        case .submit(let request, let serial):
            link.submit(request, tag: RequestTag(owner: room.slot, generation: room.generation, serial: serial))
        case .awaitTurn(let isUrgent): awaitTurn(room, isUrgent: isUrgent)
        case .endTurn: endTurn(room)
        case .resetLinks: link.reset(room.name)
        case .deliver(let message): deliver(message, room)
        case .deliverGap(let gap):
            tellPolls(room, gap)
            broadcast(.gap(room: room.name, gap), room)
        case .deliverReset(let reset):
            tellPolls(room, reset)
            broadcast(.reset(room: room.name, reset), room)
        case .deliverPresence(let joined, let left, let count):
            deliverPresence(joined: joined, left: left, count: count, except: [], room)
        case .deliverPresenceApart(let joined, let left, let count, let except):
            deliverPresence(joined: joined, left: left, count: count, except: except, room)
        case .deliverSignal(let signal): deliver(signal, room)
        case .settleIndexes: settleIndexes(of: room.name)
        case .deliverRules(let policy, let version):
            // A relay deletes a room that is closed.
            note(room.name)
            tell(.rules(room: room.name, version: version, policy), room)
        case .deliverSanction(let change): tell(.sanction(room: room.name, change), room)
        case .deliverParticipants(let changes): tell(.participants(room: room.name, changes), room)
        case .goLive(let session, let joined):
            if !(joined.ref?.isOfPage ?? false) { context.recovered(joined.resumption) }
            let answer = room.reading == nil ? joined : withReceipts(joined, session, room)
            post(.goLive(room.members(on: session.loop), session, answer), to: session.loop)
        case .answer(let session, let event):
            guard case .sent(_, _, let position, _, let isRepeated) = event else { return answer(session, event) }
            if room.reading != nil { stored(session, position, room, isRepeated: isRepeated) }
            context.answerStored(session, event, in: room.name)
        case .refuseJoin(let session, let event):
            room.sessionWent(session)
            post(.refuse(room.members(on: session.loop), session, event), to: session.loop)
        case .remove(let session, let removal):
            room.sessionWent(session)
            if room.protocols.isEmpty { flushReads(of: room.name) }
            post(.remove(room.name, session, removal), to: session.loop)
        case .refusePage(let session, let event):
            post(.refuse(room.members(on: session.loop), session, event), to: session.loop)
        case .conversed(let conversation, let last, let isRewound):
            update(conversation, last: last, isRewound: isRewound, room)
        case .charge(let session, let cost): post(.charge(session, cost), to: session.loop)
        case .sawNodes(let nodes): context.sawNodes(nodes, in: room.name)
        case .finished: return true
        case .count(let counter): context.counted(counter, in: room.name)
        }
        return false
    }

    private func answer(_ session: SessionID, _ event: ServerEvent) -> Bool {
        post(.answer(session, event), to: session.loop)
        return false
    }
}
