/**
 * martlet.js: talk to Martlet chat nodes (protocol martlet.v1) from a browser or from Node 20 and later. No
 * dependencies.
 *
 *     import { connect } from './martlet.js';
 *
 *     const client = connect('ws://localhost:8080/ws', { user: 'ana', device: 'laptop' });
 *     const room = client.join('lobby', { history: 20 });
 *     room.on('message', (m) => console.log(`${m.user}: ${m.text}`));
 *     const { position } = await room.send('hello');
 *
 * What it does by itself: reconnects (exponential backoff, full jitter, the node's `reconnectAfter`), resumes each
 * room from the last message that it showed, shows each message once and in the order of the room's log, reads what
 * is missing, says what cannot be had any more (`gap`, `reset`), keeps unsent and unanswered sends and repeats them
 * with the same key, notices a dead connection, and settles every promise.
 *
 * How it is built: `Client` is the connection, `Room` is what is known of one room. Neither reads a clock, a random
 * number or a socket but through `options`, so a test can drive all of it by hand.
 *
 * @module martlet
 */

/**
 * @typedef {object} ConnectOptions
 * @property {string} [user] Who you are, where the node takes people's word for it.
 * @property {string} [device] Which of your devices this is; others see it in the roster. The node makes one up
 * otherwise.
 * @property {string | (() => string | Promise<string>)} [token] Proof of who you are. A function is asked at each
 * connection.
 * @property {Record<string, string>} [query] More query parameters for the node's URL, for instance what a proxy
 * hashes on.
 * @property {number} [sendTimeout] Ms after which a send that has no answer fails. Default 60,000.
 * @property {number} [requestTimeout] Ms after which other requests fail, `ready` too. Default 20,000.
 * @property {number} [connectTimeout] Ms that a connection may take until the node's welcome. Default 10,000.
 * @property {number} [maxUnsent] Sends of one room that may wait; more fail at once as `queueFull`. Default 500.
 * @property {number} [window] Sends of one room that may be unanswered at a time. With 1 the order of your own
 * messages holds even when the node refuses one of them for a while. Default 32.
 * @property {{ base?: number, cap?: number }} [backoff] Ms: the n-th wait is random below min(cap, base × 2ⁿ).
 * Default 500 and 20,000.
 * @property {any} [WebSocket] A WebSocket class to use instead of the platform's.
 * @property {Clock} [clock] For tests.
 * @property {() => number} [random] For tests: 0 ≤ random() < 1.
 */
/**
 * @typedef {object} Clock
 * @property {() => number} now Ms, never going back.
 * @property {(action: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */
/**
 * @typedef {object} Message
 * @property {string} room
 * @property {string} position `<epoch>-<seq>`: its place in the room's log.
 * @property {number} seq The second half of the position: goes up by exactly 1 over the room's life.
 * @property {string} user Who said it.
 * @property {string} at When: RFC 3339, UTC, milliseconds.
 * @property {string} [text]
 * @property {any} [data]
 * @property {string} [key] The sender's key, if you are the sender.
 * @property {boolean} mine Whether your user said it, on whatever device.
 */
/**
 * @typedef {{ position: string, at: string, repeated: boolean }} Sent `repeated`: an earlier try had stored it
 * already.
 */
/** @typedef {{ user: string, devices: string[] }} Member */
/**
 * @typedef {object} Gap Messages that the room's log no longer holds: those after `after` and before `before`.
 * @property {string} after
 * @property {string} before
 * @property {number} missing How many.
 */
/**
 * @typedef {{ position: string, reason: string }} Reset All that you have of the room is void; it goes on at
 * `position`.
 */
/**
 * @typedef {object} Joined
 * @property {string} position The room's newest message.
 * @property {boolean} first Whether it is this room object's first time, not a return after a lost connection.
 * @property {boolean} resumed Whether nothing is missing since the last message shown.
 * @property {number} missed How many messages came meanwhile and are shown now.
 * @property {Gap} [gap]
 * @property {Reset} [reset]
 * @property {number} count Members.
 */
/** @typedef {'connecting' | 'online' | 'offline' | 'closed'} ClientState `offline`: it will try again after a wait. */
/** @typedef {'joining' | 'joined' | 'offline' | 'left' | 'failed'} RoomState */
/**
 * @typedef {object} ClientEvents
 * @property {{ state: ClientState, attempt: number, delay: number, error: MartletError | null }} state `delay`: ms
 *     until the next try.
 * @property {any} welcome The node's frame.
 * @property {{ reconnectAfter: number }} draining The node leaves; this client moves after so many ms.
 * @property {MartletError} error It belongs to no request.
 * @property {MartletError} closed It will not come back.
 */
/**
 * @typedef {object} RoomEvents
 * @property {Joined} joined At each return too.
 * @property {Message} message
 * @property {Gap} gap
 * @property {Reset} reset
 * @property {{ joined: string[], left: string[], count: number }} presence
 * @property {{ user: string, name: string, data?: any }} signal
 * @property {RoomState} state
 * @property {MartletError} failed It is over.
 */

/** The codes of errors that this module makes itself; the node's are 100–500 (see its protocol). */
const LOCAL_CODES = {
    timeout: 900, closed: 901, queueFull: 902, left: 903, aborted: 904, badArgument: 905, unreadable: 906,
    unreachable: 907,
};

/** The close codes of Martlet nodes, and whether to come back by oneself. Other codes: come back. */
export const CLOSE_CODES = Object.freeze({
    4000: { name: 'draining', reconnect: true },
    4001: { name: 'slow', reconnect: true },
    4002: { name: 'unauthenticated', reconnect: false },
    4003: { name: 'nodeFull', reconnect: true },
    4004: { name: 'tooManySessions', reconnect: false },
    4005: { name: 'abuse', reconnect: false },
    4006: { name: 'heartbeatMissed', reconnect: true },
    4007: { name: 'ended', reconnect: false },
    4008: { name: 'internalError', reconnect: true },
});

/** Why something failed: what every promise of this module rejects with. */
export class MartletError extends Error {
    /**
     * @param {string} reason The stable name: the node's (`notJoined`, `rateLimited`, `unavailable`,
     *     `outcomeUnknown`, `notStored`, …), a close code's, or one of this module's: `timeout`, `closed`,
     *     `queueFull`, `left`, `aborted`, `badArgument`, `unreadable`, `unreachable`.
     * @param {string} message A sentence for a developer.
     * @param {{ code?: number, retry?: boolean, room?: string, key?: string, since?: string | null,
     *     stored?: boolean }} [more]
     */
    constructor(reason, message, more = {}) {
        super(message);
        this.name = 'MartletError';
        this.reason = reason;
        /** @type {number} The number that goes with the reason. */
        this.code = more.code ?? LOCAL_CODES[reason] ?? 0;
        /** Whether the same request may succeed later (a send: with the same key). */
        this.retry = more.retry ?? false;
        this.room = more.room;
        /** The key of the send that failed. */
        this.key = more.key;
        /** With the key: what to give to `send` to try again. */
        this.since = more.since ?? undefined;
        /**
         * Of a send: false if it certainly was not stored, undefined if that is not known, true if it was, but (as
         * `notReplicated` says) on fewer replicas than the operator wants.
         */
        this.stored = more.stored;
    }
}

/**
 * Reads `<epoch>-<seq>`. Null for anything else.
 * @param {unknown} text
 * @returns {{ epoch: number, seq: number } | null}
 */
export function parsePosition(text) {
    const match = typeof text === 'string' ? /^(\d{1,20})-(\d{1,20})$/.exec(text) : null;
    return match && { epoch: Number(match[1]), seq: Number(match[2]) };
}

/** A new key for a send: 128 random bits. */
export function newKey() {
    const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @type {Clock} */
const systemClock = {
    now: () => globalThis.performance.now(),
    setTimeout: (action, ms) => setTimeout(action, ms),
    clearTimeout: (timer) => clearTimeout(timer),
};

const encoder = new TextEncoder();

/**
 * What happens is told by events. A listener's own error is thrown on a stack of its own and disturbs nothing here.
 * @template Events
 */
class Emitter {
    /** @type {Map<keyof Events, Set<(event: any) => void>>} */
    #listeners = new Map();

    /**
     * Calls `listener` at each event of that type, until the returned function is called.
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener
     * @returns {() => void}
     */
    on(type, listener) {
        const listeners = this.#listeners.get(type) ?? new Set();
        this.#listeners.set(type, listeners.add(listener));
        return () => this.off(type, listener);
    }

    /**
     * The same, for the next event only.
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener
     * @returns {() => void}
     */
    once(type, listener) {
        const off = this.on(type, (event) => {
            off();
            listener(event);
        });
        return off;
    }

    /**
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener
     */
    off(type, listener) {
        this.#listeners.get(type)?.delete(listener);
    }

    /** @internal @template {keyof Events} Type @param {Type} type @param {Events[Type]} event */
    _emit(type, event) {
        for (const listener of [...(this.#listeners.get(type) ?? [])]) {
            try {
                listener(event);
            } catch (error) {
                queueMicrotask(() => { throw error; });
            }
        }
    }
}

/** A promise with its ends, settled once; nobody has to listen to its failure. */
class Deferred {
    constructor() {
        this.settled = false;
        this.promise = new Promise((resolve, reject) => {
            this.resolve = (value) => { this.settled = true; resolve(value); };
            this.reject = (error) => { this.settled = true; reject(error); };
        });
        this.promise.catch(() => {});
    }
}

/**
 * Connects to a node and stays connected until `close`.
 * @param {string | URL} [url] `ws://host/ws`, `wss:`, or the `http(s):` address of the node (then `/ws`). In a
 *     browser the default is the page's own node.
 * @param {ConnectOptions} [options]
 * @returns {Client}
 */
export function connect(url, options = {}) {
    return new Client(url, options);
}

/**
 * One session, kept up over any number of connections. Its events: {@link ClientEvents}.
 * @extends {Emitter<ClientEvents>}
 */
export class Client extends Emitter {
    /** @type {ClientState} */
    state = 'connecting';
    /** The session's, user's and device's name as the node gave them, and the node's own. */
    session = '';
    user = '';
    device = '';
    node = '';
    /** @type {Record<string, number>} What the node allows; see its protocol. */
    limits = {};
    /** @type {Map<string, Room>} The rooms that you are in or on the way into. */
    rooms = new Map();

    #url;
    #ready = new Deferred();
    #readyTimer;
    /** @type {any} A WebSocket, or what stands for one. */
    #socket = null;
    /**
     * What waits for an answer on this connection: ref → what to do with the answer.
     * @type {Map<number, (frame: any) => void>}
     */
    #answers = new Map();
    #lastRef = 0;
    #attempt = 0;
    #retryTimer = null;
    #connectTimer = null;
    #heartTimer = null;
    #stableTimer = null;
    #drainTimer = null;
    #pumpTimer = null;
    #heartbeat = 30_000;
    #heard = 0;
    /** A ping is out and nothing was heard since. */
    #pinged = false;
    #tokens = { left: 50, at: 0, rate: 50, burst: 50 };
    #wake = () => this.wake();

    /** @param {string | URL | undefined} url @param {ConnectOptions} options */
    constructor(url, options) {
        super();
        /** @internal */
        this._options = {
            sendTimeout: 60_000, requestTimeout: 20_000, connectTimeout: 10_000, maxUnsent: 500, window: 32, query: {},
            random: Math.random, clock: systemClock, ...options,
            backoff: { base: 500, cap: 20_000, ...options.backoff },
        };
        /** @internal @type {Clock} */
        this._clock = this._options.clock;
        this.#url = readURL(url, this._options);
        this.user = options.user ?? '';
        this.device = options.device ?? '';
        this.#readyTimer = this._clock.setTimeout(() => {
            this.#ready.reject(new MartletError('timeout', 'no node answered in time; still trying', { retry: true }));
        }, this._options.requestTimeout);
        globalThis.addEventListener?.('online', this.#wake);
        globalThis.document?.addEventListener('visibilitychange', this.#wake);
        this.#open();
    }

    /**
     * Resolves at the node's first welcome. Rejects after `requestTimeout` (it goes on trying) or when it is closed.
     */
    get ready() {
        return this.#ready.promise;
    }

    /**
     * Enters a room and stays in it, over reconnects too, until `leave`. Returns at once: await `room.ready` if you
     * need to know. A room that you are in already is returned as it is.
     * @param {string} name
     * @param {{ after?: string, history?: number }} [options] `after`: the last position that you have, of an earlier
     *     time; what came since is shown. `history`: else, how many recent messages to show first.
     * @returns {Room}
     */
    join(name, options = {}) {
        if (typeof name !== 'string' || name === '') throw new MartletError('badArgument', 'the room has no name');
        if (options.after !== undefined && !parsePosition(options.after)) {
            const message = 'after is no position: it must be like 1700000000000-42';
            throw new MartletError('badArgument', message, { room: name });
        }
        if (this.state === 'closed') throw new MartletError('closed', 'the client is closed', { room: name });
        const known = this.rooms.get(name);
        if (known) return known;
        const room = new Room(this, name, options);
        this.rooms.set(name, room);
        if (this.state === 'online') room._connected();
        return room;
    }

    /** Ends the session. What is pending fails as `closed`. */
    close() {
        this.#finish(new MartletError('closed', 'the client was closed'), 1000);
    }

    /**
     * Tries at once instead of waiting, or checks the connection. Called by itself when a browser comes online or the
     * page is looked at again; call it when you know better.
     */
    wake() {
        if (this.state === 'offline') {
            this._clock.clearTimeout(this.#retryTimer);
            this.#open();
        } else if (this.state === 'online' && !this.#pinged) {
            this.#ping(Math.min(5_000, this.#heartbeat));
        }
    }

    #setState(state, more = {}) {
        this.state = state;
        this._emit('state', { state, attempt: this.#attempt, delay: 0, error: null, ...more });
    }

    #open() {
        this.#setState('connecting');
        const { token } = this._options;
        if (typeof token !== 'function') {
            this.#dial(token);
            return;
        }
        const socket = (this.#socket = { close() {} });
        Promise.resolve().then(token).then(
            (fresh) => { if (this.#socket === socket) this.#dial(fresh); },
            (error) => {
                if (this.#socket !== socket) return;
                const message = `there is no token: ${error?.message ?? error}`;
                this.#lost(new MartletError('unreachable', message, { retry: true }));
            },
        );
    }

    #dial(token) {
        const url = new URL(this.#url);
        if (token) url.searchParams.set('token', token);
        const Socket = this._options.WebSocket ?? globalThis.WebSocket ?? NodeSocket;
        let socket;
        try {
            socket = new Socket(url.href, ['martlet.v1']);
        } catch (error) {
            const { message } = /** @type {Error} */ (error);
            this.#finish(new MartletError('badArgument', `the node's URL cannot be used: ${message}`));
            return;
        }
        this.#socket = socket;
        socket.onmessage = (event) => { if (this.#socket === socket) this.#receive(event.data); };
        socket.onclose = (event) => { if (this.#socket === socket) this.#lost(closeError(event), event); };
        socket.onerror = () => {};
        this.#connectTimer = this._clock.setTimeout(
            () => this.#lost(new MartletError('timeout', 'the node did not say welcome in time', { retry: true })),
            this._options.connectTimeout,
        );
    }

    #receive(data) {
        this.#heard = this._clock.now();
        this.#pinged = false;
        let frame;
        try {
            frame = JSON.parse(data);
        } catch {
            this._emit('error', new MartletError('unreadable', 'the node sent a frame that is no JSON'));
            return;
        }
        if (frame.type === 'welcome') {
            this.#welcomed(frame);
        } else if (frame.ref !== undefined && frame.ref !== null) {
            const answer = this.#answers.get(frame.ref);
            this.#answers.delete(frame.ref);
            answer?.(frame);
        } else if (frame.type === 'draining') {
            this.#draining(frame);
        } else if (frame.type === 'error') {
            this._emit('error', wireError(frame));
        } else {
            this.rooms.get(frame.room)?._receive(frame);
        }
    }

    #welcomed(frame) {
        this._clock.clearTimeout(this.#connectTimer);
        this.session = frame.session;
        this.user = frame.user ?? this.user;
        this.device = frame.device ?? this.device;
        this.node = frame.node;
        this.limits = frame.limits ?? {};
        this.#heartbeat = Math.max(1, Number(frame.heartbeat) || 30) * 1_000;
        // A node forgives a burst and then a rate; staying under nine tenths of both, nothing of ours is ever refused.
        const rate = (Number(this.limits.requestsPerSecond) || 100) * 0.9;
        const burst = (Number(this.limits.requestBurst) || 100) * 0.9;
        this.#tokens = { left: burst, at: this.#heard, rate, burst };
        // Only a connection that lasted ends the series of attempts: a node that welcomes and then closes is not
        // hammered.
        this.#stableTimer = this._clock.setTimeout(() => { this.#attempt = 0; }, 5_000);
        this.#watch(this.#heartbeat);
        this._clock.clearTimeout(this.#readyTimer);
        if (!this.#ready.settled) this.#ready.resolve(this);
        this.#setState('online');
        this._emit('welcome', frame);
        for (const room of [...this.rooms.values()]) if (this.state === 'online') room._connected();
    }

    /** The node leaves: move, at the moment that it gave to this session alone. */
    #draining(frame) {
        const reconnectAfter = Math.max(0, Number(frame.reconnectAfter) || 0);
        this._emit('draining', { reconnectAfter });
        this._clock.clearTimeout(this.#drainTimer);
        this.#drainTimer = this._clock.setTimeout(() => this._move(), reconnectAfter);
    }

    /** @internal Changes to another connection now. */
    _move() {
        if (this.state !== 'online') return;
        this.#lost(new MartletError('draining', 'the node is leaving', { code: 4000, retry: true }), null, 0);
    }

    #ping(wait) {
        this.#pinged = true;
        this._request({ type: 'ping' }, () => {});
        this.#watch(wait);
    }

    /** After silence a ping, after a ping without anything heard a new connection. */
    #watch(ms) {
        this._clock.clearTimeout(this.#heartTimer);
        this.#heartTimer = this._clock.setTimeout(() => {
            const silence = this._clock.now() - this.#heard;
            if (this.#pinged) {
                const message = 'nothing was heard of the node, not even a pong';
                this.#lost(new MartletError('timeout', message, { retry: true }));
            } else if (silence >= this.#heartbeat) {
                this.#ping(Math.min(10_000, this.#heartbeat));
            } else {
                this.#watch(this.#heartbeat - silence);
            }
        }, ms);
    }

    /**
     * The connection has gone, or is given up.
     * @param {MartletError} error
     * @param {any} [event] The close event, if that is what happened.
     * @param {number | null} [delay] Ms until the next try; null: the backoff's.
     */
    #lost(error, event = null, delay = null) {
        // A handshake refused for what it says (only Node is told why) will be refused again.
        const refused = [400, 401, 403].includes(event?.status);
        if (refused || CLOSE_CODES[event?.code]?.reconnect === false) {
            this.#finish(error);
            return;
        }
        this.#drop(event ? null : 1000);
        const { base, cap } = this._options.backoff;
        const wait = delay ?? this._options.random() * Math.min(cap, base * 2 ** this.#attempt);
        this.#attempt += 1;
        this.#retryTimer = this._clock.setTimeout(() => this.#open(), wait);
        for (const room of [...this.rooms.values()]) room._disconnected();
        if (this.state !== 'closed') this.#setState('offline', { delay: wait, error });
    }

    /**
     * Forgets the socket and all that belongs to it. @param {number | null} code The code to close it with; null: it
     * is closed.
     */
    #drop(code) {
        this.#pinged = false;
        const timers = [this.#connectTimer, this.#heartTimer, this.#stableTimer, this.#drainTimer, this.#pumpTimer];
        for (const timer of timers) this._clock.clearTimeout(timer);
        this.#pumpTimer = null;
        const socket = this.#socket;
        this.#socket = null;
        this.#answers.clear();
        if (socket === null) return;
        socket.onmessage = socket.onclose = null;
        if (code !== null) {
            try { socket.close(code); } catch { /* It never opened. */ }
        }
    }

    /** @param {MartletError} error @param {number | null} [code] */
    #finish(error, code = null) {
        if (this.state === 'closed') return;
        this.state = 'closed';
        this.#drop(code);
        this._clock.clearTimeout(this.#retryTimer);
        this._clock.clearTimeout(this.#readyTimer);
        globalThis.removeEventListener?.('online', this.#wake);
        globalThis.document?.removeEventListener('visibilitychange', this.#wake);
        this.#ready.reject(error);
        for (const room of [...this.rooms.values()]) room._fail(error);
        this.rooms.clear();
        this.#setState('closed', { error });
        this._emit('closed', error);
    }

    /**
     * @internal Writes a request; `answered` gets the one frame that answers it, unless the connection goes first.
     * False if the frame is longer than the node takes: then nothing was written.
     * @param {Record<string, unknown>} fields @param {((frame: any) => void) | null} answered
     */
    _request(fields, answered) {
        const ref = answered ? ++this.#lastRef : 0;
        const { type, ...others } = fields;
        const text = JSON.stringify({ type, ...(answered ? { ref } : {}), ...others });
        const most = Number(this.limits.frameBytes) || Infinity;
        if (text.length * 3 > most && encoder.encode(text).length > most) return false;
        if (answered) this.#answers.set(ref, answered);
        try {
            this.#socket.send(text);
        } catch { /* It is closing: `onclose` follows, and all that is unanswered is repeated. */ }
        return true;
    }

    /** @internal Whether the node's rate allows one more request now; if not, all rooms are pumped when it does. */
    _take() {
        const tokens = this.#tokens;
        const now = this._clock.now();
        tokens.left = Math.min(tokens.burst, tokens.left + ((now - tokens.at) / 1_000) * tokens.rate);
        tokens.at = now;
        if (tokens.left >= 1) {
            tokens.left -= 1;
            return true;
        }
        this.#pumpTimer ??= this._clock.setTimeout(() => {
            this.#pumpTimer = null;
            for (const room of [...this.rooms.values()]) room._pump();
        }, Math.ceil(((1 - tokens.left) / tokens.rate) * 1_000) + 5);
        return false;
    }
}

/**
 * One room, as this client knows it. Its events: {@link RoomEvents}.
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter {
    /** @type {RoomState} */
    state = 'offline';
    /** @type {string | null} The last position shown; null before the first join. */
    position = null;
    /**
     * Who is here; null when the room is so large that the node tells only the count.
     * @type {Map<string, string[]> | null}
     */
    members = new Map();
    /** How many are here. */
    count = 0;

    #client;
    #options;
    #ready = new Deferred();
    #readyTimer;
    #first = true;
    /** @type {MartletError | null} Why the room was left, by whomever. */
    #over = null;
    /** The seq of the last message shown. */
    #seq = 0;
    /** What arrived and is not next, by seq; and announced gaps. Both empty while nothing is missing. */
    #early = new Map();
    #gaps = [];
    /** The seq up to which messages are known to exist. */
    #target = 0;
    #reading = false;
    #readingMembers = false;
    #advancing = false;
    /** Unsettled sends in the order in which they were made, and reads. `ref` null: not written on this connection. */
    #sends = [];
    #reads = [];
    #tries = 0;
    #pausedUntil = 0;
    #retryTimer = null;

    /** @internal @param {Client} client @param {string} name @param {{ after?: string, history?: number }} options */
    constructor(client, name, options) {
        super();
        this.name = name;
        this.#client = client;
        this.#options = options;
        if (options.after) this.#show(options.after);
        this.#readyTimer = client._clock.setTimeout(() => {
            const message = 'the room could not be joined in time; still trying';
            this.#ready.reject(new MartletError('timeout', message, { room: name, retry: true }));
        }, client._options.requestTimeout);
    }

    /**
     * Resolves when the room is joined the first time. Rejects if it cannot be, or not in time (then it goes on
     * trying).
     */
    get ready() {
        return this.#ready.promise;
    }

    /** Sends that have no answer yet. */
    get pending() {
        return this.#sends.length;
    }

    /**
     * Says something. Resolves when it is stored. Kept over lost connections and repeated with the same key, so it is
     * stored once at most. Rejects with a MartletError: `stored` is false if it certainly was not stored, undefined
     * if unknown.
     *
     * With a `key` of your own say `again: false` if it certainly was never used before; and `again: true` with the
     * error's `since` to try again what failed with `stored` undefined.
     * @param {string | { text?: string, data?: any, key?: string, again?: boolean, since?: string }} content
     * @param {{ timeout?: number, signal?: AbortSignal }} [options]
     * @returns {Promise<Sent>}
     */
    send(content, options = {}) {
        const { text, data, since = null, ...given } = /** @type {any} */ (
            typeof content === 'string' ? { text: content } : content ?? {}
        );
        const key = given.key ?? newKey();
        const again = given.again ?? (given.key === undefined ? false : undefined);
        const refuse = (reason, message, retry = false) =>
            Promise.reject(new MartletError(reason, message, { room: this.name, key, retry, stored: false }));
        if (text !== undefined && typeof text !== 'string') return refuse('badArgument', 'text is no string');
        if (text === undefined && data === undefined) return refuse('badArgument', 'there is neither text nor data');
        if (typeof key !== 'string' || key === '') return refuse('badArgument', 'key is no string, or empty');
        if (this.#over) return refuse(this.#over.reason, `you are not in this room any more: ${this.#over.message}`);
        if (options.signal?.aborted) return refuse('aborted', 'aborted before it was sent');
        if (this.#sends.length >= this.#client._options.maxUnsent) {
            return refuse('queueFull', `${this.#sends.length} sends wait already`, true);
        }
        /** @type {any} */
        const send = Object.assign(new Deferred(), {
            text: wellFormed(text), data, key, again, since, ref: null, tries: 0, unsure: again === true, stored: false,
        });
        send.settle = (error, value) => {
            if (send.settled) return;
            this.#client._clock.clearTimeout(send.timer);
            options.signal?.removeEventListener('abort', send.abort);
            this.#sends.splice(this.#sends.indexOf(send), 1);
            if (error) send.reject(this.#sendError(send, error));
            else send.resolve(value);
        };
        send.abort = () => send.settle(new MartletError('aborted', 'the send was aborted'));
        options.signal?.addEventListener('abort', send.abort);
        send.timer = this.#client._clock.setTimeout(
            () => send.settle(send.error ?? new MartletError('timeout', 'no answer in time', { retry: true })),
            options.timeout ?? this.#client._options.sendTimeout,
        );
        this.#sends.push(send);
        this._pump();
        return send.promise;
    }

    /**
     * Reads a page of the room's log, oldest first, never more than the node's `limits.historyPage`.
     * @param {{ before?: string, after?: string, around?: string, limit?: number }} [query] Positions; none: the
     *     newest page.
     * @returns {Promise<{ messages: Message[], newest: string | null, older: boolean, newer: boolean }>} `older`,
     *     `newer`: whether the log holds more on that side.
     */
    async history(query = {}) {
        const { before, after, around } = query;
        const limit = Math.min(query.limit ?? 50, Number(this.#client.limits.historyPage) || Infinity);
        const frame = await this.#read({ type: 'history', room: this.name, before, after, around, limit });
        return {
            messages: (frame.messages ?? []).map((message) => this.#message(message)),
            newest: frame.newest ?? null,
            older: frame.older ?? false,
            newer: frame.newer ?? false,
        };
    }

    /**
     * Who is here with which devices: one page.
     * @param {{ cursor?: string }} [options] What the page before gave.
     * @returns {Promise<{ members: Member[], count: number, cursor: string | null }>}
     */
    async roster(options = {}) {
        const frame = await this.#read({ type: 'roster', room: this.name, cursor: options.cursor });
        return { members: frame.roster ?? [], count: frame.count ?? 0, cursor: frame.cursor ?? null };
    }

    /**
     * Something for the moment (`typing`): to those who are here now, stored nowhere. False if it could not be said
     * now.
     * @param {string} name
     * @param {any} [data]
     */
    signal(name, data) {
        if (this.state !== 'joined' || !this.#client._take()) return false;
        return this.#client._request({ type: 'signal', room: this.name, name, data }, null);
    }

    /** Leaves for good; what is pending fails as `left`. Resolves when the node knows, or the connection has gone. */
    leave() {
        if (this.#over) return Promise.resolve();
        const told = new Deferred();
        const tell = this.state === 'joined' || this.state === 'joining';
        this._fail(new MartletError('left', 'you left the room', { room: this.name }), 'left');
        if (this.#client.rooms.get(this.name) === this) this.#client.rooms.delete(this.name);
        if (!tell) return Promise.resolve();
        this.#client._request({ type: 'leave', room: this.name }, () => told.resolve());
        const off = this.#client.on('state', () => told.resolve());
        const timer = this.#client._clock.setTimeout(() => told.resolve(), this.#client._options.requestTimeout);
        return told.promise.then(() => {
            off();
            this.#client._clock.clearTimeout(timer);
        });
    }

    /** @internal The connection is there: join, or join again from where we are. */
    _connected() {
        this.#setState('joining');
        const fields = { type: 'join', room: this.name };
        if (this.position !== null) fields.after = this.position;
        // Beside `after` too: after a reset it says how much of the new history to show.
        if (this.#options.history !== undefined) {
            fields.history = Math.min(this.#options.history, Number(this.#client.limits.historyPage) || Infinity);
        }
        this.#client._request(fields, (frame) => {
            if (this.state !== 'joining') return;
            if (frame.type === 'joined') this.#joined(frame);
            else if (frame.retry) this.#later(() => this._connected());
            else this.#giveUp(wireError(frame, this.name));
        });
    }

    /** @internal The connection has gone. */
    _disconnected() {
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#early.clear();
        this.#gaps = [];
        this.#reading = false;
        this.#pausedUntil = 0;
        for (const send of this.#sends) send.unsure ||= send.ref !== null;
        for (const request of [...this.#sends, ...this.#reads]) request.ref = null;
        if (this.state !== 'offline') this.#setState('offline');
    }

    /**
     * @internal It is over: everything pending fails. @param {MartletError} error @param {'left' | 'failed'} [state]
     */
    _fail(error, state = 'failed') {
        if (this.#over) return;
        this.#over = error;
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#client._clock.clearTimeout(this.#readyTimer);
        this.state = state;
        if (!this.#ready.settled) this.#ready.reject(error);
        for (const request of [...this.#sends, ...this.#reads]) request.settle(error);
        this._emit('state', state);
        if (state === 'failed') this._emit('failed', error);
    }

    /** @internal A frame of this room that answers nothing. */
    _receive(frame) {
        switch (frame.type) {
            case 'message':
                this.#take([frame]);
                if (this.state === 'joined') this.#advance();
                break;
            case 'gap':
                this.#gaps.push(readGap(frame));
                if (this.state === 'joined') this.#advance();
                break;
            case 'reset':
                if (this.state === 'joined') this.#restart(frame, frame.position, 0);
                break;
            case 'presence':
                this.#presence(frame);
                break;
            case 'signal':
                this._emit('signal', { user: frame.user, name: frame.name, data: frame.data });
                break;
        }
    }

    /** @internal Writes what can be written now: reads at once, sends in order and within the window. */
    _pump() {
        if (this.state !== 'joined') return;
        for (const read of this.#reads) {
            if (read.ref !== null) continue;
            if (!this.#client._take()) return;
            read.ref = true;
            this.#client._request(read.fields, (frame) => this.#readAnswered(read, frame));
        }
        if (this.#client._clock.now() < this.#pausedUntil) return;
        for (const send of this.#sends.slice(0, this.#client._options.window)) {
            if (send.ref !== null) continue;
            if (!this.#client._take()) return;
            this.#write(send);
        }
    }

    #write(send) {
        send.ref = {};
        send.since ??= this.position;
        const ref = send.ref;
        const again = send.tries > 0 ? true : send.again;
        const { text, data, key } = send;
        const since = again ? send.since : undefined;
        const fields = { type: 'send', room: this.name, text, data, key, again, since };
        const answered = (frame) => { if (send.ref === ref) this.#sendAnswered(send, frame); };
        if (this.#client._request(fields, answered)) {
            send.tries += 1;
        } else {
            send.ref = null;
            const most = this.#client.limits.frameBytes;
            const message = `with its key and room it is over ${most} bytes`;
            send.settle(new MartletError('frameTooLarge', message, { code: 102 }));
        }
    }

    #sendAnswered(send, frame) {
        if (send.settled) return;
        if (frame.type === 'sent') {
            this.#tries = 0;
            send.settle(null, { position: frame.position, at: frame.at, repeated: frame.repeated ?? false });
            this._pump();
            return;
        }
        send.ref = null;
        send.error = wireError(frame, this.name);
        send.stored ||= send.error.reason === 'notReplicated';
        send.unsure ||= /^(unavailable|outcomeUnknown|draining|internalError)$/.test(send.error.reason);
        if (frame.name === 'draining') {
            this.#client._move();
        } else if (frame.name === 'notJoined' && this.state === 'joined') {
            // The node lost the session's place in the room: take it again, with nothing missing.
            this.#later(() => { if (this.state === 'joined') this._connected(); });
        } else if (frame.retry) {
            this.#later(() => this._pump());
        } else if (frame.name !== 'notJoined') {
            send.settle(send.error);
            this._pump();
        }
    }

    #sendError(send, error) {
        const stored = send.stored ? true : send.unsure || send.ref !== null ? undefined : false;
        const { reason, message, code, retry } = error;
        const { key, since } = send;
        return new MartletError(reason, message, { code, retry, room: this.name, key, since, stored });
    }

    #readAnswered(read, frame) {
        if (frame.type !== 'error') {
            read.settle(null, frame);
        } else if (frame.retry) {
            read.ref = null;
            read.error = wireError(frame, this.name);
            this.#later(() => this._pump());
        } else {
            read.settle(wireError(frame, this.name));
        }
    }

    /** Asks for something that may be asked again on another connection. */
    #read(fields) {
        if (this.#over) return Promise.reject(this.#over);
        /** @type {any} */
        const read = Object.assign(new Deferred(), { fields, ref: null });
        read.settle = (error, value) => {
            if (read.settled) return;
            this.#client._clock.clearTimeout(read.timer);
            this.#reads.splice(this.#reads.indexOf(read), 1);
            if (error) read.reject(error);
            else read.resolve(value);
        };
        read.timer = this.#client._clock.setTimeout(
            () => read.settle(read.error ?? new MartletError('timeout', 'no answer in time', { retry: true })),
            this.#client._options.requestTimeout,
        );
        this.#reads.push(read);
        this._pump();
        return read.promise;
    }

    /** The node said "not now": wait, longer each time, then go on. */
    #later(action) {
        const { random, backoff } = this.#client._options;
        const wait = (0.5 + random() / 2) * Math.min(5_000, backoff.base * 2 ** this.#tries);
        this.#tries += 1;
        this.#pausedUntil = this.#client._clock.now() + wait;
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#retryTimer = this.#client._clock.setTimeout(() => {
            this.#pausedUntil = 0;
            action();
        }, wait);
    }

    #setState(state) {
        this.state = state;
        this._emit('state', state);
    }

    #giveUp(error) {
        if (this.#client.rooms.get(this.name) === this) this.#client.rooms.delete(this.name);
        this._fail(error);
    }

    #joined(frame) {
        const first = this.#first;
        const from = this.position;
        const messages = frame.messages ?? [];
        this.#first = false;
        this.#tries = 0;
        this.#target = seqOf(frame.position);
        this.state = 'joined';
        this.count = frame.count ?? frame.roster?.length ?? 0;
        this.members = frame.roster ? new Map(frame.roster.map((member) => [member.user, member.devices ?? []])) : null;
        const gap = frame.gap ? readGap(frame.gap) : undefined;
        const { reset } = frame;
        if (gap) this.#gaps.push(gap);
        const missed = from === null || reset ? [] : messages.filter((m) => seqOf(m.position) > this.#seq);
        const resumed = from !== null && !gap && !reset;
        this._emit('state', 'joined');
        this._emit('joined', {
            position: frame.position, first, resumed, missed: missed.length, gap, reset, count: this.count,
        });
        if (reset || from === null) {
            const before = messages.length > 0 ? positionBefore(messages[0].position) : frame.position;
            if (reset) this.#restart(reset, before, this.#target);
            else this.#show(before);
        }
        this.#take(messages);
        this.#advance();
        this.#client._clock.clearTimeout(this.#readyTimer);
        if (!this.#ready.settled) this.#ready.resolve(this);
        this._emit('presence', { joined: [], left: [], count: this.count });
        this._pump();
    }

    /** Everything known is void: goes on after `position`, where messages up to `target` are known to exist. */
    #restart(reset, position, target) {
        this.#early.clear();
        this.#gaps = [];
        this.#show(position);
        this.#target = target;
        this._emit('reset', { position: reset.position, reason: reset.reason });
    }

    /** Notes a position as shown. */
    #show(position) {
        this.position = position;
        this.#seq = seqOf(position);
    }

    #take(messages) {
        for (const message of messages) {
            const place = parsePosition(message.position);
            if (place && (place.seq > this.#seq || this.position === null)) this.#early.set(place.seq, message);
        }
        // A client that cannot repair a hole for so long starts again from its position.
        if (this.#early.size > 5_000 && this.state === 'joined') {
            this.#early.clear();
            this._connected();
        }
    }

    /** Shows all that is next in order; what is missing is read, and what cannot be had is announced. */
    #advance() {
        if (this.#advancing) return;
        this.#advancing = true;
        try {
            while (this.state === 'joined' && (this.#showNext() || this.#passGap()));
        } finally {
            this.#advancing = false;
        }
        if (this.state !== 'joined') return;
        for (const seq of this.#early.keys()) if (seq <= this.#seq) this.#early.delete(seq);
        if (this.#early.size > 0 || this.#seq < this.#target) this.#repair();
    }

    #showNext() {
        const next = this.#early.get(this.#seq + 1);
        if (!next) return false;
        this.#early.delete(this.#seq + 1);
        this.#show(next.position);
        const message = this.#message(next);
        if (message.mine && message.key !== undefined) this.#settleByKey(message);
        this._emit('message', message);
        return true;
    }

    #passGap() {
        const index = this.#gaps.findIndex((gap) => seqOf(gap.after) <= this.#seq);
        if (index < 0) return false;
        const [gap] = this.#gaps.splice(index, 1);
        const before = parsePosition(gap.before);
        if (!before || before.seq - 1 <= this.#seq) return true;
        const event = { after: this.position ?? gap.after, before: gap.before, missing: before.seq - 1 - this.#seq };
        this.#show(`${before.epoch}-${before.seq - 1}`);
        this._emit('gap', event);
        return true;
    }

    /**
     * Our own message came back, and the answer to its send went with a connection. While an answer is under way it is
     * waited for: it may have to come from replicas first.
     */
    #settleByKey(message) {
        const send = this.#sends.find((one) => one.key === message.key);
        if (send?.tries > 0 && send.ref === null && !send.stored) {
            const repeated = send.tries > 1 || send.again === true;
            send.settle(null, { position: message.position, at: message.at, repeated });
            this._pump();
        }
    }

    /** Reads what is missing after the last message shown. */
    async #repair() {
        if (this.#reading) return;
        this.#reading = true;
        const from = this.position;
        const limit = Math.min(100, Number(this.#client.limits.historyPage) || 100);
        try {
            const page = await this.#read({ type: 'history', room: this.name, after: from, limit });
            if (this.state !== 'joined' || this.position !== from) return;
            this.#take(page.messages ?? []);
            if (!this.#early.has(this.#seq + 1)) this.#gaps.push(this.#ownGap(page));
        } catch (error) {
            this.#client._emit('error', /** @type {MartletError} */ (error));
            // Without an answer nothing is skipped: join again from the last position.
            if (this.state === 'joined') this._connected();
        } finally {
            this.#reading = false;
            if (this.state === 'joined') this.#advance();
        }
    }

    /** The log did not hold what comes next: that part is gone. */
    #ownGap(page) {
        const known = [...this.#early.values()].map((message) => message.position);
        const first = known.sort((a, b) => seqOf(a) - seqOf(b))[0];
        if (first) return readGap({ after: this.position, before: first });
        const here = parsePosition(this.position);
        const end = parsePosition(page.newest) ?? { epoch: here?.epoch ?? 0, seq: this.#target };
        return readGap({ after: this.position, before: `${end.epoch}-${Math.max(end.seq, this.#target) + 1}` });
    }

    #presence(frame) {
        const joined = frame.joined ?? [];
        const left = frame.left ?? [];
        const before = this.count;
        this.count = frame.count ?? before;
        if (joined.length === 0 && left.length === 0 && this.count !== before) this.members = null;
        for (const user of joined) this.members?.set(user, this.members.get(user) ?? []);
        for (const user of left) this.members?.delete(user);
        this._emit('presence', { joined, left, count: this.count });
        if (this.members && this.members.size !== this.count) this.#readMembers();
    }

    /** The names do not add up to the count: something was missed, so the roster is read. */
    async #readMembers() {
        if (this.#readingMembers) return;
        this.#readingMembers = true;
        try {
            const page = await this.roster();
            if (this.state !== 'joined' || page.cursor) return;
            this.members = new Map(page.members.map((member) => [member.user, member.devices]));
            this.count = page.count;
            this._emit('presence', { joined: [], left: [], count: this.count });
        } catch {
            // The next change of presence, or the next join, tries again.
        } finally {
            this.#readingMembers = false;
        }
    }

    #message(frame) {
        const { position, user, at, text, data, key } = frame;
        const seq = seqOf(position);
        return { room: this.name, position, seq, user, at, text, data, key, mine: user === this.#client.user };
    }
}

function readURL(url, options) {
    const page = globalThis.location?.href;
    let result;
    try {
        result = new URL(url ?? '/ws', page?.startsWith('http') ? page : undefined);
    } catch {
        throw new MartletError('badArgument', 'the node\'s URL cannot be read: it must be like ws://localhost:8080/ws');
    }
    if (!/^(ws|http)s?:$/.test(result.protocol)) {
        const message = `the node's URL begins with ${result.protocol}, not with ws:, wss:, http: or https:`;
        throw new MartletError('badArgument', message);
    }
    if (result.protocol.startsWith('http') && result.pathname === '/') result.pathname = '/ws';
    result.protocol = result.protocol.replace('http', 'ws');
    result.hash = '';
    for (const [name, value] of Object.entries(options.query)) result.searchParams.set(name, value);
    if (options.user !== undefined) result.searchParams.set('user', options.user);
    if (options.device !== undefined) result.searchParams.set('device', options.device);
    return result;
}

function closeError(event) {
    const known = CLOSE_CODES[event.code];
    if (known) {
        const message = event.reason && event.reason !== known.name ? event.reason : `the node closed: ${known.name}`;
        return new MartletError(known.name, message, { code: event.code, retry: known.reconnect });
    }
    if (event.refusal) return wireError(event.refusal);
    const why = event.reason ? `: ${event.reason}` : '';
    return new MartletError('unreachable', `the connection was lost (${event.code})${why}`, { retry: true });
}

function wireError(frame, room) {
    return new MartletError(frame.name ?? 'error', frame.message ?? 'the node gave no reason', {
        code: frame.code, retry: frame.retry ?? false, room: frame.room ?? room,
    });
}

function readGap(gap) {
    return { after: gap.after, before: gap.before, missing: seqOf(gap.before) - seqOf(gap.after) - 1 };
}

function seqOf(position) {
    return parsePosition(position)?.seq ?? 0;
}

function positionBefore(position) {
    const place = parsePosition(position);
    return place ? `${place.epoch}-${Math.max(0, place.seq - 1)}` : position;
}

/** Half of a surrogate pair has no UTF-8: it is sent as U+FFFD. */
function wellFormed(text) {
    return typeof text?.toWellFormed === 'function' ? text.toWellFormed() : text;
}

/**
 * The part of a WebSocket that this module needs, over node:net, for Node before 22, which brings no WebSocket class.
 * RFC 6455: masked frames (5.3), fragments (5.4), control frames (5.5), the closing handshake (7.1).
 */
export class NodeSocket {
    /** @type {((event: { data: string }) => void) | null} */
    onmessage = null;
    /** @type {((event: { code: number, reason: string, status?: number, refusal?: any }) => void) | null} */
    onclose = null;
    /** @type {(() => void) | null} Never called: `onclose` tells all. */
    onerror = null;
    /** @type {any} A node:net socket. */
    #tcp = null;
    /** @type {any} A Buffer. */
    #bytes = null;
    #parts = [];
    #partsLength = 0;
    #opened = false;
    #closed = false;
    /** @type {any} node:crypto. */
    #crypto = null;

    /** @param {string} url @param {string[]} protocols */
    constructor(url, protocols) {
        this.#start(new URL(url), protocols).catch((error) => this.#end(1006, error.message));
    }

    send(text) {
        if (this.#opened && !this.#closed) this.#write(0x1, Buffer.from(text));
    }

    close(code = 1000) {
        if (this.#opened && !this.#closed) {
            const body = Buffer.alloc(2);
            body.writeUInt16BE(code);
            this.#write(0x8, body);
        }
        this.#end(code, '');
    }

    async #start(url, protocols) {
        const secure = url.protocol === 'wss:';
        const { connect: dial } = await import(secure ? 'node:tls' : 'node:net');
        this.#crypto = await import('node:crypto');
        if (this.#closed) return;
        this.#bytes = Buffer.alloc(0);
        const host = url.hostname.replace(/^\[|\]$/g, '');
        const port = Number(url.port) || (secure ? 443 : 80);
        const tcp = dial({ host, port, ...(secure && !/^[\d.]+$|:/.test(host) ? { servername: host } : {}) });
        this.#tcp = tcp;
        const key = this.#crypto.randomBytes(16).toString('base64');
        tcp.setNoDelay(true);
        tcp.once(secure ? 'secureConnect' : 'connect', () => tcp.write([
            `GET ${url.pathname}${url.search} HTTP/1.1`, `Host: ${url.host}`,
            'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
            `Sec-WebSocket-Key: ${key}`, `Sec-WebSocket-Protocol: ${protocols.join(', ')}`, '', '',
        ].join('\r\n')));
        tcp.on('data', (chunk) => {
            this.#bytes = this.#bytes.length > 0 ? Buffer.concat([this.#bytes, chunk]) : chunk;
            if (!this.#opened) this.#handshake(key);
            while (this.#opened && !this.#closed && this.#frame());
        });
        tcp.on('error', (error) => this.#end(1006, error.message));
        tcp.on('close', () => this.#end(1006, ''));
    }

    #handshake(key) {
        const end = this.#bytes.indexOf('\r\n\r\n');
        if (end < 0) return;
        const head = this.#bytes.subarray(0, end).toString('latin1');
        this.#bytes = this.#bytes.subarray(end + 4);
        const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
        const accept = /^sec-websocket-accept:[ \t]*(\S+)/im.exec(head)?.[1];
        const salted = `${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
        const wanted = this.#crypto.createHash('sha1').update(salted).digest('base64');
        if (status === 101 && accept === wanted) this.#opened = true;
        else if (status === 101) this.#end(1006, 'the answer to the handshake is not to ours');
        else this.#end(1006, `HTTP ${status}`, status, this.#bytes.toString());
    }

    /** Reads one frame; false if it is not there yet. */
    #frame() {
        const bytes = this.#bytes;
        if (bytes.length < 2) return false;
        const short = bytes[1] & 0x7f;
        const start = short === 127 ? 10 : short === 126 ? 4 : 2;
        if (bytes.length < start) return false;
        const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
        if ((bytes[1] & 0x80) !== 0 || (bytes[0] & 0x70) !== 0 || length + this.#partsLength > 64 << 20) {
            this.close(1002);
            return false;
        }
        if (bytes.length < start + length) return false;
        const body = bytes.subarray(start, start + length);
        this.#bytes = bytes.subarray(start + length);
        this.#handle(bytes[0] & 0x0f, (bytes[0] & 0x80) !== 0, body);
        return true;
    }

    #handle(opcode, last, body) {
        if (opcode === 0x8) {
            const code = body.length >= 2 ? body.readUInt16BE(0) : 1005;
            this.#write(0x8, body.subarray(0, 2));
            this.#end(code, body.subarray(2).toString());
        } else if (opcode === 0x9) {
            this.#write(0xa, body);
        } else if (opcode <= 0x2) {
            this.#parts.push(body);
            this.#partsLength += body.length;
            if (!last) return;
            const text = Buffer.concat(this.#parts).toString();
            this.#parts = [];
            this.#partsLength = 0;
            this.onmessage?.({ data: text });
        }
    }

    #write(opcode, body) {
        const wide = body.length > 0xffff ? 8 : body.length > 125 ? 2 : 0;
        const frame = Buffer.alloc(6 + wide + body.length);
        frame[0] = 0x80 | opcode;
        frame[1] = 0x80 | (wide === 8 ? 127 : wide === 2 ? 126 : body.length);
        if (wide === 8) frame.writeBigUInt64BE(BigInt(body.length), 2);
        if (wide === 2) frame.writeUInt16BE(body.length, 2);
        const mask = this.#crypto.randomBytes(4);
        mask.copy(frame, 2 + wide);
        for (let i = 0; i < body.length; i += 1) frame[6 + wide + i] = body[i] ^ mask[i & 3];
        this.#tcp.write(frame);
    }

    /** @param {number} code @param {string} reason @param {number} [status] @param {string} [body] */
    #end(code, reason, status, body = '') {
        if (this.#closed) return;
        this.#closed = true;
        this.#tcp?.end();
        const tcp = this.#tcp;
        if (tcp) /** @type {any} */ (setTimeout(() => tcp.destroy(), 1_000)).unref();
        const names = { 400: 'badRequest', 401: 'unauthenticated', 403: 'forbidden' };
        let refusal = status !== undefined && names[status] && { name: names[status], message: reason };
        // A node says why, in the words of its errors; a proxy may say anything.
        if (refusal) try { Object.assign(refusal, JSON.parse(body).error); } catch { /* It is no JSON. */ }
        this.onclose?.({ code, reason, status, refusal });
    }
}
