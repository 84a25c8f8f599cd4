"""The python-socketio node of scripts/bench: rooms over Redis pub/sub, in its usual form (ASGI under uvicorn with uvloop).

    socketio_server.py PORT REDIS_URL
"""

import sys

import socketio
import uvicorn

manager = socketio.AsyncRedisManager(sys.argv[2], channel="bench")
server = socketio.AsyncServer(async_mode="asgi", client_manager=manager, cors_allowed_origins="*")
rooms = {}


@server.event
async def join(sid, room):
    rooms[sid] = room
    await server.enter_room(sid, room)
    await server.emit("joined", to=sid)


@server.event
async def say(sid, text):
    await server.emit("said", text, room=rooms[sid])


@server.event
async def disconnect(sid):
    rooms.pop(sid, None)


if __name__ == "__main__":
    uvicorn.run(
        socketio.ASGIApp(server), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False,
        loop="uvloop", ws="websockets", backlog=4096)
