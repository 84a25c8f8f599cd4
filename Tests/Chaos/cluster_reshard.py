"""Slots with rooms that talk are moved between the masters of a Redis Cluster, one after the other: nothing is lost,
repeated or swapped, and no client is told anything.
"""

import asyncio
import random

from redis_cluster import slot_of
from stage import Stage
from storm import judge
from verdict import PREFIX

LEAST_ROOMS = 60
LEAST_MOVES = 36


async def cluster_reshard(options, show, state):
    options.rooms = max(options.rooms, LEAST_ROOMS)
    async with Stage(options, show, state, redis_cluster=True) as stage:
        await stage.fill(options.sessions)
        stage.speak()
        await stage.spend(2)
        moves = await keep_moving(stage)
        await stage.spend(1)
        await stage.hush()
        await stage.cluster.redis.agree()
        # Not lossy: nobody may be told `reset`.
        figures = await judge(stage)
        return stage.ledger, {**weigh(stage.ledger, moves), **figures}


async def keep_moving(stage):
    """All slots with a room in them, and the nodes', by turns. Returns [(began, ended, rooms, keys)]."""
    # Not the talk's dice: how often it throws them is a matter of time.
    redis, ledger, rng = stage.cluster.redis, stage.ledger, random.Random(stage.options.seed)
    rooms_in = {slot_of(PREFIX + "nodes"): []}
    for room in stage.rooms:
        rooms_in.setdefault(slot_of(room), []).append(room)
    stage.say(f"{len(rooms_in)} slots, with {len(stage.rooms)} rooms and the nodes' keys, move from master to master")
    moves, turn, end = [], [], ledger.now() + stage.options.seconds
    while ledger.now() < end or len(moves) < LEAST_MOVES:
        if not turn:
            turn = sorted(rooms_in)
            rng.shuffle(turn)
        slot, began = turn.pop(), ledger.now()
        source = redis.owners[slot]
        target = rng.choice([one for one in redis.masters if one is not source])
        # A room's keys all at once, or so that some are here and some there for a while.
        at_once, wait = rng.choice([1, 3, 100]), rng.uniform(0, 0.05)
        chatter = asyncio.create_task(chat(stage, rooms_in[slot], len(moves)))
        keys = await redis.move(slot, target, at_once, wait)
        chatter.cancel()
        moves.append((began, ledger.now(), rooms_in[slot], keys))
        what = ", ".join(rooms_in[slot]) or "the nodes' keys"
        ledger.happened(f"slot {slot} ({what}): {keys} keys, {at_once} at once, from {source.name} to {target.name}")
        stage.progress()
        await stage.spend(rng.uniform(0, 0.15))
    masters = ", ".join(f"{one.name} {len(rooms)}" for one, rooms in redis.by_master(stage.rooms).items())
    stage.say(f"{len(moves)} slots were moved; rooms are now: {masters}")
    return moves


async def chat(stage, rooms, number):
    """Beside the talk: somebody says something in the rooms all the time, so that every step of the move meets one."""
    inside = [(session, room) for room in rooms for session in stage.sessions if room in session.rooms]
    words = 0
    while inside:
        session, room = stage.rng.choice(inside)
        words += 1
        session.say(room, f"m{number}.{words} while the slot moves")
        await asyncio.sleep(0.02)


def weigh(ledger, moves):
    """What was moved, and what was said meanwhile; says if anybody noticed, and if it was too little to prove anything.
    """
    amid = sum(
        1
        for began, end, rooms, _ in moves
        for room in rooms
        for at, took, _ in ledger.rooms[room].answers
        if at >= began and at - took <= end
    )
    if ledger.count["gaps"]:
        ledger.broken("no silent loss", "", "", f"{ledger.count['gaps']} times a session was told of a `gap`")
    if len(moves) < LEAST_MOVES or not amid:
        ledger.broken("the test itself", "", "", f"{len(moves)} slots were moved, and {amid} messages met a move")
    return {
        "slots moved": len(moves),
        "keys moved": sum(keys for _, _, _, keys in moves),
        "longest move": f"{max((end - began for began, end, _, _ in moves), default=0):.2f} s",
        "acknowledged messages that met the move of their slot": amid,
    }
