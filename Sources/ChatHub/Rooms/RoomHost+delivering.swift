import ChatCore

/// The events that a room sends to all of its sessions. They are encoded here, once for each protocol that is spoken in
/// the room.
extension RoomHost {
    func deliver(_ message: Message, _ room: HomeRoom) {
        messages &+= 1
        // Every node with members of the room notes it. So only what a node stored alone is not noted if it dies before
        // that, and then the node that sweeps it notes its rooms.
        note(room.name)
        room.polls?.shown(message)
        if let reading = room.reading { shown(message, reading, room) }
        guard let frame = frame(.message(room: room.name, message, showKey: false), room) else { return }
        let own = message.content.clientKey != nil ? OwnMessage(message) : nil
        room.forEachLoop { post(.broadcast($1, frame, own: own), to: $0) }
    }

    func deliver(_ signal: Signal, _ room: HomeRoom) {
        let event = ServerEvent.signal(room: room.name, user: signal.user, name: signal.name, data: signal.data)
        guard let frame = frame(event, room) else { return }
        let except = signal.node == settings.node ? signal.session : SessionID(raw: 0)
        room.forEachLoop { post(.signal($1, frame, except: except), to: $0) }
    }

    func broadcast(_ event: ServerEvent, _ room: HomeRoom) {
        guard let frame = frame(event, room) else { return }
        room.forEachLoop { post(.broadcast($1, frame, own: nil), to: $0) }
    }

    /// The same, for sessions that are catching up as well.
    func tell(_ event: ServerEvent, _ room: HomeRoom) {
        guard let frame = frame(event, room) else { return }
        room.forEachLoop { post(.told($1, frame, except: []), to: $0) }
    }

    func deliverPresence(joined: [UserID], left: [UserID], count: Int, except: [SessionID], _ room: HomeRoom) {
        let event = ServerEvent.presence(room: room.name, joined: joined, left: left, count: count)
        guard !except.isEmpty else { return broadcast(event, room) }
        guard let frame = frame(event, room) else { return }
        room.forEachLoop { post(.told($1, frame, except: except), to: $0) }
    }

    /// Returns nil if there is no session to send it to.
    private func frame(_ event: ServerEvent, _ room: HomeRoom) -> Frame? {
        room.protocols.isEmpty ? nil : Frame(event, for: room.protocols, by: settings.encoder)
    }
}
