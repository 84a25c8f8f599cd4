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
    /** When something is said: always the same, so that runs are alike. */
    date = () => '2026-01-02T03:04:05.678Z';

    room(name) {
        if (!this.rooms.has(name)) {
            this.rooms.set(name, {
                epoch: 1_000, seq: 0, log: [], keys: new Map(), here: new Set(), ops: 0, overlay: new Map(), kind: null,
                participants: new Map(), reads: new Map(), watchers: new Set(),
            });
        }
        return this.rooms.get(name);
    }

    /** Appends an amendment, folds it into the state of its message, and tells everybody who is there. */
    amend(name, { user, operation, of, text, data, reaction, key }) {
        const room = this.room(name);
        const known = key && room.keys.get(`${user} ${key}`);
        if (known) return { change: known, repeated: true };
        room.seq += 1;
        room.ops += 1;
        const position = `${room.epoch}-${room.seq}`;
        const at = this.date();
        const state = room.overlay.get(of) ?? {};
        room.overlay.set(of, state);
        const mark = { by: user, at };
        if (operation === 'edit' && !state.deleted) Object.assign(state, { text, data, edited: { version: (state.edited?.version ?? 0) + 1, ...mark } });
        if (operation === 'delete') state.deleted = mark;
        if (operation === 'pin') state.pinned = mark;
        if (operation === 'unpin') delete state.pinned;
        if (operation === 'react' || operation === 'unreact') {
            const users = (state.reactions?.[reaction]?.users ?? []).filter((one) => one !== user);
            if (operation === 'react') users.push(user);
            state.reactions = { ...state.reactions, [reaction]: { count: users.length, users } };
            if (users.length === 0) delete state.reactions[reaction];
        }
        const { edited, deleted, pinned = null } = state;
        const count = state.reactions?.[reaction] ?? { count: 0, users: [] };
        const became = {
            edit: { text: state.text, data: state.data, edited }, delete: { deleted }, pin: { pinned }, unpin: { pinned },
            react: { reactions: { [reaction]: count } }, unreact: { reactions: { [reaction]: count } },
        };
        const change = { position, of, operation, user, at, ...structuredClone(became[operation]) };
        room.log.push(change);
        if (key) room.keys.set(`${user} ${key}`, change);
        for (const socket of [...room.here]) socket.emit({ type: 'changed', room: name, ...change });
        return { change, repeated: false };
    }

    /** A page as nodes give it: messages as they are now, without the amendments between them. */
    folded(name, entries) {
        const { overlay } = this.room(name);
        return entries.filter((entry) => entry.operation === undefined).map((message) => {
            const state = overlay.get(message.position);
            if (!state) return message;
            const { text = message.text, data = message.data, ...more } = state;
            return { ...message, ...(state.deleted ? {} : { text, data }), ...more, ...(state.deleted ? { text: undefined, data: undefined } : {}) };
        });
    }

    /** How many messages of a room are after that position. */
    unread(name, user) {
        const room = this.room(name);
        const read = Number(room.reads.get(user)?.split('-')[1] ?? 0);
        return room.log.filter((entry) => entry.operation === undefined && Number(entry.position.split('-')[1]) > read).length;
    }

    append(name, content) {
        const room = this.room(name);
        const known = content.key && room.keys.get(`${content.user} ${content.key}`);
        if (known) return { message: known, repeated: true };
        room.seq += 1;
        const message = { position: `${room.epoch}-${room.seq}`, at: this.date(), ...content };
        room.log.push(message);
        if (room.participants.has(content.user)) room.reads.set(content.user, message.position);
        if (content.key) room.keys.set(`${content.user} ${content.key}`, message);
        for (const socket of [...room.here]) {
            const { key, ...rest } = message;
            socket.emit({ type: 'message', room: name, ...rest, ...(socket.user === message.user ? { key } : {}) });
        }
        for (const socket of room.watchers) {
            const { position, user, at, text } = message;
            if (!socket.gone) socket.emit({ type: 'head', room: name, position, user, at, text, unread: this.unread(name, socket.user) });
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
    /** Whether it knows nothing of conversations. */
    isOlder = false;
    stars = new Map();
    /** When users were last here, of those who let others see it. */
    lastSeen = new Map();
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

const seqOf = (position) => Number(position.split('-')[1]);

/** Where a page begins and ends, if those are no messages. */
const ends = (entries) => (entries.some((entry) => entry.operation !== undefined)
    ? { first: entries[0].position, last: entries.at(-1).position } : {});

/** Requests that older nodes do not know. */
const NEWER = new Set(['amend', 'conversation', 'participants', 'read', 'inbox', 'watch', 'unwatch', 'online', 'lastSeen', 'star', 'unstar', 'stars']);

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
        else if (this.node.isOlder && NEWER.has(frame.type)) this.emit(failure(frame.ref, 103, 'unknownType', false));
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
        // Of messages before the page the client has to be told what they became.
        const [first] = joined.messages;
        const changes = joined.messages.filter((entry) => entry.operation !== undefined && seqOf(entry.of) < seqOf(first.position));
        if (frame.after !== undefined && changes.length > 0) joined.changes = changes;
        Object.assign(joined, ends(joined.messages));
        const shown = this.node.store.folded(frame.room, joined.messages)
            .map(({ key, ...rest }) => (rest.user === this.user ? { ...rest, key } : rest));
        if (room.participants.has(this.user)) {
            Object.assign(joined, {
                kind: room.kind, reads: Object.fromEntries(room.reads), read: room.reads.get(this.user),
                unread: this.node.store.unread(frame.room, this.user),
            });
        }
        this.emit({ ...joined, messages: shown });
    }

    _amend(frame) {
        const { change, repeated } = this.node.store.amend(frame.room, { ...frame, user: this.user });
        this.emit({ type: 'amended', ref: frame.ref, room: frame.room, position: change.position, repeated });
    }

    _conversation(frame) {
        const { operation, user, users = [], role, level } = frame;
        if (operation === 'blocked') {
            this.emit({ type: 'blocked', ref: frame.ref, users: [] });
            return;
        }
        const name = operation === 'direct' ? `dm:${[this.user, user].sort().join(':')}` : frame.room;
        const room = this.node.store.room(name);
        const before = JSON.stringify([room.kind, ...room.participants]);
        const roles = new Map([...room.participants].map(([one, participant]) => [one, participant.role]));
        const add = (one, as) => { if (!room.participants.has(one)) room.participants.set(one, { role: as, notify: 'all' }); };
        if (operation === 'direct') {
            room.kind = 'direct';
            for (const one of [this.user, user]) add(one, 'member');
        } else if (operation === 'create') {
            room.kind = 'group';
            add(this.user, 'owner');
            for (const one of users) add(one, 'member');
        } else if (operation === 'invite') {
            for (const one of users) add(one, 'member');
        } else if (operation === 'leave' || operation === 'remove') {
            room.participants.delete(operation === 'leave' ? this.user : user);
        } else if (operation === 'role') {
            room.participants.get(user).role = role;
        } else if (operation === 'notify') {
            room.participants.get(this.user).notify = level;
        }
        const changed = JSON.stringify([room.kind, ...room.participants]) !== before;
        const told = { direct: [user], create: users, invite: users, remove: [user] }[operation] ?? [];
        for (const socket of this.node.sockets) {
            if (!changed || socket.gone || !told.includes(socket.user)) continue;
            socket.emit({ type: 'notice', kind: operation === 'remove' ? 'removed' : 'invited', room: name, by: this.user });
        }
        const changes = [...new Set([...roles.keys(), ...room.participants.keys()])].flatMap((one) => {
            const role = room.participants.get(one)?.role;
            if (role === roles.get(one)) return [];
            return [role === undefined ? { user: one, left: true } : { user: one, role, ...(roles.has(one) ? {} : { joined: true }) }];
        });
        for (const socket of changes.length > 0 ? room.here : []) socket.emit({ type: 'participantsChanged', room: name, changes });
        this.emit({ type: 'conversation', ref: frame.ref, room: name, kind: room.kind, changed });
    }

    _participants(frame, room) {
        const participants = [...room.participants].map(([user, { role, notify }]) => ({
            user, role, since: '2026-01-02T03:04:05.678Z', read: room.reads.get(user) ?? null, ...(user === this.user ? { notify } : {}),
        }));
        this.emit({ type: 'participants', ref: frame.ref, room: frame.room, kind: room.kind, participants });
    }

    _read(frame, room) {
        room.reads.set(this.user, frame.position);
        const reads = { [this.user]: frame.position };
        for (const socket of room.here) if (socket !== this) socket.emit({ type: 'receipts', room: frame.room, reads });
        for (const socket of this.node.sockets) {
            if (socket === this || socket.gone || socket.user !== this.user) continue;
            const unread = this.node.store.unread(frame.room, this.user);
            socket.emit({ type: 'notice', kind: 'read', room: frame.room, position: frame.position, unread });
        }
        this.emit({ type: 'read', ref: frame.ref, room: frame.room, position: frame.position });
    }

    _inbox(frame) {
        const mine = [...this.node.store.rooms].filter(([, room]) => room.participants.has(this.user));
        const conversations = mine.map(([name, room]) => {
            const last = room.log.filter((entry) => entry.operation === undefined).at(-1);
            return {
                room: name, kind: room.kind, role: room.participants.get(this.user).role, notify: room.participants.get(this.user).notify,
                users: room.kind === 'direct' ? [...room.participants.keys()].filter((user) => user !== this.user) : [],
                ...(last ? { last: { position: last.position, user: last.user, at: last.at, text: last.text } } : {}),
                unread: this.node.store.unread(name, this.user), read: room.reads.get(this.user),
            };
        });
        // The cursor is what the client was shown; a page is what is not so any more.
        const known = new Map(JSON.parse(frame.cursor ?? '[]'));
        const changed = conversations.filter((entry) => known.get(entry.room) !== JSON.stringify(entry));
        const page = changed.slice(0, frame.limit);
        for (const entry of page) known.set(entry.room, JSON.stringify(entry));
        this.emit({ type: 'inbox', ref: frame.ref, conversations: page, cursor: JSON.stringify([...known]), more: page.length < changed.length });
    }

    _watch(frame) {
        for (const name of frame.rooms) this.node.store.room(name).watchers.add(this);
        this.emit({ type: 'watching', ref: frame.ref, rooms: frame.rooms });
    }

    _unwatch(frame) {
        for (const name of frame.rooms) this.node.store.room(name).watchers.delete(this);
        this.emit({ type: 'watching', ref: frame.ref, rooms: [] });
    }

    _online(frame) {
        const here = new Set(this.node.sockets.filter((socket) => !socket.gone).map((socket) => socket.user));
        const { lastSeen } = this.node;
        const seen = Object.fromEntries(frame.users.filter((user) => !here.has(user) && lastSeen.has(user)).map((user) => [user, lastSeen.get(user)]));
        this.emit({ type: 'online', ref: frame.ref, online: frame.users.filter((user) => here.has(user)), seen });
    }

    _lastSeen(frame) {
        const { lastSeen } = this.node;
        if (frame.shown === true) lastSeen.set(this.user, '2026-01-02T03:04:05.006Z');
        if (frame.shown === false) lastSeen.delete(this.user);
        this.emit({ type: 'lastSeen', ref: frame.ref, shown: lastSeen.has(this.user) });
    }

    _star(frame, room) {
        const message = this.node.store.folded(frame.room, room.log).find((entry) => entry.position === frame.position);
        this.node.stars.set(`${this.user} ${frame.room} ${frame.position}`, { room: frame.room, ...message });
        this.emit({ type: 'starred', ref: frame.ref, room: frame.room, position: frame.position, starred: true });
    }

    _unstar(frame) {
        this.node.stars.delete(`${this.user} ${frame.room} ${frame.position}`);
        this.emit({ type: 'starred', ref: frame.ref, room: frame.room, position: frame.position, starred: false });
    }

    _stars(frame) {
        const stars = [...this.node.stars].filter(([key]) => key.startsWith(`${this.user} `)).map(([, star]) => star).reverse();
        this.emit({ type: 'stars', ref: frame.ref, stars, cursor: null });
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
        const { text, data, thread, mentions, key } = frame;
        const content = Object.fromEntries(Object.entries({ text, data, thread, mentions, key }).filter(([, value]) => value !== undefined));
        const { message, repeated } = this.node.store.append(frame.room, { user: this.user, ...content });
        this.emit({ type: 'sent', ref: frame.ref, room: frame.room, position: message.position, at: message.at, repeated });
    }

    _signal(frame, room) {
        for (const other of room.here) {
            if (other !== this) other.emit({ ...frame, user: this.user });
        }
    }

    _history(frame, room) {
        let messages = room.log;
        if (frame.before) messages = messages.filter((m) => seqOf(m.position) < seqOf(frame.before)).slice(-frame.limit);
        else if (frame.after) messages = messages.filter((m) => seqOf(m.position) > seqOf(frame.after)).slice(0, frame.limit);
        else if (frame.around || frame.time !== undefined) {
            const isIn = (m) => (frame.around ? seqOf(m.position) >= seqOf(frame.around) : Date.parse(m.at) >= frame.time);
            const at = messages.findIndex(isIn) < 0 ? messages.length : messages.findIndex(isIn);
            const start = Math.max(0, Math.min(at - Math.floor(frame.limit / 2), messages.length - frame.limit));
            messages = messages.slice(start, start + frame.limit);
        } else messages = messages.slice(-frame.limit);
        const newest = room.log.at(-1)?.position ?? null;
        const older = messages.length > 0 && messages[0] !== room.log[0];
        const newer = messages.length > 0 && messages.at(-1) !== room.log.at(-1);
        const folded = this.node.store.folded(frame.room, messages);
        this.emit({ type: 'history', ref: frame.ref, room: frame.room, messages: folded, ...ends(messages), newest, older, newer });
    }

    _roster(frame, room) {
        const roster = [...new Set([...room.here].map((one) => one.user))].map((user) => ({ user, devices: ['d'] }));
        this.emit({ type: 'roster', ref: frame.ref, room: frame.room, roster, count: roster.length });
    }
}

/** An error frame. */
export const failure = (ref, code, name, retry) => ({ type: 'error', ref, code, name, message: `because ${name}`, retry });
