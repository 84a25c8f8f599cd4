// A clock that is moved by hand, a seeded random source, and a model of a Martlet node that speaks martlet.v1 through fake
// sockets whose wire is slow and can be cut. All of it is deterministic: the same seed gives the same run.

/** A generator of 0 ≤ x < 1 (mulberry32). */
export function seeded(seed) {
    let state = seed >>> 0;
    return () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let mixed = Math.imul(state ^ (state >>> 15), state | 1);
        mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
}

export class FakeClock {
    #now = 1_000;
    #timers = new Map();
    #last = 0;

    now = () => this.#now;
    setTimeout = (action, ms) => {
        this.#last += 1;
        this.#timers.set(this.#last, { due: this.#now + Math.max(0, ms), action });
        return this.#last;
    };
    clearTimeout = (id) => { this.#timers.delete(id); };

    get waiting() { return this.#timers.size; }

    /** Moves time on, running what falls due, each with the promises that follow from it. */
    async advance(ms) {
        const end = this.#now + ms;
        await settled();
        for (;;) {
            let next = null;
            for (const [id, timer] of this.#timers) {
                if (timer.due <= end && (next === null || timer.due < next.timer.due)) next = { id, timer };
            }
            if (next === null) break;
            this.#timers.delete(next.id);
            this.#now = Math.max(this.#now, next.timer.due);
            next.timer.action();
            await settled();
        }
        this.#now = end;
    }

    /** Moves time on in small steps until the condition holds. */
    async until(condition, what, limit = 120_000) {
        for (let waited = 0; waited < limit; waited += 10) {
            if (condition()) return;
            await this.advance(10);
        }
        throw new Error(`in ${limit} ms it did not happen that ${what}`);
    }
}

/** Lets every promise that is settled run its reactions. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** The rooms that all fake nodes share: what Redis is to real ones. */
export class FakeStore {
    rooms = new Map();

    room(name) {
        if (!this.rooms.has(name)) this.rooms.set(name, { epoch: 1_000, seq: 0, log: [], keys: new Map(), here: new Set() });
        return this.rooms.get(name);
    }

    append(name, content) {
        const room = this.room(name);
        const known = content.key && room.keys.get(`${content.user} ${content.key}`);
        if (known) return { message: known, repeated: true };
        room.seq += 1;
        const message = { position: `${room.epoch}-${room.seq}`, at: '2026-01-02T03:04:05.678Z', ...content };
        room.log.push(message);
        if (content.key) room.keys.set(`${content.user} ${content.key}`, message);
        for (const socket of [...room.here]) {
            const { key, ...rest } = message;
            socket.emit({ type: 'message', room: name, ...rest, ...(socket.user === message.user ? { key } : {}) });
        }
        return { message, repeated: false };
    }

    /** The log forgets all but its newest `keep` messages. */
    trim(name, keep) {
        const room = this.room(name);
        room.log.splice(0, room.log.length - keep);
    }
}

/** Makes fake WebSocket classes that end in a model node. */
export class FakeNode {
    sockets = [];
    frames = [];
    /** Told each request before it is carried out; what it returns is answered instead (`null`: nothing, not even carried out). */
    intercept = () => undefined;
    /** Ms that a frame takes. */
    latency = () => 1;
    welcome = {};
    accept = true;
    /** The close code and reason for whoever comes. @type {[number, string] | null} */
    refuse = null;

    constructor(clock, store = new FakeStore(), name = 'node-1') {
        Object.assign(this, { clock, store, name });
        const node = this;
        this.WebSocket = class extends FakeSocket {
            constructor(url, protocols) { super(node, url, protocols); }
        };
    }

    get socket() { return this.sockets.at(-1); }
}

class FakeSocket {
    onmessage = null;
    onclose = null;
    open = false;
    gone = false;
    joined = new Set();
    /** When the last frame of each direction arrives: a wire keeps its order. */
    #arrives = [0, 0];

    constructor(node, url, protocols) {
        this.node = node;
        this.url = new URL(url);
        this.protocols = protocols;
        this.user = this.url.searchParams.get('user') ?? 'anonymous';
        node.sockets.push(this);
        this.#wire(1, () => {
            if (!node.accept) { this.drop(1006); return; }
            if (node.refuse) { this.drop(...node.refuse); return; }
            this.open = true;
            this.emit({
                type: 'welcome', session: `s${node.sockets.length}`, user: this.user, device: 'd', node: node.name,
                heartbeat: 30, limits: { requestsPerSecond: 1_000, requestBurst: 1_000, frameBytes: 65_536 }, ...node.welcome,
            });
        });
    }

    send(text) {
        const frame = JSON.parse(text);
        this.node.frames.push(frame);
        this.#wire(0, () => this.#handle(frame));
    }

    close(code) {
        this.closedWith = code;
        this.#leave();
    }

    /** The node writes a frame. */
    emit(frame) {
        this.#wire(1, () => this.onmessage?.({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) }));
    }

    /** The connection ends, and what is under way in both directions with it. */
    drop(code = 1006, reason = '') {
        if (this.gone) return;
        this.#leave();
        this.onclose?.({ code, reason });
    }

    #leave() {
        this.gone = true;
        for (const name of this.joined) this.node.store.room(name).here.delete(this);
    }

    #wire(direction, action) {
        const due = Math.max(this.#arrives[direction], this.node.clock.now() + this.node.latency());
        this.#arrives[direction] = due;
        this.node.clock.setTimeout(() => { if (!this.gone) action(); }, due - this.node.clock.now());
    }

    #handle(frame) {
        const answer = this.node.intercept(frame, this);
        if (answer === null) return;
        if (answer !== undefined) this.emit({ ref: frame.ref, ...answer });
        else this[`_${frame.type}`](frame, this.node.store.room(frame.room ?? ''));
    }

    _ping(frame) { this.emit({ type: 'pong', ref: frame.ref }); }

    _join(frame, room) {
        this.joined.add(frame.room);
        room.here.add(this);
        const joined = {
            type: 'joined', ref: frame.ref, room: frame.room, position: `${room.epoch}-${room.seq}`, resumed: false,
            roster: [...new Set([...room.here].map((one) => one.user))].map((user) => ({ user, devices: ['d'] })),
        };
        joined.count = joined.roster.length;
        if (frame.after === undefined) {
            joined.messages = room.log.slice(-(frame.history ?? 0) || room.log.length);
        } else {
            const [epoch, seq] = frame.after.split('-').map(Number);
            const first = room.seq - room.log.length + 1;
            joined.messages = room.log.slice(Math.max(0, seq + 1 - first));
            if (seq > room.seq || epoch < (room.began ?? 0)) {
                joined.reset = { position: joined.position, reason: 'rewound' };
                joined.messages = frame.history ? room.log.slice(-frame.history) : [];
            } else if (seq + 1 < first) {
                joined.gap = { after: frame.after, before: `${room.epoch}-${first}` };
            } else {
                joined.resumed = true;
            }
        }
        const shown = joined.messages.map(({ key, ...rest }) => (rest.user === this.user ? { ...rest, key } : rest));
        this.emit({ ...joined, messages: shown });
    }

    _leave(frame, room) {
        this.joined.delete(frame.room);
        room.here.delete(this);
        this.emit({ type: 'left', ref: frame.ref, room: frame.room });
    }

    _send(frame) {
        if (!this.joined.has(frame.room)) {
            this.emit(failure(frame.ref, 107, 'notJoined', false));
            return;
        }
        const { text, data, key } = frame;
        const { message, repeated } = this.node.store.append(frame.room, { user: this.user, text, data, key });
        this.emit({ type: 'sent', ref: frame.ref, room: frame.room, position: message.position, at: message.at, repeated });
    }

    _signal(frame, room) {
        for (const other of room.here) {
            if (other !== this) other.emit({ ...frame, user: this.user });
        }
    }

    _history(frame, room) {
        const seq = (position) => Number(position.split('-')[1]);
        let messages = room.log;
        if (frame.before) messages = messages.filter((m) => seq(m.position) < seq(frame.before)).slice(-frame.limit);
        else if (frame.after) messages = messages.filter((m) => seq(m.position) > seq(frame.after)).slice(0, frame.limit);
        else messages = messages.slice(-frame.limit);
        const newest = room.log.at(-1)?.position ?? null;
        const older = messages.length > 0 && messages[0] !== room.log[0];
        const newer = messages.length > 0 && messages.at(-1) !== room.log.at(-1);
        this.emit({ type: 'history', ref: frame.ref, room: frame.room, messages, newest, older, newer });
    }

    _roster(frame, room) {
        const roster = [...new Set([...room.here].map((one) => one.user))].map((user) => ({ user, devices: ['d'] }));
        this.emit({ type: 'roster', ref: frame.ref, room: frame.room, roster, count: roster.length });
    }
}

/** An error frame. */
export const failure = (ref, code, name, retry) => ({ type: 'error', ref, code, name, message: `because ${name}`, retry });
