"""Long polling: `GET /api/rooms/{room}/messages?after=&wait=`, a loop for each room, with sends by POST. Every request may
go to another node; the position is all that such a client keeps. It is in no roster.
"""

import json
import urllib.parse

import http_wire
from transport import ForeignSession, Posting

WAIT = 5
PAGE = 50


class LongPoll(Posting):
    def __init__(self, owner, port):
        super().__init__(owner, port)
        self.loops = {}

    async def run(self):
        self.say({"type": "welcome", "node": "", "heartbeat": 25})

    async def get(self, room, seconds=8, **fields):
        path = f"/api/rooms/{urllib.parse.quote(room, safe='')}/messages?{urllib.parse.urlencode(fields)}"
        answer = await http_wire.ask(self.port, "GET", path, seconds=seconds)
        self.heard()
        if answer.status != 200:
            raise OSError(f"HTTP {answer.status} {answer.body[:200]!r}")
        return json.loads(answer.body)

    def ask_join(self, request):
        self.loops[request["room"]] = self.spawn(self.poll, request)

    def ask_leave(self, request):
        self.loops.pop(request["room"]).cancel()
        self.say({"type": "left", "ref": request["ref"], "room": request["room"]})

    async def poll(self, request):
        room, after = request["room"], request.get("after")
        joined = {"type": "joined", "ref": request["ref"], "room": room}
        if after is None:
            page = await self.get(room, limit=request["history"])
            if not page["messages"]:
                # Nobody has talked there; a page that is waited for says where the room begins.
                page = await self.get(room, limit=PAGE, wait="500ms")
            after = page["messages"][-1]["position"] if page["messages"] else page["newest"]
        else:
            page = await self.get(room, after=after, limit=PAGE, wait="500ms")
            joined["resumed"] = not ("gap" in page or "reset" in page)
            joined.update({name: page[name] for name in ("gap", "reset") if name in page})
            after = self.reached(page, after)
        self.say({**joined, "position": after, "messages": page["messages"]})
        while True:
            await self.reads.wait()
            page = await self.get(room, after=after, limit=PAGE, wait=f"{WAIT}s", seconds=WAIT + 8)
            for name in ("gap", "reset"):
                if name in page:
                    self.say({"type": name, "room": room, **page[name]})
            for message in page["messages"]:
                self.say({**message, "type": "message", "room": room})
            after = self.reached(page, after)

    @staticmethod
    def reached(page, after):
        if page["messages"]:
            return page["messages"][-1]["position"]
        if "reset" in page:
            return page["reset"]["position"]
        if "gap" in page:
            epoch, _, seq = page["gap"]["before"].partition("-")
            return f"{epoch}-{int(seq) - 1}"
        return after


class PollSession(ForeignSession):
    protocol = "long polling"
    transport = LongPoll
    shows_before_answer = False
    is_present = False
    window = 2
