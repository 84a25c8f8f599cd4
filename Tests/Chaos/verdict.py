"""The end of a run: is what the sessions were shown what Redis holds, and does Redis hold what the nodes say?"""

import asyncio
import json
import time

from ledger import position, text_of
from redis_wire import RedisError

PREFIX = "martlet:"
# Seconds in which a node that lives, even one that is stopped for a while, is back on Redis and has put back what it knows.
LIFE_AFTER_LOSS = 8.0


def rooms_of(sessions):
    """room -> sessions that are in it."""
    rooms = {}
    for session in sessions:
        for view in session.rooms.values():
            if view.wanted:
                rooms.setdefault(view.room, []).append(session)
    return rooms


class Verdict:
    def __init__(self, cluster, ledger, sessions, lossy=False, extra_rooms=()):
        self.cluster, self.ledger, self.sessions, self.lossy = cluster, ledger, sessions, lossy
        self.rooms = rooms_of(sessions)
        self.all_rooms = sorted(set(self.rooms) | set(ledger.rooms) | set(extra_rooms))
        self.figures = {}

    async def settle(self, seconds):
        """Waits until every session is back and every send has its answer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if all(session.is_settled for session in self.sessions):
                break
            await asyncio.sleep(0.1)
        for session in self.sessions:
            if session.is_settled:
                continue
            views = [
                view
                for view in session.rooms.values()
                if view.sends or view.phase != ("joined" if view.wanted else "out")
            ]
            what = (
                "is not connected"
                if session.welcome is None
                else "; ".join(f"{view.room}: {view.phase}, {len(view.sends)} sends wait" for view in views)
            )
            lines = views[0].lines() if views else []
            self.ledger.broken(
                "settled", views[0].room if views else "", session.name, f"after {seconds} s of quiet: {what}", lines
            )

    async def caught_up(self, seconds):
        """Waits until every session was shown its rooms' last message; the quiet look into the log is the latest
        witness.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            behind = False
            for room, sessions in self.rooms.items():
                last = await self.last_of(room)
                behind = behind or last is not None and any(
                    session.rooms[room].last != last for session in sessions if room in session.rooms
                )
            if not behind:
                return
            await asyncio.sleep(0.25)

    async def last_of(self, room):
        entries = await self.cluster.redis.ask("XREVRANGE", f"{PREFIX}{{{room}}}:log", "+", "-", "COUNT", "1")
        return position(entries[0][0]) if entries else None

    # Messages.

    async def logs(self):
        acked = in_log = lost = untold = 0
        posters = {session.name for session in self.sessions if not session.shows_before_answer}
        for room in self.all_rooms:
            entries = await self.cluster.redis.ask.stream(f"{PREFIX}{{{room}}}:log")
            log = [(position(name), fields.get("text", "").partition(" ")[0]) for name, fields in entries]
            self.check_log(room, log)
            places = dict((key, place) for place, key in log)
            first_seq = log[0][0][1] if log else 0
            for key, (place, who, at) in self.ledger.rooms[room].acked.items():
                acked += 1
                if places.get(key) == place:
                    in_log += 1
                elif key in places:
                    self.ledger.broken(
                        "ack", room, who, f"{key} is at {text_of(places[key])}, acknowledged at {text_of(place)}"
                    )
                elif place[1] < first_seq:
                    in_log += 1
                elif any(reset > at for reset in self.ledger.rooms[room].resets) and self.lossy:
                    lost += 1
                    self.announced(room, key, place, who, at)
                elif self.lossy and who in posters and place not in self.ledger.rooms[room].seen_by and self.is_loss(at):
                    # Whoever posts hears nothing but the answer; and whoever was shown nothing is told of no loss.
                    untold += 1
                else:
                    self.ledger.broken(
                        "ack means stored",
                        room,
                        who,
                        f"{key}, acknowledged at {text_of(place)} ({at:.2f} s), is not in the log (it ends at "
                        f"{text_of(log[-1][0]) if log else 'nothing'})",
                        self.history(room, who),
                    )
            for session in self.sessions:
                view = session.rooms.get(room)
                if view is not None and view.segments:
                    self.check_view(view, log)
        self.figures["acknowledged"] = acked
        self.figures["of these in the log"] = in_log
        self.figures["of these announced as lost (reset)"] = lost
        if posters:
            self.figures["of these posted, and lost before anybody was shown them"] = untold

    def loss_after(self, at):
        """When Redis lost what was acknowledged at about `at` (an answer may be read late), and when it was back to stay.
        """
        losses = self.ledger.losses
        lost, back = min((one for one in losses if one[0] + 0.5 >= at), default=losses[-1] if losses else (at, at))
        for begin, end in sorted(self.ledger.outages):
            if back <= begin < back + 5:
                back = end
        return lost, back

    def is_loss(self, at):
        """Redis lost something when what was acknowledged at about `at` (an answer may be read late) was stored."""
        return any(at <= back + 8 for _, back in self.ledger.losses)

    def announced(self, room, key, place, who, at):
        """A message that Redis lost and clients were told so: right only if no node that knew it lived to put it back.
        """
        history = self.history(room, who)
        self.ledger.lost.append((at, room, who, key, text_of(place), history))
        # Who knew it when Redis lost it, and lived and could talk to Redis for long enough after it was back: the nodes
        # wait for each other, but not for ever.
        lost, back = self.loss_after(at)
        knew = sorted(
            process
            for process in self.ledger.rooms[room].seen_by[place]
            if self.ledger.deaths.get(process, float("inf")) > back + LIFE_AFTER_LOSS
            and not any(begin < back + 3 and end > lost for begin, end in self.ledger.away[process])
            and self.stayed(room, process, lost, back)
        )
        if int(self.cluster.settings.get("MARTLET_ACK_REPLICAS", 0)) > 0:
            self.ledger.broken(
                "acknowledged by replicas", room, who, f"{key}, acknowledged at {text_of(place)}, is lost", history
            )
        elif knew and not any(begin <= at <= end for begin, end in self.ledger.split):
            self.ledger.broken(
                "put back",
                room,
                who,
                f"{key}, acknowledged at {text_of(place)}, is lost and was announced as lost "
                f"(reset), though {' and '.join(knew)} showed it and lived on",
                history,
            )

    def stayed(self, room, process, lost, back):
        """Whether the process was in the room meanwhile: who has left it need not remember it."""
        return True

    def history(self, room, who):
        for session in self.sessions:
            if session.name == who and room in session.rooms:
                return session.rooms[room].lines()
        return []

    def check_log(self, room, log):
        seen = {}
        for (place, key), before in zip(log, [None] + log[:-1]):
            if before is not None and place[1] != before[0][1] + 1:
                self.ledger.broken("contiguous", room, "", f"the log has {text_of(place)} after {text_of(before[0])}")
            if key in seen:
                self.ledger.broken(
                    "once", room, "", f"{key} is in the log at {text_of(seen[key])} and {text_of(place)}"
                )
            seen[key] = place

    def check_view(self, view, log):
        """What a session knows of the room is the log, from where it came in."""
        segment = view.segments[-1]
        expected = [place for place, _ in log if place[1] > segment.start[1]]
        missing_from = [place for place in expected if any(after < place[1] < before for after, before in segment.gaps)]
        expected = [place for place in expected if place not in set(missing_from)]
        shown = segment.shown
        first = log[0][0][1] if log else 0
        shown = [place for place in shown if place[1] >= first]
        if shown == expected or not view.wanted:
            return
        for place, other in zip(shown + [None] * len(expected), expected + [None] * len(shown)):
            if place != other:
                text = f"was shown {text_of(place)} where the log has {text_of(other)}"
                if place is None:
                    text = f"was never shown {text_of(other)}"
                promise = "silent hole" if place is None else "one order"
                self.ledger.broken(promise, view.room, view.session.name, text, view.lines())
                return

    # Who is where.

    async def presence(self, seconds):
        """Subscriptions, nodes and rosters become exact, within the lease and linger; says what is still wrong after
        that.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                wrong = await self.presence_faults()
            except RedisError as error:
                wrong = [("", str(error))]
            if not wrong or time.monotonic() >= end:
                break
            await asyncio.sleep(0.5)
        for room, text in wrong:
            # What is wrong with what a session was told begins with its name.
            self.ledger.broken("presence", room, "", text, self.history(room, text.partition(" ")[0]))
        self.figures["rosters and subscriptions"] = "exact" if not wrong else f"{len(wrong)} wrong"

    async def presence_faults(self):
        ask, wrong = self.cluster.redis.ask, []
        # Nodes probe their connections on channels of their own, also those of the version before; and users have theirs.
        others = (PREFIX + "node:", PREFIX + "{~probe", PREFIX + "user:")
        channels = {name for name in await self.cluster.redis.channels(PREFIX + "*") if not name.startswith(others)}
        # Whoever waits for messages by long polling keeps the room in use on some node, without being in it.
        present = {room for room, sessions in self.rooms.items() if any(one.is_present for one in sessions)}
        expected = {f"{PREFIX}{{{room}}}" for room in present}
        for name in sorted(channels - {f"{PREFIX}{{{room}}}" for room in self.rooms}):
            wrong.append((name, "a channel has subscribers, but the room has no session"))
        for name in sorted(expected - channels):
            wrong.append((name, "the room has sessions, but nobody is subscribed"))
        living = set(await ask("ZRANGE", PREFIX + "nodes", "0", "-1"))
        # `welcome` tells the name; each start adds a random part to it.
        self.ids = {name.rpartition("-")[0]: name for name in living}
        running = {node.name for node in self.cluster.nodes if node.process.is_running}
        if set(self.ids) != running or len(living) != len(running):
            wrong.append(("", f"{PREFIX}nodes lists {sorted(living)}, running are {sorted(running)}"))
        for room, sessions in self.rooms.items():
            wrong += [(room, text) for text in await self.room_faults(room, sessions)]
        for key in await ask.keys(PREFIX + "{*}:nodes"):
            room = key[len(PREFIX) + 1 : -len("}:nodes")]
            if room not in self.rooms and await ask("HLEN", key):
                wrong.append((room, f"nobody is in it, but nodes are: {await ask.hash(key)}"))
        return wrong

    async def room_faults(self, room, sessions):
        ask, wrong, base = self.cluster.redis.ask, [], f"{PREFIX}{{{room}}}"
        held = {
            user: {node: sorted(devices) for node, devices in json.loads(value).items()}
            for user, value in (await ask.hash(base + ":roster")).items()
        }
        roster, nodes = {}, set()
        for session in sessions:
            if session.welcome is None or not session.is_present:
                continue
            node = self.node_of(session, held)
            nodes.add(node)
            there = roster.setdefault(session.user, {}).setdefault(node, [])
            there.append(self.device_of(session, held.get(session.user, {}).get(node, []), there))
        # Long polls come and go on all nodes.
        most = nodes if all(session.is_present for session in sessions) else set(self.ids.values())
        listed = set(await ask.hash(base + ":nodes"))
        if not nodes <= listed <= most:
            wrong.append(f"{base}:nodes is {sorted(listed)}, sessions are on {sorted(nodes)}")
        subscribers = await self.cluster.redis.subscribers(base)
        if not len(nodes) <= subscribers <= len(most):
            wrong.append(f"{subscribers} subscribers, sessions are on {len(nodes)} nodes")
        expected = {user: {node: sorted(devices) for node, devices in where.items()} for user, where in roster.items()}
        for user in sorted(set(held) | set(expected)):
            if held.get(user) != expected.get(user):
                wrong.append(f"roster: {user} is {held.get(user)}, in truth {expected.get(user)}")
        for session in sessions:
            view = session.rooms[room]
            if not session.is_present or not session.tells_presence:
                continue
            if view.members is not None and view.members != set(roster):
                extra, missing = sorted(view.members - set(roster)), sorted(set(roster) - view.members)
                wrong.append(f"{session.name} takes {extra} for present and misses {missing}")
            elif view.count != len(roster):
                wrong.append(f"{session.name} was told of {view.count} members, there are {len(roster)}")
        return wrong + await self.presence_stream(base, expected)

    def node_of(self, session, held):
        """The node that has the session. A protocol that does not tell it is believed what the roster says."""
        told = session.welcome["node"]
        if told:
            return self.ids.get(told, told)
        where = [node for node, devices in held.get(session.user, {}).items() if session.device in devices]
        return where[0] if len(where) == 1 else "nowhere" if not where else "several"

    @staticmethod
    def device_of(session, held, taken):
        """The name of its device: one that the node has made, if the session could not say any."""
        if session.names_device or session.device in held:
            return session.device
        return next((name for name in held if name.startswith("d-") and name not in taken), session.device)

    async def presence_stream(self, base, expected):
        """The presence entries add up to the roster, and say each coming and going once."""
        entries = await self.cluster.redis.ask.stream(base + ":presence")
        here, wrong = set(), []
        complete = not entries or position(entries[0][0])[1] == 1
        for name, fields in entries:
            who = (fields.get("user"), fields.get("device"), fields.get("node"))
            if fields.get("kind") == "join":
                if who in here and complete:
                    wrong.append(f"{base}:presence says twice that {who} came ({name})")
                here.add(who)
            else:
                if who not in here and complete:
                    wrong.append(f"{base}:presence says twice that {who} went ({name})")
                here.discard(who)
        truth = {
            (user, device, node)
            for user, where in expected.items()
            for node, devices in where.items()
            for device in devices
        }
        if complete and here != truth:
            wrong.append(
                f"{base}:presence adds up to {sorted(here - truth)} too many and {sorted(truth - here)} too few"
            )
        return wrong

    # Processes.

    def processes(self, node_bytes, redis_bytes):
        for process in self.cluster.processes:
            if process.name == "haproxy":
                continue
            limit = redis_bytes if process.name.startswith("redis") else node_bytes
            self.figures[f"highest memory of {process.name}"] = f"{process.highest_rss / 1e6:.1f} MB"
            if process.highest_rss > limit:
                self.ledger.broken(
                    "bounds",
                    "",
                    process.name,
                    f"grew to {process.highest_rss / 1e6:.1f} MB, the bound is {limit / 1e6:.0f} MB",
                )
        for text in self.cluster.limits_exceeded:
            self.ledger.broken("alive", "", "", text)

    def no_false_resets(self):
        for room, ledger in self.ledger.rooms.items():
            if ledger.resets and not self.lossy:
                self.ledger.broken(
                    "resume",
                    room,
                    "",
                    f"{len(ledger.resets)} sessions were told `reset`, though nothing was lost for good",
                )
