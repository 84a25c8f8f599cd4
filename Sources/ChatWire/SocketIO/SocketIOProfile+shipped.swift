extension SocketIOProfile {
    /// The profiles that a node knows by name.
    public static let shipped: [String: String] = ["martlet": martlet, "chat": chat, "tutorial": tutorial]

    /// All that a node can do, under Martlet's own names.
    private static let martlet = """
        {
          "name": "martlet",
          "user": "$auth.user|$query.user",
          "device": "$auth.device|$query.device",
          "recovery": true,
          "on": {
            "join": {"do": "join", "room": "$1.room|$1", "after": "$1.after", "history": "$1.history"},
            "leave": {"do": "leave", "room": "$1.room|$1"},
            "send": {
              "do": "send", "room": "$1.room", "text": "$1.text", "data": "$1.data", "key": "$1.key",
              "again": "$1.again", "since": "$1.since", "thread": "$1.thread", "mentions": "$1.mentions"
            },
            "typing": {"do": "signal", "room": "$1.room|$1", "name": "typing"},
            "signal": {"do": "signal", "room": "$1.room", "name": "$1.name", "data": "$1.data"},
            "history": {
              "do": "history", "room": "$1.room|$1", "after": "$1.after", "before": "$1.before", "limit": "$1.limit"
            },
            "roster": {"do": "roster", "room": "$1.room|$1", "cursor": "$1.cursor"},
            "token": {"do": "token", "token": "$1.token|$1"},
            "amend": {"do": "request", "type": "amend", "fields": "$1"},
            "conversation": {"do": "request", "type": "conversation", "fields": "$1"},
            "participants": {"do": "request", "type": "participants", "fields": "$1"},
            "read": {"do": "request", "type": "read", "fields": "$1"},
            "inbox": {"do": "request", "type": "inbox", "fields": "$1"},
            "watch": {"do": "request", "type": "watch", "fields": "$1"},
            "unwatch": {"do": "request", "type": "unwatch", "fields": "$1"},
            "online": {"do": "request", "type": "online", "fields": "$1"},
            "lastSeen": {"do": "request", "type": "lastSeen", "fields": "$1"},
            "star": {"do": "request", "type": "star", "fields": "$1"},
            "unstar": {"do": "request", "type": "unstar", "fields": "$1"},
            "stars": {"do": "request", "type": "stars", "fields": "$1"}
          },
          "emit": {
            "message": [
              "message",
              {
                "room": "$room", "position": "$position", "user": "$user", "at": "$at", "text": "$text",
                "data": "$data", "key": "$key", "thread": "$thread", "mentions": "$mentions", "edited": "$edited",
                "deleted": "$deleted", "reactions": "$reactions", "pinned": "$pinned", "replies": "$replies"
              },
              "$offset"
            ],
            "changed": ["changed", "$event", "$offset"],
            "receipts": ["receipts", "$event"],
            "head": ["head", "$event"],
            "notice": ["notice", "$event"],
            "joined": [
              "joined",
              {
                "room": "$room", "position": "$position", "resumed": "$resumed", "members": "$members",
                "count": "$count"
              }
            ],
            "left": ["left", {"room": "$room"}],
            "presence": ["presence", {"room": "$room", "joined": "$joined", "left": "$left", "count": "$count"}],
            "gap": ["gap", {"room": "$room", "after": "$after", "before": "$before"}],
            "reset": ["reset", {"room": "$room", "position": "$position", "reason": "$reason"}],
            "removed": ["left", {"room": "$room", "reason": "$reason", "until": "$until", "message": "$message"}],
            "rules": ["rules", {"room": "$room", "version": "$version", "rules": "$rules"}],
            "sanction": [
              "sanction", {"room": "$room", "kind": "$kind", "user": "$user", "until": "$until", "reason": "$reason"}
            ],
            "participants": ["participantsChanged", "$event"],
            "draining": ["draining", {"reconnectAfter": "$reconnectAfter"}],
            "expiring": ["expiring", {"closesIn": "$closesIn"}],
            "error": [
              "error", {"code": "$code", "name": "$error", "message": "$message", "retry": "$retry", "until": "$until"}
            ]
          },
          "signals": {
            "typing": ["typing", {"room": "$room", "user": "$user"}],
            "*": ["signal", {"room": "$room", "user": "$user", "name": "$name", "data": "$data"}]
          }
        }
        """

    /// The chat example of Socket.IO (`examples/chat` in socketio/socket.io).
    private static let chat = """
        {
          "name": "chat",
          "room": "$query.room|$namespace|chat",
          "echo": false,
          "on": {
            "add user": {"do": "enter", "user": "$1"},
            "new message": {"do": "send", "text": "$1"},
            "typing": {"do": "signal", "name": "typing"},
            "stop typing": {"do": "signal", "name": "stop typing"}
          },
          "emit": {
            "joined": ["login", {"numUsers": "$count"}],
            "message": ["new message", {"username": "$user", "message": "$text"}],
            "userJoined": ["user joined", {"username": "$user", "numUsers": "$count"}],
            "userLeft": ["user left", {"username": "$user", "numUsers": "$count"}],
            "error": ["error", {"code": "$code", "name": "$error", "message": "$message", "retry": "$retry"}]
          },
          "signals": {
            "typing": ["typing", {"username": "$user"}],
            "stop typing": ["stop typing", {"username": "$user"}]
          }
        }
        """

    /// The last step of Socket.IO's tutorial, "Build a basic chat app": `clientOffset` is the key of a send, and
    /// `serverOffset` the position.
    private static let tutorial = """
        {
          "name": "tutorial",
          "room": "$query.room|$namespace|tutorial",
          "user": "$auth.user|$query.user|guest-$id",
          "recovery": true,
          "join": [{"do": "join", "after": "$auth.serverOffset", "history": 100}],
          "on": {
            "chat message": {"do": "send", "text": "$1", "key": "$2", "ack": [], "failure": false}
          },
          "emit": {
            "message": ["chat message", "$text", "$position"],
            "error": ["error", {"code": "$code", "name": "$error", "message": "$message", "retry": "$retry"}]
          }
        }
        """
}
