"""The protocols that `--protocols` mixes, and what their nodes need."""

from events_session import EventsSession
from poll_session import PollSession
from processes import Broken
from session import Session
from socketio_session import RecoveringSession, SocketIOPollingSession, SocketIOSession, SocketIOUpgradedSession
from stomp_session import StompSession, StompTCPSession

PROTOCOLS = {
    "martlet": Session,
    "events": EventsSession,
    "polls": PollSession,
    "socketio": SocketIOSession,
    "socketio-recovering": RecoveringSession,
    "socketio-polling": SocketIOPollingSession,
    "socketio-upgraded": SocketIOUpgradedSession,
    "stomp": StompSession,
    "stomp-tcp": StompTCPSession,
}
SETTINGS = {"MARTLET_SOCKETIO": "on", "MARTLET_STOMP": "on"}


def parse_protocols(text):
    """The classes of sessions; one after the other they are what sessions are made of."""
    names = list(PROTOCOLS) if text == "all" else [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise Broken(f"no protocol is called {', '.join(unknown)}; there are: {', '.join(PROTOCOLS)}, all")
    return [PROTOCOLS[name] for name in names]


def figures(ledger, sessions):
    """Of each protocol: sessions, messages that they were shown, and connections that they lost and replaced."""
    kinds = sorted({session.protocol for session in sessions})
    if kinds == [Session.protocol]:
        return {}
    restored = ledger.count["Socket.IO states restored"]
    return ({"Socket.IO states restored": restored} if restored else {}) | {
        f"{kind}: sessions / shown / reconnects": "{} / {} / {}".format(
            sum(1 for session in sessions if session.protocol == kind),
            ledger.protocols[kind],
            sum(max(0, len(session.connects) - 1) for session in sessions if session.protocol == kind),
        )
        for kind in kinds
    }
