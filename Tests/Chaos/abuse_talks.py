"""What one user does with conversations, within the limits and as fast as they allow: further kinds for abuse_kinds.py."""

import itertools

from abuse_load import LONG, USER, Load, request


class Inbox(Load):
    """`inbox` of 1,000 conversations, one after the other"""

    needs = {"talks"}

    def make(self, number):
        return request(type="inbox", ref=number, limit=100)


class Members(Load):
    """invite somebody into a group of 100, and remove them again: each tells everybody and begins an epoch"""

    needs = {"group"}

    def make(self, number):
        operation = "invite" if number % 2 else "remove"
        who = {"users": ["guest"]} if number % 2 else {"user": "guest"}
        return request(type="conversation", ref=number, room=self.ground["group"], operation=operation, **who)


class InCrowd(Load):
    """In the room of 500, of whose messages one is known."""

    needs = {"crowd", "target"}

    def joins(self, peer):
        return (self.ground["crowd"],)

    def amend(self, number, **fields):
        return request(type="amend", ref=number, room=self.ground["crowd"], of=self.ground["target"], **fields)


class React(InCrowd):
    """react and take it back, on a message that 500 see"""

    def make(self, number):
        operation = "react" if number % 2 else "unreact"
        return self.amend(number, operation=operation, reaction="+1")


class InEdited(Load):
    """In a room of its own, in which short messages were edited into large ones."""

    needs = {"edited"}

    def amend(self, number, place, **fields):
        return request(type="amend", ref=number, room=self.ground["edited"], of=place, **fields)


class ReactLong(InEdited):
    """react and take it back, on messages that were edited into 60 kB"""

    def make(self, number):
        places = self.ground["edited positions"]
        operation = "react" if number % 2 else "unreact"
        return self.amend(number, places[number // 2 % len(places)], operation=operation, reaction="+1")


class EditLong(InEdited):
    """edit one message of its own after the other into 60 kB of what is longer as JSON"""

    text = '"' * 30_000

    def make(self, number):
        places = self.ground["edited positions"]
        return self.amend(number, places[number % len(places)], operation="edit", text=self.text)


class HistoryEdited(InEdited):
    """`history` pages of short messages that were edited into 60 kB"""

    def make(self, number):
        places = self.ground["edited positions"]
        return request(
            type="history", ref=number, room=self.ground["edited"], limit=100, around=places[number * 7 % len(places)]
        )


class Deletes(InCrowd):
    """delete one message of its own after the other, before 500 who see them; then ask for the same again"""

    needs = {"crowd", "own"}

    def make(self, number):
        places = self.ground["own positions"]
        place = places[number % len(places)]
        return request(type="amend", ref=number, room=self.ground["crowd"], operation="delete", of=place)


class DeleteRange(Deletes):
    """delete 100 messages at once, and ask for the same range again and again"""

    def make(self, number):
        places = self.ground["own positions"]
        begin = number * 100 % len(places)
        ends = {"of": places[begin], "to": places[min(begin + 99, len(places) - 1)]}
        return request(type="amend", ref=number, room=self.ground["crowd"], operation="delete-range", **ends)


class DeleteUser(Deletes):
    """delete all that a user has said, from the oldest message on, again and again"""

    def make(self, number):
        return request(type="amend", ref=number, room=self.ground["crowd"], operation="delete-user", user=USER)


class Reads(Load):
    """read one message of a group of 100 after the other"""

    needs = {"group"}

    def make(self, number):
        places = self.ground["group positions"]
        return request(type="read", ref=number, room=self.ground["group"], position=places[number % len(places)])


class Stars(Load):
    """star a message of 60 kB and take the star back, and read the list of 100 such stars"""

    needs = {"large", "talks"}

    def make(self, number):
        if number % 10 == 0:
            return request(type="stars", ref=number, limit=100)
        room = self.ground["large"][0]
        epoch, _, seq = self.ground["oldest"][room].partition("-")
        place = f"{epoch}-{int(seq) + number // 2 % 100}"
        return request(type="star" if number % 2 else "unstar", ref=number, room=room, position=place)


class Online(Load):
    """ask for 100 users whether they are online"""

    needs = set()

    def make(self, number):
        users = [f"user{(number * 100 + index) % 10_000}" for index in range(100)]
        return request(type="online", ref=number, users=users)


class Watch(Load):
    """watch 100 rooms, and end it"""

    needs = {"talks"}

    def make(self, number):
        rooms = self.ground["talks"]
        begin = number // 2 * 100 % len(rooms)
        some = list(itertools.islice(itertools.cycle(rooms), begin, begin + 100))
        return request(type="watch" if number % 2 else "unwatch", ref=number, rooms=some)


class Groups(Load):
    """create a group of 50, leave it, go on to the next"""

    needs = set()

    def make(self, number):
        room = f"abuse-groups-{number // 2}"
        fields = {"operation": "create", "users": [f"user{index}" for index in range(50)]} if number % 2 == 0 else {
            "operation": "leave"
        }
        return request(type="conversation", ref=number, room=room, **fields)


# As KINDS of abuse_kinds.py.
TALKS = {
    "inbox": (Inbox, None),
    "members": (Members, None),
    "react": (React, None),
    "react-long": (ReactLong, None),
    "edit-long": (EditLong, None),
    "history-edited": (HistoryEdited, None),
    "delete": (Deletes, None),
    "delete-range": (DeleteRange, None),
    "delete-user": (DeleteUser, None),
    "reads": (Reads, None),
    "stars": (Stars, None),
    "online": (Online, None),
    "watch": (Watch, None),
    "groups": (Groups, None),
}
