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
 * with the same key, notices within ten seconds that a node does not answer, and settles every promise.
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
 * connection, and again before the token expires: then the session goes on with the new one.
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
 * @property {('websocket' | 'events')[]} [transports] How to connect: by a WebSocket, or by an event stream and HTTP
 *     requests. With both, which is the default, a stream is used when WebSockets do not come about, and the client goes back
 *     to a WebSocket when one does.
 * @property {number} [fallbackAfter] Attempts in a row without a welcome after which the other way is tried. Default 3.
 * @property {any} [WebSocket] A WebSocket class to use instead of the platform's.
 * @property {any} [fetch] A function to use instead of the platform's `fetch`; needed for event streams if there is a
 *     WebSocket class too.
 * @property {Clock} [clock] For tests.
 * @property {() => number} [random] For tests: 0 ≤ random() < 1.
 */
/**
 * @typedef {object} Clock
 * @property {() => number} now Ms, never going back.
 * @property {(action: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} [date] Ms since 1970; `Date.now` otherwise.
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
 * @property {boolean} live Whether it was said while this client was in the room. False of what `history` and `after`
 *     asked for, of what was missed while the connection was away, and of what `room.history` reads.
 * @property {string} [thread] The position of the message that it replies to.
 * @property {string[]} [mentions] The users whom its sender named.
 * @property {{ version: number, by: string, at: string }} [edited] `version`: how often it was edited.
 * @property {{ by: string, at: string }} [deleted] Then it has neither text nor data.
 * @property {Record<string, Reaction>} [reactions] By emoji.
 * @property {{ by: string, at: string }} [pinned]
 * @property {number} [replies] How many messages have it as their `thread`.
 */
/** @typedef {{ count: number, users: string[] }} Reaction `users`: the first of those who reacted, not always all. */
/**
 * @typedef {object} Change What somebody did about an earlier message, and what the message is after it.
 * @property {string} room
 * @property {string} position The place of the change itself in the room's log.
 * @property {string} of The position of the message.
 * @property {string} operation `edit`, `delete`, `react`, `unreact`, `pin`, `unpin`, or what newer nodes add.
 * @property {string} user Who did it.
 * @property {string} at
 * @property {string} [text] Of an edited message.
 * @property {any} [data]
 * @property {Message['edited']} [edited]
 * @property {Message['deleted']} [deleted]
 * @property {Message['reactions']} [reactions] The reaction that was given or taken back, by its emoji; a `count` of 0 if
 *     nobody reacts so any more.
 * @property {Message['pinned'] | null} [pinned]
 * @property {Message | null} message The message as it is now: the same object that was passed on before. Null if the room
 *     object does not know it any more; then give what you have of it to `applyChange`.
 */
/**
 * @typedef {{ position: string, repeated: boolean, unchanged: boolean }} Amended `position`: of the change. `unchanged`: the
 *     message was so already, and nothing was stored.
 */
/** @typedef {'direct' | 'group'} ConversationKind */
/** @typedef {'owner' | 'moderator' | 'member'} Role */
/** @typedef {'all' | 'mentions' | 'none'} NotificationLevel */
/**
 * @typedef {object} Participant
 * @property {string} user
 * @property {Role} role
 * @property {string} [since] RFC 3339.
 * @property {NotificationLevel} [notify] One's own only.
 * @property {string | null} [read] Up to where this participant has read.
 */
/** @typedef {{ room: string, kind: ConversationKind, changed: boolean }} Conversation `changed`: false if it was so before. */
/**
 * @typedef {object} InboxEntry One of your conversations.
 * @property {string} room
 * @property {ConversationKind} kind
 * @property {string[]} users Of a direct conversation: the other one.
 * @property {Role} role Yours.
 * @property {NotificationLevel} notify
 * @property {{ position: string, user: string, at: string, text?: string } | null} last The newest message.
 * @property {number} unread
 * @property {string | null} read Up to where you have read.
 */
/**
 * @typedef {object} Head What is newest in a room that you watch.
 * @property {string} room
 * @property {string} [position] Not of a room in which nothing was said.
 * @property {string} [user]
 * @property {string} [at]
 * @property {string} [text] Its beginning.
 * @property {number} [unread]
 */
/**
 * @typedef {object} Notice Something for you, on whatever device and in whatever room.
 * @property {'read' | 'invited' | 'removed' | 'mentioned'} kind `read`: you have read on another device.
 * @property {string} room
 * @property {string} [position]
 * @property {number} [unread]
 * @property {string} [by]
 */
/**
 * @typedef {object} Star A message that you starred, as it was then: it is kept when the room's log no longer holds it.
 * @property {string} room
 * @property {string} position
 * @property {string} user
 * @property {string} at
 * @property {string} [text]
 * @property {any} [data]
 */
/** @typedef {{ position: string, at: string, repeated: boolean }} Sent `repeated`: an earlier try had stored it. */
/** @typedef {{ user: string, devices: string[] }} Member */
/**
 * @typedef {object} Gap Messages that the room's log no longer holds: those after `after` and before `before`.
 * @property {string} after
 * @property {string} before
 * @property {number} missing How many.
 */
/** @typedef {{ position: string, reason: string }} Reset All that you have of the room is void; it goes on at `position`. */
/** @typedef {{ user: string, role?: Role, joined?: true, left?: true }} ParticipantChange `role`: the new one, unless left. */
/**
 * @typedef {object} Rules How a room works for everybody but its moderators.
 * @property {number} slowMode Ms between two messages of a user; 0: none.
 * @property {number} uniqueFor Ms in which a user may not repeat a message; 0: none.
 * @property {'open' | 'moderators'} posting Who may send messages.
 * @property {boolean} frozen Whether only moderators may send messages for now.
 * @property {'participants'} [members] Only participants may be in the room. Missing: everybody may.
 */
/**
 * @typedef {object} Sanction What a moderator imposed on a user of the room, or lifted.
 * @property {'ban' | 'mute' | 'unban' | 'unmute'} kind
 * @property {string} user
 * @property {string} [until] RFC 3339; without it there is no end.
 * @property {string} [reason] Not of what was lifted.
 */
/** @typedef {'ban' | 'kick' | 'mute' | 'unban' | 'unmute' | 'slow' | 'unique' | 'posting' | 'freeze' | 'thaw' | 'members'} Operation */
/**
 * @typedef {object} Joined
 * @property {string} position The room's newest message.
 * @property {boolean} first Whether it is this room object's first time, not a return after a lost connection.
 * @property {boolean} resumed Whether nothing is missing since the last message shown.
 * @property {number} missed How many messages came meanwhile and are shown now (those of the first page).
 * @property {number} recent How many earlier messages are shown now, because `history` asked for them: never more than
 *     the node's `limits.historyPage`.
 * @property {Gap} [gap]
 * @property {Reset} [reset]
 * @property {number} count Members.
 */
/**
 * @typedef {'connecting' | 'online' | 'unsure' | 'offline' | 'closed'} ClientState `unsure`: there is a connection, but the
 *     node has not answered for some seconds; it was asked, and is left if it does not answer that either. `offline`: the
 *     client will try again after a wait. `closed`: it will not.
 */
/**
 * @typedef {'joining' | 'joined' | 'offline' | 'removed' | 'left' | 'failed'} RoomState `removed`: a moderator banned you
 *     for a while; the room is joined again when that is over.
 */
/** @typedef {'websocket' | 'events'} Transport */
/**
 * @typedef {object} ClientEvents
 * @property {{ state: ClientState, attempt: number, delay: number, error: MartletError | null, transport: Transport }} state
 *     `delay`: ms until the next try.
 * @property {any} welcome The node's frame.
 * @property {{ reconnectAfter: number }} draining The node leaves; this client moves after so many ms.
 * @property {MartletError} error What no promise tells of: a refused signal, a frame that cannot be read.
 * @property {MartletError} closed It will not come back: `close` was called, or the node does not want this client.
 * @property {Head} head The newest of a room that is watched, at most once a second.
 * @property {Notice} notice
 */
/**
 * @typedef {object} RoomEvents
 * @property {Joined} joined At each return too.
 * @property {Message} message
 * @property {Gap} gap
 * @property {Reset} reset
 * @property {{ joined: string[], left: string[], count: number }} presence How `members` changed (of a large room only
 *     `count` did), after each `joined` too.
 * @property {{ user: string, name: string, data?: any }} signal
 * @property {Change} changed In its place among the messages.
 * @property {{ reads: Record<string, string> }} receipts Whose read positions have changed: user to position.
 * @property {{ changes: ParticipantChange[], hasMore: boolean }} participants Who belongs to the room has changed, or in
 *     which role. `hasMore`: in more than is told.
 * @property {Rules} rules The room's rules have changed.
 * @property {Sanction} sanction
 * @property {MartletError} removed You may not be here before its `until`; then the room is joined again.
 * @property {RoomState} state
 * @property {MartletError} failed It is over.
 */

/** The codes of errors that this module makes itself; the node's are 100–500 (see its protocol). */
const LOCAL_CODES = {
    timeout: 900, closed: 901, queueFull: 902, left: 903, aborted: 904, badArgument: 905, unreadable: 906,
    unreachable: 907,
};

/**
 * Ms without a word of the node, after something was asked of it: then it is asked whether it is there; after so many
 * more it is doubted (`unsure`), and left.
 */
const ASK_AFTER = 4_000;
const DOUBT_AFTER = 1_500;
const LEAVE_AFTER = 4_000;
/** A token is renewed when a tenth of its time is left, but not later than these ms before its end. */
const RENEW_BEFORE = 30_000;
/** Ms until a token that could not be had, or was refused, is asked for again. */
const RENEW_AGAIN = 5_000;
/** What may be sent as a WebSocket's subprotocol (RFC 9110, "token"). */
const PLAIN = /^[\w!#$%&'*+.^`|~-]+$/;
/** In a room of so few a node names people: if it does not, the session was behind, and the roster is read. */
const FEW = 50;
/** A ban that lasts no longer is waited for (ms); and how much later the room is joined at least and at most. */
const WAIT_FOR_BAN = 86_400_000;
const RETURN_AFTER = 500;
const RETURN_SPREAD = 1_500;
/** @type {Readonly<Rules>} */
const NO_RULES = Object.freeze({ slowMode: 0, uniqueFor: 0, posting: 'open', frozen: false });
/**
 * While an event stream is used: ms until a WebSocket is tried, at first and at most. Each time that none comes about the
 * wait is doubled.
 */
const WEBSOCKET_AGAIN = 5_000;
const WEBSOCKET_AGAIN_CAP = 3_600_000;
/** Ms without a byte of an event stream after which its node is not taken to be there. */
const STREAM_SILENCE = 20_000;
/** Ms that a message which was stored may take to come by the stream, before it is read. */
const STREAM_LAG = 3_000;
/** A read position is told at most once in so many ms. */
const READ_EVERY = 1_000;
/** Messages that a room object knows, to say what they are after a change; and changes, for pages that were read before. */
const REMEMBERED = 1_000;
const REMEMBERED_CHANGES = 200;
/** Rooms and users that one request may name. */
const NAMED = 100;
/** Bytes of a request for each of which another ms is granted: a slow line is not a dead one. */
const BYTES_PER_MS = 16;

/** The close codes of Martlet nodes, and whether to come back by oneself. Other codes: come back. */
export const CLOSE_CODES = /** @type {Readonly<Record<number, { name: string, reconnect: boolean, why: string }>>} */ (Object.freeze({
    4000: { name: 'draining', reconnect: true, why: 'it is leaving' },
    4001: { name: 'slow', reconnect: true, why: 'this client did not read what it was sent' },
    4002: { name: 'unauthenticated', reconnect: false, why: 'it does not take this user or token' },
    4003: { name: 'nodeFull', reconnect: true, why: 'it has as many sessions as it may have' },
    4004: { name: 'tooManySessions', reconnect: false, why: 'this user has as many sessions as one may have' },
    4005: { name: 'abuse', reconnect: false, why: 'too many requests, or frames that could not be read' },
    4006: { name: 'heartbeatMissed', reconnect: true, why: 'its pings were not answered' },
    4007: { name: 'ended', reconnect: false, why: 'an operator ended the session' },
    4008: { name: 'internalError', reconnect: true, why: 'a fault in the node' },
    4009: { name: 'badName', reconnect: false, why: 'the name of the user, device or room breaks the rules of names' },
    4010: { name: 'forbidden', reconnect: false, why: 'this client may have no session here' },
    4011: { name: 'expired', reconnect: true, why: 'the token has expired' },
    4012: { name: 'revoked', reconnect: false, why: 'the token was revoked' },
    4013: { name: 'banned', reconnect: false, why: 'this user is banned' },
}));

/** Why something failed: what every promise of this module rejects with. */
export class MartletError extends Error {
    /**
     * @param {string} reason The stable name: the node's (`notJoined`, `rateLimited`, `unavailable`,
     *     `outcomeUnknown`, `notStored`, …), a close code's, or one of this module's: `timeout`, `closed`,
     *     `queueFull`, `left`, `aborted`, `badArgument`, `unreadable`, `unreachable`.
     * @param {string} message A sentence for a developer.
     * @param {{ code?: number, retry?: boolean, room?: string, key?: string, since?: string | null,
     *     stored?: boolean, until?: string }} [more]
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
        /** Before that time (RFC 3339) the same would be refused again. Of a ban or a mute without it: there is no end. */
        this.until = more.until;
    }
}

/**
 * Reads `<epoch>-<seq>`. Null for anything else, numbers that no node makes (over 2⁵³) included.
 * @param {unknown} text
 * @returns {{ epoch: number, seq: number } | null}
 */
export function parsePosition(text) {
    const match = typeof text === 'string' ? /^(\d{1,20})-(\d{1,20})$/.exec(text) : null;
    const [epoch, seq] = match ? [Number(match[1]), Number(match[2])] : [NaN, NaN];
    return Number.isSafeInteger(epoch) && Number.isSafeInteger(seq) ? { epoch, seq } : null;
}

/**
 * Makes a message what it is after a change, in place, and returns it.
 * @param {Message} message
 * @param {Partial<Change>} change
 */
export function applyChange(message, change) {
    const { operation, deleted } = change;
    if (message.deleted) return message;
    if (deleted) {
        Object.assign(message, { text: undefined, data: undefined, deleted });
        for (const name of ['edited', 'reactions', 'pinned', 'mentions']) delete message[name];
        return message;
    }
    if (operation === 'edit') Object.assign(message, { text: change.text, data: change.data });
    if (change.edited) message.edited = change.edited;
    if (operation === 'unpin') delete message.pinned;
    else if (change.pinned) message.pinned = change.pinned;
    // Only the reactions that changed are named.
    const reactions = Object.entries({ ...message.reactions, ...change.reactions }).filter(([, { count }]) => count > 0);
    if (reactions.length > 0) message.reactions = Object.fromEntries(reactions);
    else delete message.reactions;
    return message;
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
     * @param {(event: Events[Type]) => void} listener @returns {() => void}
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
     * @param {(event: Events[Type]) => void} listener @returns {() => void}
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

/** Requests that may be asked again on another connection, until they are answered or their time is over. */
class Requests {
    #client;
    #notNow;
    #waiting = [];

    /**
     * @param {Client} client
     * @param {(frame: any) => boolean} notNow Told a refusal. Whether the request stays: then `pump` is called later.
     */
    constructor(client, notNow) {
        this.#client = client;
        this.#notNow = notNow;
    }

    /**
     * @param {Record<string, any>} fields
     * @param {{ what: string, room?: string, timeout?: number }} options `what`: for errors.
     * @returns {Promise<any>} The frame that answers it.
     */
    add(fields, { what, room, timeout = this.#client._options.requestTimeout }) {
        /** @type {any} */
        const request = Object.assign(new Deferred(), { fields, what, room, written: false, error: null });
        request.ends = this.#client._clock.now() + timeout;
        request.settle = (error, frame) => {
            if (request.settled) return;
            this.#client._clock.clearTimeout(request.timer);
            this.#waiting.splice(this.#waiting.indexOf(request), 1);
            if (error) request.reject(error);
            else request.resolve(frame);
        };
        const late = new MartletError('timeout', `${what}: no answer in time`, { retry: true, room, key: fields.key });
        request.timer = this.#client._clock.setTimeout(() => request.settle(request.error ?? late), timeout);
        this.#waiting.push(request);
        return request.promise;
    }

    /** Writes what is not written on this connection. False if the node's rate does not allow all of it now. */
    pump() {
        for (const request of [...this.#waiting]) {
            if (request.written) continue;
            if (!this.#client._take()) return false;
            request.written = true;
            if (!this.#client._request(request.fields, (frame) => this.#answered(request, frame))) {
                this.#answered(request, { type: 'error', ...this.#client._tooLong() });
            }
        }
        return true;
    }

    /** The connection has gone. */
    disconnected() {
        for (const request of this.#waiting) request.written = false;
    }

    /** @param {MartletError} error */
    fail(error) {
        for (const request of [...this.#waiting]) request.settle(error);
    }

    #answered(request, frame) {
        if (request.settled) return;
        if (frame.type !== 'error') {
            request.settle(null, frame);
            return;
        }
        request.error = wireError(frame, request.room, request.what, request.fields.key);
        const wait = timeTo(frame.until, this.#client._clock) ?? 0;
        if (this.#client._clock.now() + wait < request.ends && this.#notNow(frame)) request.written = false;
        else request.settle(request.error);
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
    /** @type {Transport} How this client is connected, or tries to. */
    transport = 'websocket';

    /** Attempts without a welcome since a WebSocket was welcomed, but not more than needed since a stream was. */
    #missed = 0;
    /** @type {any} A WebSocket that is tried while a stream is used. */
    #probe = null;
    #probeTimer = null;
    #probeWait = WEBSOCKET_AGAIN;
    #url;
    #ready = new Deferred();
    #readyTimer;
    /** @type {any} A WebSocket, or what stands for one. */
    #socket = null;
    /**
     * What waits for an answer on this connection, oldest first: ref → what to do with the answer; when it was asked, and
     * how many ms more it may take for its length.
     * @type {Map<number, { answered: (frame: any) => void, at: number, extra: number }>}
     */
    #answers = new Map();
    /** The same of requests that are answered only if they fail: the newest few. @type {Map<number, (frame: any) => void>} */
    #unacknowledged = new Map();
    #lastRef = 0;
    #attempt = 0;
    #retryTimer = null;
    #connectTimer = null;
    #lookTimer = null;
    #stableTimer = null;
    #drainTimer = null;
    #pumpTimer = null;
    #tokenTimer = null;
    #heartbeat = 30_000;
    /** When the node was heard last, and when this connection began. */
    #heard = 0;
    #since = 0;
    /** @type {number | null} When a ping went out, if nothing was heard since. */
    #pinged = null;
    /** When the silence is looked at next; and whether that was put off because this page itself was late. */
    #lookAt = Infinity;
    #excused = false;
    /** How many connections in a row were left for their silence: each gives the next one twice the time. */
    #silences = 0;
    /** @type {MartletError | null} Why the last connection was lost. */
    #why = null;
    #tokens = { left: 50, at: 0, rate: 50, burst: 50 };
    #wake = () => this.wake();
    /** Requests that need no room to be joined. */
    #requests = new Requests(this, (frame) => frame.retry && this.#askLater());
    #askTimer = null;
    #askTries = 0;
    /** @type {Set<string>} Rooms whose heads are told. */
    #watched = new Set();

    /** @param {string | URL | undefined} url @param {ConnectOptions} options */
    constructor(url, options) {
        super();
        /** @internal */
        this._options = {
            sendTimeout: 60_000, requestTimeout: 20_000, connectTimeout: 10_000, maxUnsent: 500, window: 32, query: {},
            transports: ['websocket', 'events'], fallbackAfter: 3, random: Math.random, clock: systemClock, ...options,
            backoff: { base: 500, cap: 20_000, ...options.backoff },
        };
        /** @internal @type {Clock} */
        this._clock = this._options.clock;
        this.#url = readURL(url, this._options);
        this.user = options.user ?? '';
        this.device = options.device ?? '';
        this.#readyTimer = this._clock.setTimeout(() => {
            const why = this.#why ? `; at last: ${this.#why.message}` : '';
            this.#ready.reject(new MartletError('timeout', `no node answered in time, still trying${why}`, { retry: true }));
        }, this._options.requestTimeout);
        globalThis.addEventListener?.('online', this.#wake);
        globalThis.document?.addEventListener('visibilitychange', this.#wake);
        this.#open();
    }

    /**
     * Resolves at the node's first welcome. Rejects after `requestTimeout` (it goes on trying) or when it is closed.
     * @returns {Promise<Client>}
     */
    get ready() {
        return this.#ready.promise;
    }

    /**
     * Enters a room and stays in it, over reconnects too, until `leave`. Returns at once: await `room.ready` if you
     * need to know. A room that you are in already is returned as it is.
     * @param {string} name
     * @param {{ after?: string, history?: number }} [options] `after`: the last position that you have, of an earlier
     *     time; what came since is shown, or `reset` is told if the room does not know it. `history`: without `after`, and
     *     after a `reset`, how many recent messages to show first: 0 if you do not say, one page at most.
     * @returns {Room}
     */
    join(name, options = {}) {
        const { after, history = 0 } = options;
        const refuse = (reason, message) => { throw new MartletError(reason, `join: ${message}`, { room: name }); };
        if (typeof name !== 'string' || name === '') refuse('badArgument', 'the room has no name');
        if (after !== undefined && !parsePosition(after)) {
            refuse('badArgument', `after is no position: it must be like 1700000000000-42, not ${after}`);
        }
        if (!Number.isInteger(history) || history < 0) {
            refuse('badArgument', `history must be a whole number from 0 on, not ${history}`);
        }
        if (this.state === 'closed') refuse('closed', 'the client is closed');
        const known = this.rooms.get(name);
        if (known) return known;
        const room = new Room(this, name, options);
        this.rooms.set(name, room);
        if (this.#isUp) room._connected();
        return room;
    }

    /**
     * Begins, or finds, the conversation of you and one other user: it is one room, whoever begins it. Join its `room`.
     * @param {string} user @returns {Promise<Conversation>}
     */
    direct(user) {
        return this.conversation('direct', { user });
    }

    /**
     * Makes a room a group: you are its owner, and `users` are its first members.
     * @param {string} room
     * @param {string[]} [users]
     * @returns {Promise<Conversation>}
     */
    createGroup(room, users = []) {
        return this.conversation('create', { room, users, kind: 'group' });
    }

    /**
     * Nothing comes to you from this user in direct conversations any more.
     * @param {string} user
     */
    block(user) {
        return this.conversation('block', { user });
    }

    /**
     * Takes back a block: what this user says in direct conversations comes to you again.
     * @param {string} user
     */
    unblock(user) {
        return this.conversation('unblock', { user });
    }

    /**
     * Whom you have blocked.
     * @returns {Promise<string[]>}
     */
    async blocked() {
        const frame = await this.#ask({ type: 'conversation', operation: 'blocked' }, 'conversation blocked');
        return frame.users ?? [];
    }

    /**
     * Changes who belongs to a conversation, whether you have joined its room or not. A room object has a method for each
     * operation on its own conversation.
     * @param {'direct' | 'create' | 'invite' | 'leave' | 'remove' | 'role' | 'notify' | 'block' | 'unblock'} operation
     * @param {{ room?: string, user?: string, users?: string[], kind?: ConversationKind, role?: Role,
     *     level?: NotificationLevel }} [fields]
     * @returns {Promise<Conversation>}
     */
    async conversation(operation, fields = {}) {
        const { room, user, users, kind, role, level } = fields;
        const request = { type: 'conversation', operation, room, user, users, kind, role, level };
        const frame = await this.#ask(request, `conversation ${operation}`, room);
        if (operation === 'create' || operation === 'direct') this.rooms.get(frame.room ?? room)?._invited();
        return { room: frame.room ?? room ?? '', kind: frame.kind ?? null, changed: frame.changed ?? true };
    }

    /**
     * Your conversations, newest first: one page.
     * @param {{ limit?: number, cursor?: string }} [options] `cursor`: what a page before gave. That of the last page (`more`
     *     is false) reads what has changed since then.
     * @returns {Promise<{ conversations: InboxEntry[], cursor: string | null, more: boolean }>}
     */
    async inbox(options = {}) {
        const { limit = 50, cursor } = options;
        const frame = await this.#ask({ type: 'inbox', limit, cursor }, 'inbox');
        const conversations = (frame.conversations ?? []).map((entry) => ({
            ...entry, users: entry.users ?? [], last: entry.last ?? null, unread: entry.unread ?? 0, read: entry.read ?? null,
        }));
        return { conversations, cursor: frame.cursor ?? null, more: frame.more ?? false };
    }

    /**
     * Tells `head` of these rooms from now on, over reconnects too, without joining them.
     * @param {string[]} rooms @returns {Promise<void>}
     */
    async watch(rooms) {
        for (const room of rooms) this.#watched.add(room);
        await Promise.all(chunks(rooms).map((some) => this.#ask({ type: 'watch', rooms: some }, 'watch')));
    }

    /**
     * Ends what `watch` began, for these rooms.
     * @param {string[]} rooms @returns {Promise<void>}
     */
    async unwatch(rooms) {
        for (const room of rooms) this.#watched.delete(room);
        await Promise.all(chunks(rooms).map((some) => this.#ask({ type: 'unwatch', rooms: some }, 'unwatch')));
    }

    /**
     * Which of these users have a session on any node.
     * @param {string[]} users @returns {Promise<string[]>}
     */
    async online(users) {
        return (await this.lastSeen(users)).online;
    }

    /**
     * The same, and when others were last here (ISO 8601), as far as they let you see it.
     * @param {string[]} users @returns {Promise<{ online: string[], seen: Record<string, string> }>}
     */
    async lastSeen(users) {
        const frames = await Promise.all(chunks(users).map((some) => this.#ask({ type: 'online', users: some }, 'online')));
        return { online: frames.flatMap((frame) => frame.online ?? []), seen: Object.assign({}, ...frames.map((frame) => frame.seen ?? {})) };
    }

    /**
     * Lets others see when you were last here, or not any more (at first they may not). Without an argument nothing is changed.
     * @param {boolean} [isShown] @returns {Promise<boolean>} Whether they may.
     */
    async showLastSeen(isShown) {
        return (await this.#ask({ type: 'lastSeen', shown: isShown }, 'lastSeen')).shown === true;
    }

    /**
     * Keeps a message for you, with a copy of it.
     * @param {string} room @param {string} position @returns {Promise<boolean>} Whether it is starred now.
     */
    async star(room, position) {
        const frame = await this.#ask({ type: 'star', room, position }, `star in ${room}`, room);
        return frame.starred ?? true;
    }

    /**
     * Takes a star away.
     * @param {string} room @param {string} position @returns {Promise<boolean>} Whether it is starred now.
     */
    async unstar(room, position) {
        const frame = await this.#ask({ type: 'unstar', room, position }, `unstar in ${room}`, room);
        return frame.starred ?? false;
    }

    /**
     * What you starred, newest first: one page.
     * @param {{ limit?: number, cursor?: string }} [options]
     * @returns {Promise<{ stars: Star[], cursor: string | null }>}
     */
    async stars(options = {}) {
        const { limit = 50, cursor } = options;
        const frame = await this.#ask({ type: 'stars', limit, cursor }, 'stars');
        return { stars: frame.stars ?? [], cursor: frame.cursor ?? null };
    }

    /** Ends the session. What is pending fails as `closed`. */
    close() {
        this.#finish(new MartletError('closed', 'this client was closed'), 1000);
    }

    /**
     * Tries at once instead of waiting, or checks the connection. Called by itself when a browser comes online or the
     * page is looked at again; call it when you know better.
     */
    wake() {
        if (this.state === 'offline') {
            this._clock.clearTimeout(this.#retryTimer);
            this.#open();
        } else if (this.#isUp && this.#pinged === null) {
            this.#ping();
        }
    }

    /**
     * Asks for something that belongs to no joined room.
     * @param {any} fields @param {string} what @param {string} [room]
     */
    #ask(fields, what, room) {
        if (this.state === 'closed') return Promise.reject(new MartletError('closed', `${what}: the client is closed`, { room }));
        const answer = this.#requests.add(fields, { what, room });
        this.#pumpRequests();
        return answer;
    }

    #pumpRequests() {
        if (this.#isUp) this.#requests.pump();
    }

    /** The node said "not now" to a request: waits longer each time. */
    #askLater() {
        const { random, backoff } = this._options;
        const wait = (0.5 + random() / 2) * Math.min(5_000, backoff.base * 2 ** this.#askTries);
        this.#askTries += 1;
        this._clock.clearTimeout(this.#askTimer);
        this.#askTimer = this._clock.setTimeout(() => this.#pumpRequests(), wait);
        return true;
    }

    /** Whether the node said welcome and the connection is there. */
    get #isUp() {
        return this.state === 'online' || this.state === 'unsure';
    }

    #setState(state, more = {}) {
        this.state = state;
        this._emit('state', { state, attempt: this.#attempt, delay: 0, error: null, transport: this.transport, ...more });
    }

    #open() {
        this.transport = this.#chooseTransport();
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

    /** The function for event streams; null if there can be none. */
    get #fetch() {
        const { fetch, transports, WebSocket } = this._options;
        if (!transports.includes('events')) return null;
        return fetch ?? (WebSocket ? null : globalThis.fetch?.bind(globalThis)) ?? null;
    }

    /** @returns {Transport} */
    #chooseTransport() {
        const { transports, fallbackAfter } = this._options;
        if (this.#fetch === null) return 'websocket';
        if (!transports.includes('websocket')) return 'events';
        const turn = this.#missed - fallbackAfter;
        return turn >= 0 && turn % 2 === 0 ? 'events' : 'websocket';
    }

    #dial(token) {
        let socket;
        try {
            socket = this.transport === 'events' ? this.#openStream(token) : this.#openWebSocket(token);
        } catch (error) {
            const { message } = /** @type {Error} */ (error);
            this.#finish(new MartletError('badArgument', `the node's URL cannot be used: ${message}`));
            return;
        }
        this.#use(socket);
        this.#connectTimer = this._clock.setTimeout(
            () => this.#lost(this.#trouble('timeout', 'did not say welcome in time')),
            this._options.connectTimeout,
        );
    }

    #use(socket) {
        this.#socket = socket;
        socket.onmessage = (event) => { if (this.#socket === socket) this.#receive(event.data); };
        socket.onclose = (event) => { if (this.#socket === socket) this.#lost(this.#closeError(event), event); };
        socket.onerror = () => {};
    }

    #openWebSocket(token) {
        const url = new URL(this.#url);
        const protocols = ['martlet.v1'];
        // As a subprotocol it is in no log of a proxy; the node does not send it back.
        if (token && PLAIN.test(token)) protocols.push(`bearer.${token}`);
        else if (token) url.searchParams.set('token', token);
        const Socket = this._options.WebSocket ?? globalThis.WebSocket ?? NodeSocket;
        return new Socket(url.href, protocols);
    }

    #openStream(token) {
        return new StreamSocket(this.#url.href, { token, fetch: this.#fetch, clock: this._clock });
    }

    /** Tries a WebSocket after a while, beside the stream that is used. */
    #probeLater() {
        this._clock.clearTimeout(this.#probeTimer);
        if (!this._options.transports.includes('websocket')) return;
        const wait = this.#probeWait;
        this.#probeWait = Math.min(wait * 2, WEBSOCKET_AGAIN_CAP);
        this.#probeTimer = this._clock.setTimeout(() => this.#tryWebSocket(), wait);
    }

    #tryWebSocket() {
        const used = this.#socket;
        const { token } = this._options;
        Promise.resolve().then(typeof token === 'function' ? token : () => token).then((fresh) => {
            if (this.#socket !== used || this.transport !== 'events') return;
            const probe = (this.#probe = this.#openWebSocket(fresh));
            const failed = () => {
                if (this.#probe !== probe) return;
                this.#dropProbe();
                this.#probeLater();
            };
            probe.onclose = failed;
            probe.onerror = () => {};
            probe.onmessage = (event) => { if (this.#probe === probe) this.#upgrade(probe, event.data); };
            this.#probeTimer = this._clock.setTimeout(failed, this._options.connectTimeout);
        }).catch(() => this.#probeLater());
    }

    /** The WebSocket that was tried takes the place of the stream. `data`: the first frame. */
    #upgrade(probe, data) {
        this.#probe = null;
        this.#drop(1000);
        for (const room of [...this.rooms.values()]) room._disconnected();
        this.transport = 'websocket';
        this.#setState('connecting');
        this.#use(probe);
        this.#receive(data);
    }

    #dropProbe() {
        this._clock.clearTimeout(this.#probeTimer);
        const probe = this.#probe;
        this.#probe = null;
        if (probe === null) return;
        probe.onmessage = probe.onclose = null;
        try { probe.close(1000); } catch { /* It never opened. */ }
    }

    #receive(data) {
        this.#heard = this._clock.now();
        this.#pinged = null;
        this.#excused = false;
        if (this.state === 'unsure') this.#setState('online');
        let frame;
        try {
            frame = JSON.parse(data);
        } catch {
            this._emit('error', this.#trouble('unreadable', 'sent a frame that is no JSON', false));
            return;
        }
        const answered = this.#answers.get(frame.ref)?.answered ?? this.#unacknowledged.get(frame.ref);
        if (frame.type === 'welcome') {
            this.#welcomed(frame);
        } else if (answered) {
            this.#answers.delete(frame.ref);
            answered(frame);
        } else if (frame.type === 'draining') {
            this.#draining(frame);
        } else if (frame.type === 'expiring') {
            this.#renew();
        } else if (frame.type === 'error') {
            // A join that the URL asked for (`query: { room }`) gives way to the room's own.
            const named = this.rooms.get(this.#url.searchParams.get('room') ?? '');
            const superseded = frame.name === 'tooManyWaiting' && frame.ref === undefined && named?.state === 'joining';
            if (!superseded) this._emit('error', wireError(frame));
        } else if (frame.type === 'head') {
            const { room, position, user, at, text, unread } = frame;
            this._emit('head', { room, position, user, at, text, unread });
        } else if (frame.type === 'notice') {
            const { kind, room, position, unread, by } = frame;
            if (kind === 'read') this.rooms.get(room)?._readElsewhere(position, unread);
            if (kind === 'invited') this.rooms.get(room)?._invited();
            this._emit('notice', { kind, room, position, unread, by });
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
        this.#since = this.#heard;
        // A node forgives a burst and then a rate; staying under nine tenths of both, nothing of ours is ever refused.
        const rate = (Number(this.limits.requestsPerSecond) || 100) * 0.9;
        const burst = (Number(this.limits.requestBurst) || 100) * 0.9;
        this.#tokens = { left: burst, at: this.#heard, rate, burst };
        // Only a connection that lasted ends the series of attempts: a node that welcomes and then closes is not
        // hammered.
        this.#stableTimer = this._clock.setTimeout(() => { this.#attempt = 0; }, 5_000);
        if (this.transport === 'events') {
            this.#missed = this._options.fallbackAfter;
            this.#probeLater();
        } else {
            this.#missed = 0;
            this.#probeWait = WEBSOCKET_AGAIN;
        }
        this.#look(this.#heard + this.#heartbeat);
        this.#renewIn(frame.expires);
        this._clock.clearTimeout(this.#readyTimer);
        if (!this.#ready.settled) this.#ready.resolve(this);
        this.#setState('online');
        this._emit('welcome', frame);
        for (const room of [...this.rooms.values()]) if (this.#isUp) room._connected();
        this.#askTries = 0;
        this.#pumpRequests();
        for (const some of chunks([...this.#watched])) this.#ask({ type: 'watch', rooms: some }, 'watch').catch(() => {});
    }

    /** Renews the token before it expires, `expires` seconds from now. */
    #renewIn(expires) {
        this._clock.clearTimeout(this.#tokenTimer);
        if (typeof expires !== 'number' || typeof this._options.token !== 'function') return;
        const ms = expires * 1_000;
        // Timers take 31 bits.
        const wait = Math.min(ms - Math.max(ms / 10, Math.min(RENEW_BEFORE, ms / 2)), 2 ** 31 - 1);
        this.#tokenTimer = this._clock.setTimeout(() => this.#renew(), wait);
    }

    /** Asks the application for a token, and gives it to the node. */
    #renew() {
        this._clock.clearTimeout(this.#tokenTimer);
        const { token } = this._options;
        if (typeof token !== 'function') return;
        const socket = this.#socket;
        const again = (error) => {
            if (this.#socket !== socket || !this.#isUp) return;
            this._emit('error', error);
            this.#tokenTimer = this._clock.setTimeout(() => this.#renew(), RENEW_AGAIN);
        };
        Promise.resolve().then(token).then(
            (fresh) => {
                if (this.#socket !== socket || !this.#isUp) return;
                this._request({ type: 'token', token: fresh }, (frame) => {
                    if (frame.type === 'error') again(wireError(frame, undefined, 'the new token'));
                    else this.#renewIn(frame.expires);
                });
            },
            (error) => {
                const message = `there is no new token: ${error?.message ?? error}`;
                again(new MartletError('unreachable', message, { retry: true }));
            },
        );
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
        if (!this.#isUp) return;
        this.#lost(new MartletError('draining', `the node ${this.node} is leaving`, { code: 4000, retry: true }), null, 0);
    }

    #ping() {
        this.#pinged = this._clock.now();
        this._request({ type: 'ping' }, () => {});
        this.#watch();
    }

    /**
     * Asks a node that is silent for a heartbeat, or for some seconds after a request, whether it is there; doubts it; and
     * leaves it.
     */
    #watch() {
        const now = this._clock.now();
        // What seemed dead may only be slow (a long page over a bad line): then the next try must not fail alike.
        const factor = now - this.#since > 60_000 ? 1 : Math.min(2 ** this.#silences, Math.max(1, this.#heartbeat / ASK_AFTER));
        if (this.#pinged === null) {
            const oldest = this.#answers.values().next().value;
            const asked = oldest ? Math.max(this.#heard, oldest.at) + ASK_AFTER * factor + oldest.extra : Infinity;
            const due = Math.min(this.#heard + this.#heartbeat, asked);
            if (now < due) this.#look(due);
            else this.#ping();
        } else if (now >= this.#pinged + LEAVE_AFTER * factor) {
            this.#silences = factor > 1 ? this.#silences + 1 : 1;
            this.#lost(this.#trouble('timeout', `has been silent for ${Math.round((now - this.#heard) / 1_000)} s`));
        } else if (now >= this.#pinged + DOUBT_AFTER * factor) {
            this.#look(this.#pinged + LEAVE_AFTER * factor);
            if (this.state === 'online') this.#setState('unsure');
        } else {
            this.#look(this.#pinged + DOUBT_AFTER * factor);
        }
    }

    /** Calls `#watch` at this moment. A page that is late itself first reads what came meanwhile, once. */
    #look(at) {
        this._clock.clearTimeout(this.#lookTimer);
        this.#lookAt = at;
        this.#lookTimer = this._clock.setTimeout(() => {
            const now = this._clock.now();
            const late = now - at > 1_000 && !this.#excused;
            this.#excused ||= late;
            if (late) this.#look(now + 1_000);
            else this.#watch();
        }, Math.max(0, at - this._clock.now()));
    }

    /** Something that the node did or did not do. */
    #trouble(reason, what, retry = true) {
        const node = this.node ? `the node ${this.node}` : `the node at ${this.#url.host}`;
        return new MartletError(reason, `${node} ${what}`, { retry });
    }

    #closeError(event) {
        const known = CLOSE_CODES[event.code];
        const said = event.reason && event.reason !== known?.name ? ` (${event.reason})` : '';
        if (known) {
            const error = this.#trouble(known.name, `closed the connection: ${known.why}${said}`, known.reconnect);
            return Object.assign(error, { code: event.code });
        }
        // A code of a newer node: its reason is its name.
        const name = event.code >= 4000 && /^[a-z]\w{0,39}$/i.exec(event.reason)?.[0];
        if (name) return Object.assign(this.#trouble(name, `closed the connection: ${name}`), { code: event.code });
        if (event.refusal) return wireError(event.refusal, undefined, `the node at ${this.#url.host} refused the connection`);
        const what = this.#isUp ? `the connection to ${this.node} was lost` : `${this.#url.host} could not be reached`;
        return new MartletError('unreachable', `${what} (${event.code})${event.reason ? `: ${event.reason}` : ''}`, { retry: true });
    }

    /**
     * The connection has gone, or is given up.
     * @param {MartletError} error
     * @param {any} [event] The close event, if that is what happened.
     * @param {number | null} [delay] Ms until the next try; null: the backoff's.
     */
    #lost(error, event = null, delay = null) {
        // A handshake refused for what it says (only Node is told why) will be refused again.
        // Without the node's own words it may have been a proxy that lets no WebSocket pass.
        const isOfNode = event?.refusal?.code !== undefined || this.#fetch === null;
        const refused = [400, 401, 403].includes(event?.status) && isOfNode;
        if (!this.#isUp && !(event?.code >= 4000)) this.#missed += 1;
        if (refused || CLOSE_CODES[event?.code]?.reconnect === false) {
            this.#finish(error);
            return;
        }
        this.#drop(event ? null : 1000);
        this.#why = error;
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
        this.#pinged = null;
        this.#dropProbe();
        const timers = [this.#connectTimer, this.#lookTimer, this.#stableTimer, this.#drainTimer, this.#pumpTimer, this.#tokenTimer];
        for (const timer of [...timers, this.#askTimer]) this._clock.clearTimeout(timer);
        this.#requests.disconnected();
        this.#pumpTimer = null;
        this.#lookAt = Infinity;
        const socket = this.#socket;
        this.#socket = null;
        this.#answers.clear();
        this.#unacknowledged.clear();
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
        this.#requests.fail(error);
        this.rooms.clear();
        this.#setState('closed', { error });
        this._emit('closed', error);
    }

    /**
     * @internal Writes a request; `answered` gets the one frame that answers it, unless the connection goes first.
     * False if the frame is longer than the node takes: then nothing was written.
     * @param {Record<string, unknown>} fields @param {(frame: any) => void} answered
     * @param {boolean} [always] Whether it is answered, and not only if it fails.
     */
    _request(fields, answered, always = true) {
        const ref = ++this.#lastRef;
        const { type, ...others } = fields;
        const text = JSON.stringify({ type, ref, ...others });
        const most = Number(this.limits.frameBytes) || Infinity;
        if (text.length * 3 > most && encoder.encode(text).length > most) return false;
        const at = this._clock.now();
        if (always) {
            this.#answers.set(ref, { answered, at, extra: text.length / BYTES_PER_MS });
            if (at + ASK_AFTER < this.#lookAt && this.#pinged === null) this.#look(at + ASK_AFTER);
        } else {
            this.#unacknowledged.set(ref, answered).delete(ref - 100);
        }
        try {
            this.#socket.send(text);
        } catch { /* It is closing: `onclose` follows, and all that is unanswered is repeated. */ }
        return true;
    }

    /** @internal What a node would say of a request that is longer than it takes. */
    _tooLong() {
        const message = `it is over ${this.limits.frameBytes} bytes as a frame`;
        return { name: 'frameTooLarge', code: 102, message };
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
            this.#pumpRequests();
            for (const room of [...this.rooms.values()]) room._pump();
        }, Math.ceil(((1 - tokens.left) / tokens.rate) * 1_000) + 5);
        return false;
    }
}

/** Why a node takes a session out of a room. */
const REMOVALS = {
    forbidden: 'your token no longer gives you a right to be here',
    kicked: 'a moderator sent you out',
    banned: 'a moderator banned you',
    removed: 'you do not belong to it any more',
};

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
     * The users who are here; null when the room is so large that the node tells only the count. Nodes tell who comes and
     * goes, not each of their devices: `roster` reads those.
     * @type {Set<string> | null}
     */
    members = new Set();
    /** How many users are here: the size of `members`, if they are known. */
    count = 0;
    /** @type {Rules} */
    rules = NO_RULES;
    /**
     * What your token lets you do here, as the node said when you joined: `read`, `send`, `signal`, `amend`, `amend-any`,
     * `moderate`. Null where nodes ask for no tokens: then you may do everything.
     * @type {string[] | null}
     */
    rights = null;
    /** @type {{ until?: string, reason: string } | null} Why you may not send messages here, as far as you were told. */
    mute = null;
    /** @type {ConversationKind | null} Null: a room without participants. */
    kind = null;
    /**
     * Up to where each participant has read: user to position. Null if the room has no participants, or so many that nodes
     * do not tell.
     * @type {Map<string, string> | null}
     */
    receipts = null;
    /** @type {string | null} Up to where you have read, on whatever device. Null if the room has no participants. */
    lastRead = null;
    /** @type {number | null} How many messages you have not read. Null if the room has no participants. */
    unread = null;

    #client;
    #options;
    #ready = new Deferred();
    #readyTimer;
    #first = true;
    /** @type {MartletError | null} Why the room was left, by whomever. */
    #over = null;
    /** @type {MartletError | null} Why it is joined only later. */
    #out = null;
    #returnTimer = null;
    /** The seq of the last message shown. */
    #seq = 0;
    /** What arrived and is not next, by seq; and announced gaps. Both empty while nothing is missing. */
    #early = new Map();
    #gaps = [];
    /** The seq up to which messages are known to exist, and that after which they are live. */
    #target = 0;
    #liveAfter = Infinity;
    #reading = false;
    #readingMembers = false;
    #advancing = false;
    /** Unsettled sends in the order in which they were made. `ref` null: not written on this connection. */
    #sends = [];
    /** Everything else that is asked. @type {Requests} */
    #requests;
    /** Messages by their seq, and the newest changes. @type {Map<number, Message>} */
    #known = new Map();
    /** @type {any[]} */
    #changes = [];
    /** The read position that the node is to be told, and what it was told. */
    #readTo = '';
    #readTold = '';
    #readAt = -Infinity;
    #readTimer = null;
    #tries = 0;
    #pausedUntil = 0;
    #retryTimer = null;

    /** @internal @param {Client} client @param {string} name @param {{ after?: string, history?: number }} options */
    constructor(client, name, options) {
        super();
        this.name = name;
        this.#client = client;
        this.#options = options;
        this.#requests = new Requests(client, (frame) => this.#notNow(frame));
        if (options.after) this.#show(options.after);
        this.#readyTimer = client._clock.setTimeout(() => {
            const message = `the room ${name} could not be joined in time; still trying`;
            this.#ready.reject(new MartletError('timeout', message, { room: name, retry: true }));
        }, client._options.requestTimeout);
    }

    /**
     * Resolves when the room is joined the first time. Rejects if it cannot be, or not in time (then it goes on
     * trying).
     * @returns {Promise<Room>}
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
     *
     * `thread`: the position of the message that this one replies to. `mentions`: users to be told of it.
     * @param {string | { text?: string, data?: any, thread?: string, mentions?: string[], key?: string, again?: boolean,
     *     since?: string }} content
     * @param {{ timeout?: number, signal?: AbortSignal }} [options]
     * @returns {Promise<Sent>}
     */
    send(content, options = {}) {
        const { text, data, thread, mentions, since = null, ...given } = /** @type {any} */ (
            typeof content === 'string' ? { text: content } : content ?? {}
        );
        const key = given.key ?? newKey();
        const again = given.again ?? (given.key === undefined ? false : undefined);
        const refuse = (reason, message, more = {}) => Promise.reject(new MartletError(
            reason, `send to ${this.name}: ${message}`, { room: this.name, key, stored: false, ...more },
        ));
        if (text !== undefined && typeof text !== 'string') return refuse('badArgument', 'text is no string');
        if (text === undefined && data === undefined) return refuse('badArgument', 'there is neither text nor data');
        if (typeof key !== 'string' || key === '') return refuse('badArgument', 'key is no string, or empty');
        if (thread !== undefined && !parsePosition(thread)) return refuse('badArgument', `thread is no position: ${thread}`);
        const areNames = mentions === undefined || (Array.isArray(mentions) && mentions.every((one) => typeof one === 'string'));
        if (!areNames) return refuse('badArgument', 'mentions is no list of names');
        if (this.#over) return refuse(this.#over.reason, `the room is over: ${this.#over.message}`);
        if (this.#out) return refuse(this.#out.reason, this.#out.message, { until: this.#out.until });
        if (options.signal?.aborted) return refuse('aborted', 'it was aborted before it was sent');
        if (this.#sends.length >= this.#client._options.maxUnsent) {
            return refuse('queueFull', `${this.#sends.length} sends wait already`, { retry: true });
        }
        /** @type {any} */
        const send = Object.assign(new Deferred(), {
            text: wellFormed(text), data, thread, mentions: mentions?.length > 0 ? mentions : undefined, key, again, since,
            ref: null, tries: 0, unsure: again === true, stored: false,
        });
        send.settle = (error, value) => {
            if (send.settled) return;
            this.#client._clock.clearTimeout(send.timer);
            options.signal?.removeEventListener('abort', send.abort);
            this.#sends.splice(this.#sends.indexOf(send), 1);
            if (error) send.reject(this.#sendError(send, error));
            else send.resolve(value);
        };
        send.abort = () => send.settle(new MartletError('aborted', `send to ${this.name}: it was aborted`));
        options.signal?.addEventListener('abort', send.abort);
        const timeout = options.timeout ?? this.#client._options.sendTimeout;
        const late = new MartletError('timeout', `send to ${this.name}: no answer in time`, { retry: true, room: this.name });
        send.ends = this.#client._clock.now() + timeout;
        send.timer = this.#client._clock.setTimeout(
            () => send.settle(send.error ?? late), timeout,
        );
        this.#sends.push(send);
        this._pump();
        return send.promise;
    }

    /**
     * Reads a page of the room's log, oldest first.
     * @param {{ before?: string, after?: string, around?: string, time?: number, limit?: number }} [query] Positions, or ms
     *     since 1970: around what was said then; none: the newest page. `limit`: 50 if you do not say; more than the node's
     *     `limits.historyPage` is refused. A page of large messages may be shorter: see `older` and `newer`.
     * @returns {Promise<{ messages: Message[], newest: string | null, older: boolean, newer: boolean, first: string | null,
     *     last: string | null }>} `older`, `newer`: whether the log holds more on that side. `first`, `last`: the ends of the
     *     page, from which to read on; they may be changes, which are no messages. Null: there is nothing.
     */
    async history(query = {}) {
        const { before, after, around, time } = query;
        const most = this._page;
        const limit = query.limit ?? Math.min(50, most);
        if (!Number.isInteger(limit) || limit < 1 || limit > most) {
            const message = `history of ${this.name}: limit must be a whole number from 1 to ${most}, not ${limit}`;
            throw new MartletError('badArgument', message, { room: this.name });
        }
        const frame = await this.#read({ type: 'history', room: this.name, before, after, around, time, limit });
        const messages = (frame.messages ?? []).map((message) => this.#remember(this.#message(message, false), frame.newest));
        return {
            messages,
            newest: frame.newest ?? null,
            older: frame.older ?? false,
            newer: frame.newer ?? false,
            first: frame.first ?? messages[0]?.position ?? null,
            last: frame.last ?? messages.at(-1)?.position ?? null,
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
     * Changes the rules of the room or the sanctions of a user, if your token lets you moderate it. When it resolves,
     * nothing that it forbids is stored any more.
     * @param {Operation} operation
     * @param {{ user?: string, value?: 'open' | 'moderators' | 'everybody' | 'participants', time?: number,
     *     reason?: string }} [options] `user`: for sanctions. `value`: for `posting` and `members`. `time`: ms that a sanction lasts (for ever, if it is missing; a kick: a
     *     minute), or the time of `slow` and `unique` (0: none). `reason`: for everybody in the room to see.
     * @returns {Promise<{ version: string, changed: boolean }>} `changed`: false if everything was as wanted before.
     */
    async moderate(operation, options = {}) {
        const { user, value, time, reason } = options;
        const frame = await this.#read({ type: 'moderate', room: this.name, operation, user, value, time, reason });
        return { version: frame.version ?? '0', changed: frame.changed ?? true };
    }

    /**
     * Replaces the text (and data) of a message. Resolves when it is stored.
     * @param {string} position Of the message.
     * @param {string | { text?: string, data?: any }} content
     * @param {{ timeout?: number, key?: string }} [options] `key`: by which a repetition is known; one is made up otherwise.
     * @returns {Promise<Amended>}
     */
    edit(position, content, options) {
        const { text, data } = typeof content === 'string' ? { text: content, data: undefined } : content ?? {};
        return this.#amend('edit', position, { text: wellFormed(text), data }, options);
    }

    /**
     * Erases a message. Its place stays, with who erased it.
     * @param {string} position @param {{ timeout?: number, key?: string }} [options] @returns {Promise<Amended>}
     */
    delete(position, options) {
        return this.#amend('delete', position, {}, options);
    }

    /**
     * Gives a reaction to a message, once for each emoji.
     * @param {string} position @param {string} reaction An emoji. @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    react(position, reaction, options) {
        return this.#amend('react', position, { reaction }, options);
    }

    /**
     * Takes your reaction back.
     * @param {string} position @param {string} reaction @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    unreact(position, reaction, options) {
        return this.#amend('unreact', position, { reaction }, options);
    }

    /**
     * Pins a message.
     * @param {string} position
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    pin(position, options) {
        return this.#amend('pin', position, {}, options);
    }

    /**
     * Unpins a message.
     * @param {string} position
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    unpin(position, options) {
        return this.#amend('unpin', position, {}, options);
    }

    /**
     * Tells the room's moderators of a message, and nobody else.
     * @param {string} position @param {string} [reason] At most 200 bytes.
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    report(position, reason, options) {
        return this.#amend('report', position, { reason }, options);
    }

    /**
     * Erases many messages, if your token lets you moderate the room: those of a `user`, or those `from` one position `to`
     * another one. Resolves when all of it is done.
     * @param {{ user?: string, from?: string, to?: string }} what @returns {Promise<{ erased: number }>}
     */
    async erase({ user, from, to }) {
        const operation = user === undefined ? 'delete-range' : 'delete-user';
        let erased = 0;
        // The node does it in pieces, and says where to go on.
        for (let of = from, isDone = false; !isDone;) {
            const fields = { type: 'amend', room: this.name, operation, of, to, user, key: newKey() };
            const frame = await this.#read(fields, this.#client._options.sendTimeout);
            erased += frame.erased ?? 0;
            isDone = frame.next === undefined;
            of = frame.next;
        }
        return { erased };
    }

    /**
     * Who belongs to the conversation, with roles and read positions, whether they are here or not.
     * @returns {Promise<{ kind: ConversationKind | null, participants: Participant[] }>}
     */
    async participants() {
        const frame = await this.#read({ type: 'participants', room: this.name });
        return { kind: frame.kind ?? null, participants: frame.participants ?? [] };
    }

    /**
     * Adds members to the conversation.
     * @param {string[]} users @returns {Promise<Conversation>}
     */
    invite(users) {
        return this.#client.conversation('invite', { room: this.name, users });
    }

    /**
     * Ends your part in the conversation; `leave` only ends this session's stay.
     * @returns {Promise<Conversation>}
     */
    leaveConversation() {
        return this.#client.conversation('leave', { room: this.name });
    }

    /**
     * Takes somebody out of the conversation.
     * @param {string} user @returns {Promise<Conversation>}
     */
    remove(user) {
        return this.#client.conversation('remove', { room: this.name, user });
    }

    /**
     * Gives a participant another role.
     * @param {string} user
     * @param {Role} role @returns {Promise<Conversation>}
     */
    setRole(user, role) {
        return this.#client.conversation('role', { room: this.name, user, role });
    }

    /**
     * What you want to be told of the conversation.
     * @param {NotificationLevel} level @returns {Promise<Conversation>}
     */
    notify(level) {
        return this.#client.conversation('notify', { room: this.name, level });
    }

    /**
     * Says that you have read up to there. Goes forwards only; told at most once a second, and again after a lost
     * connection.
     * @param {string | null} [position] The newest shown, if you do not say.
     */
    read(position = this.position) {
        if (position === null) return;
        if (!parsePosition(position)) {
            throw new MartletError('badArgument', `read of ${this.name}: ${position} is no position`, { room: this.name });
        }
        if (seqOf(position) <= seqOf(this.#readTo)) return;
        this.#readTo = position;
        this.#haveRead(position);
        this.#tellRead();
    }

    /**
     * The participants but you who have read up to there or further, as far as nodes tell.
     * @param {string} position @returns {string[]}
     */
    readBy(position) {
        const seq = seqOf(position);
        const readers = [...this.receipts ?? []].filter(([user, read]) => user !== this.#client.user && seqOf(read) >= seq);
        return readers.map(([user]) => user);
    }

    /**
     * Something for the moment (`typing`): to those who are here now, stored nowhere. False if it could not be said
     * now; over an event stream it never can. What the node refuses is told by the client's `error`.
     * @param {string} name
     * @param {any} [data]
     */
    signal(name, data) {
        if (typeof name !== 'string' || name === '') {
            throw new MartletError('badArgument', `signal to ${this.name}: it has no name`, { room: this.name });
        }
        if (this.state !== 'joined' || this.#client.transport === 'events' || !this.#client._take()) return false;
        const what = `signal ${name} to ${this.name}`;
        const refused = (frame) => this.#client._emit('error', wireError(frame, this.name, what));
        const written = this.#client._request({ type: 'signal', room: this.name, name, data }, refused, false);
        if (!written) refused(this.#client._tooLong());
        return written;
    }

    /** Leaves for good; what is pending fails as `left`. Resolves when the node knows, or the connection has gone. */
    leave() {
        if (this.#over) return Promise.resolve();
        const told = new Deferred();
        const tell = this.state === 'joined' || this.state === 'joining';
        if (this.state === 'joined') this.#tellRead(true);
        this._fail(new MartletError('left', `you left the room ${this.name}`, { room: this.name }), 'left');
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
        if (this.#out) return;
        this.#setState('joining');
        const fields = { type: 'join', room: this.name };
        if (this.position !== null) fields.after = this.position;
        // Beside `after` too: after a reset it says how much of the new history to show.
        if (this.#options.history !== undefined) fields.history = Math.min(this.#options.history, this._page);
        this.#client._request(fields, (frame) => {
            if (this.state !== 'joining') return;
            if (frame.type === 'joined') this.#joined(frame);
            else if (frame.retry) this.#later(() => this._connected());
            else this.#giveUpFor(wireError(frame, this.name, `join of ${this.name}`));
        });
    }

    /** @internal How many messages one page holds at most. */
    get _page() {
        return Number(this.#client.limits.historyPage) || 100;
    }

    /** @internal The connection has gone. */
    _disconnected() {
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#early.clear();
        this.#gaps = [];
        this.#reading = false;
        this.#pausedUntil = 0;
        this.#client._clock.clearTimeout(this.#readTimer);
        this.#readTimer = null;
        for (const send of this.#sends) send.unsure ||= send.ref !== null;
        for (const send of this.#sends) send.ref = null;
        this.#requests.disconnected();
        if (this.state !== 'offline' && !this.#out) this.#setState('offline');
    }

    /**
     * @internal It is over: everything pending fails. @param {MartletError} error @param {'left' | 'failed'} [state]
     */
    _fail(error, state = 'failed') {
        if (this.#over) return;
        this.#over = error;
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#client._clock.clearTimeout(this.#readyTimer);
        this.#client._clock.clearTimeout(this.#returnTimer);
        this.#client._clock.clearTimeout(this.#readTimer);
        this.state = state;
        if (!this.#ready.settled) this.#ready.reject(error);
        this.#settleAll(error);
        this._emit('state', state);
        if (state === 'failed') this._emit('failed', error);
    }

    #settleAll(error) {
        for (const send of [...this.#sends]) send.settle(error);
        this.#requests.fail(error);
    }

    /** @internal A frame of this room that answers nothing. */
    _receive(frame) {
        switch (frame.type) {
            case 'message':
            case 'changed':
                this.#take([frame]);
                if (this.state === 'joined') this.#advance();
                break;
            case 'receipts':
                this.#setReceipts(frame.reads ?? {});
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
            case 'left':
                this.#removed(frame);
                break;
            case 'participantsChanged':
                this._emit('participants', { changes: frame.changes ?? [], hasMore: frame.hasMore ?? false });
                break;
            case 'rules':
                this.#setRules(frame.rules);
                break;
            case 'sanction':
                this.#sanctioned(frame);
                break;
            case 'signal':
                this._emit('signal', { user: frame.user, name: frame.name, data: frame.data });
                break;
        }
    }

    /** The node took this session out of the room. */
    #removed(frame) {
        const why = REMOVALS[frame.reason] ?? frame.reason;
        const until = frame.until ? `, until ${frame.until}` : '';
        const said = frame.message ? `: ${frame.message}` : '';
        const message = `the room ${this.name}: ${why}${until}${said}`;
        this.#giveUpFor(new MartletError(frame.reason ?? 'left', message, { room: this.name, until: frame.until }));
    }

    /** Ends the room, or waits until it may be joined again. */
    #giveUpFor(error) {
        const wait = timeTo(error.until, this.#client._clock);
        if (error.reason !== 'banned' || wait === null || wait > WAIT_FOR_BAN) {
            this.#giveUp(error);
            return;
        }
        this.#client._clock.clearTimeout(this.#retryTimer);
        this.#client._clock.clearTimeout(this.#readyTimer);
        this.#early.clear();
        this.#gaps = [];
        this.#out = error;
        if (!this.#ready.settled) this.#ready.reject(error);
        this.#settleAll(error);
        this.#returnTimer = this.#client._clock.setTimeout(() => {
            this.#out = null;
            if (this.#client.state === 'online' || this.#client.state === 'unsure') this._connected();
            else this.#setState('offline');
        }, wait + RETURN_AFTER + this.#client._options.random() * RETURN_SPREAD);
        this.#setState('removed');
        this._emit('removed', error);
    }

    #setRules(rules) {
        const { slowMode = 0, uniqueFor = 0, posting = 'open', frozen = false, members } = rules ?? {};
        const before = this.rules;
        this.rules = Object.freeze({ slowMode, uniqueFor, posting, frozen, ...(members === 'participants' ? { members } : {}) });
        const names = ['slowMode', 'uniqueFor', 'posting', 'frozen', 'members'];
        const isChanged = names.some((name) => before[name] !== this.rules[name]);
        if (isChanged) this._emit('rules', this.rules);
    }

    #sanctioned({ kind, user, until, reason }) {
        if (user === this.#client.user && kind === 'mute') this.mute = { until, reason: reason ?? '' };
        if (user === this.#client.user && kind === 'unmute') this.mute = null;
        this._emit('sanction', { kind, user, until, reason });
    }

    /** @internal Writes what can be written now: requests at once, sends in order and within the window. */
    _pump() {
        if (this.state !== 'joined' || !this.#requests.pump()) return;
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
        const { text, data, thread, mentions, key } = send;
        // Without `again` it would be taken for a repetition.
        const since = again === undefined ? undefined : send.since;
        const fields = { type: 'send', room: this.name, text, data, thread, mentions, key, again, since };
        const answered = (frame) => { if (send.ref === ref) this.#sendAnswered(send, frame); };
        if (this.#client._request(fields, answered)) {
            send.tries += 1;
        } else {
            send.ref = null;
            send.settle(wireError(this.#client._tooLong(), this.name, `send to ${this.name}`));
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
        send.error = wireError(frame, this.name, `send to ${this.name}`);
        send.stored ||= send.error.reason === 'notReplicated';
        const wait = timeTo(frame.until, this.#client._clock) ?? 0;
        send.unsure ||= /^(unavailable|outcomeUnknown|draining|internalError)$/.test(send.error.reason);
        if (frame.name === 'draining') {
            this.#client._move();
        } else if (frame.name === 'notJoined' && this.state === 'joined') {
            // The node lost the session's place in the room: take it again, with nothing missing.
            this.#later(() => { if (this.state === 'joined') this._connected(); });
        } else if (frame.retry && this.#client._clock.now() + wait < send.ends) {
            this.#later(() => this._pump(), wait);
        } else if (frame.name !== 'notJoined') {
            send.settle(send.error);
            this._pump();
        }
    }

    #sendError(send, error) {
        const stored = send.stored ? true : send.unsure || send.ref !== null ? undefined : false;
        const { reason, message, code, retry, until } = error;
        const { key, since } = send;
        return new MartletError(reason, message, { code, retry, room: this.name, key, since, stored, until });
    }

    /** The node refused a request. Whether it may be asked again: it waits, or takes its place in the room again. */
    #notNow(frame) {
        const isOut = frame.name === 'notJoined' && this.state === 'joined';
        if (isOut) this.#later(() => { if (this.state === 'joined') this._connected(); });
        else if (frame.retry) this.#later(() => this._pump(), timeTo(frame.until, this.#client._clock) ?? 0);
        return isOut || frame.retry === true;
    }

    /**
     * Asks for something that may be asked again on another connection.
     * @param {any} fields @param {number} [timeout]
     */
    #read(fields, timeout) {
        if (this.#over ?? this.#out) return Promise.reject(this.#over ?? this.#out);
        const answer = this.#requests.add(fields, { what: `${fields.type} of ${this.name}`, room: this.name, timeout });
        this._pump();
        return answer;
    }

    async #amend(operation, of, fields, { key = newKey(), timeout = this.#client._options.sendTimeout } = {}) {
        if (!parsePosition(of)) {
            const message = `${operation} in ${this.name}: ${of} is no position`;
            throw new MartletError('badArgument', message, { room: this.name, key });
        }
        const frame = await this.#read({ type: 'amend', room: this.name, operation, of, ...fields, key }, timeout);
        return { position: frame.position, repeated: frame.repeated ?? false, unchanged: frame.unchanged ?? false };
    }

    /** Tells the node the read position, if a second has passed since the last time. */
    #tellRead(now = false) {
        // Only rooms with participants have read positions.
        if (this.state !== 'joined' || this.unread === null || seqOf(this.#readTo) <= seqOf(this.#readTold)) return;
        if (this.#readTimer !== null && !now) return;
        const wait = this.#readAt + READ_EVERY - this.#client._clock.now();
        if (!now && (wait > 0 || !this.#client._take())) {
            this.#tellReadIn(Math.max(wait, 50));
            return;
        }
        this.#readAt = this.#client._clock.now();
        const position = this.#readTo;
        this.#client._request({ type: 'read', room: this.name, position }, (frame) => {
            if (frame.type === 'error' && frame.retry) {
                this.#tellReadIn(READ_EVERY);
                return;
            }
            // What is refused for good is not said again.
            if (seqOf(position) > seqOf(this.#readTold)) this.#readTold = position;
            if (frame.type === 'error') this.#client._emit('error', wireError(frame, this.name, `read of ${this.name}`));
        });
        // What is read meanwhile follows a second later.
        this.#tellReadIn(READ_EVERY);
    }

    #tellReadIn(ms) {
        this.#client._clock.clearTimeout(this.#readTimer);
        this.#readTimer = this.#client._clock.setTimeout(() => {
            this.#readTimer = null;
            this.#tellRead();
        }, ms);
    }

    /**
     * Notes up to where you have read, and how much is unread after it.
     * @param {string} position @param {number} [unread]
     */
    #haveRead(position, unread) {
        if (this.lastRead === null && this.unread === null) return;
        if (seqOf(position) <= seqOf(this.lastRead)) return;
        this.lastRead = position;
        this.unread = unread ?? (seqOf(position) >= this.#seq ? 0 : this.#knownAfter(seqOf(position)));
    }

    /** How many messages of others came after that seq; all of them are known, as they came while this client was here. */
    #knownAfter(seq) {
        const later = [...this.#known.values()].filter((message) => message.seq > seq && !message.mine).length;
        return Math.min(this.unread ?? later, later);
    }

    /** @internal The room has got participants, you among them: joins it again, to know its read positions. */
    _invited() {
        if (this.state === 'joined' && this.unread === null) this._connected();
    }

    /** @internal Another device of yours has read. @param {string} position @param {number} [unread] */
    _readElsewhere(position, unread) {
        if (!parsePosition(position)) return;
        if (seqOf(position) > seqOf(this.#readTo)) this.#readTo = this.#readTold = position;
        this.#haveRead(position, unread);
    }

    #setReceipts(reads) {
        this.receipts ??= new Map();
        /** @type {Record<string, string>} */
        const changed = {};
        for (const [user, position] of Object.entries(reads)) {
            if (!parsePosition(position) || seqOf(position) <= seqOf(this.receipts.get(user))) continue;
            this.receipts.set(user, position);
            changed[user] = position;
            if (user === this.#client.user) this._readElsewhere(position, undefined);
        }
        if (Object.keys(changed).length > 0) this._emit('receipts', { reads: changed });
    }

    /** The node said "not now": wait, longer each time and at least that long, then go on. */
    #later(action, least = 0) {
        const { random, backoff } = this.#client._options;
        const wait = Math.max(least, (0.5 + random() / 2) * Math.min(5_000, backoff.base * 2 ** this.#tries));
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
        this.#liveAfter = this.#target;
        this.state = 'joined';
        this.rights = frame.rights ?? null;
        this.mute = frame.sanction ? { until: frame.sanction.until, reason: frame.sanction.reason ?? '' } : null;
        const change = this.#setMembers(frame.roster?.map((member) => member.user), frame.count ?? 0);
        const gap = frame.gap ? readGap(frame.gap) : undefined;
        const { reset } = frame;
        this.#setReads(frame, reset);
        this.kind = frame.kind ?? (this.unread === null ? null : this.name.startsWith('dm:') ? 'direct' : 'group');
        if (gap) this.#gaps.push(gap);
        const missed = from === null || reset ? [] : messages.filter((m) => seqOf(m.position) > this.#seq);
        const resumed = from !== null && !gap && !reset;
        this._emit('state', 'joined');
        this._emit('joined', {
            position: frame.position, first, resumed, missed: missed.length,
            recent: from === null || reset ? messages.length : 0, gap, reset, count: this.count,
        });
        this.#setRules(frame.rules);
        if (reset || from === null) {
            const before = messages.length > 0 ? positionBefore(messages[0].position) : frame.position;
            if (reset) this.#restart(reset, before, this.#target);
            else this.#show(before);
        }
        const changes = (frame.changes ?? []).map((change) => ({ ...change, type: 'changed' }));
        this.#takePage([...messages, ...changes], gap ? undefined : this.position, frame.last);
        this.#advance();
        this.#client._clock.clearTimeout(this.#readyTimer);
        if (!this.#ready.settled) this.#ready.resolve(this);
        if (this.state === 'joined') this._emit('presence', first ? { ...change, joined: [] } : change);
        this._pump();
        this.#tellRead();
    }

    /** What the answer to a join says of who has read what. */
    #setReads(frame, reset) {
        const isParticipant = frame.unread !== undefined || frame.read !== undefined;
        if (reset || !isParticipant) {
            this.#readTo = this.#readTold = '';
            this.receipts = this.lastRead = this.unread = null;
        }
        if (!isParticipant) return;
        const [told, read] = [seqOf(frame.read), seqOf(this.lastRead)];
        if (reset || told >= read) {
            this.lastRead = frame.read ?? null;
            this.unread = frame.unread ?? 0;
        } else {
            // You have read further than the node was told, which therefore counts some of what you have read.
            const counted = [...this.#known.values()].filter(({ seq, mine }) => seq > told && seq <= read && !mine).length;
            this.unread = Math.max(0, (frame.unread ?? 0) - counted);
        }
        if (frame.reads) this.#setReceipts(frame.reads);
    }

    /** Everything known is void: goes on after `position`, where messages up to `target` are known to exist. */
    #restart(reset, position, target) {
        this.#early.clear();
        this.#gaps = [];
        this.#known.clear();
        this.#changes = [];
        if (seqOf(this.#readTo) > seqOf(position)) [this.#readTo, this.#readTold] = [position ?? '', ''];
        if (seqOf(this.lastRead) > seqOf(position)) this.lastRead = position;
        this.#show(position);
        this.#target = target;
        this.#liveAfter = Math.max(target, this.#seq);
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

    /**
     * Takes a page of the log. What is missing between its entries are changes of messages in it, which are folded.
     * @param {any[]} entries
     * @param {string | null} [after] The position that the page begins after, if the log still holds it.
     * @param {string} [last] The last position of the page, if that is no message.
     */
    #takePage(entries, after, last) {
        this.#take(entries);
        let previous = after;
        const quiet = (before) => this.#gaps.push({ after: previous, before, missing: 0, isQuiet: true });
        for (const { position } of [...entries].sort((a, b) => seqOf(a.position) - seqOf(b.position))) {
            if (previous && seqOf(position) > seqOf(previous) + 1) quiet(position);
            previous = position;
        }
        const end = parsePosition(last);
        if (end && previous && end.seq > seqOf(previous)) quiet(`${end.epoch}-${end.seq + 1}`);
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
        if (next.type === 'changed') {
            this.#changed(next);
            return true;
        }
        const message = this.#message(next, seqOf(next.position) > this.#liveAfter);
        if (message.mine && message.key !== undefined) this.#settleByKey(message);
        this.#remember(message, next.position);
        const root = message.live ? this.#known.get(seqOf(message.thread)) : undefined;
        if (root && root.position === message.thread) root.replies = (root.replies ?? 0) + 1;
        this.#count(message);
        this._emit('message', message);
        return true;
    }

    /** A live message is unread, unless it is one's own: then everything before it counts as read. */
    #count(message) {
        if (this.unread === null || !message.live) return;
        if (!message.mine) {
            this.unread += 1;
        } else {
            this.unread = 0;
            this.lastRead = message.position;
        }
    }

    #changed(frame) {
        const { type, ref, targets, ...change } = frame;
        // A moderator may delete many messages at once.
        for (const of of targets ?? [change.of]) {
            const known = this.#known.get(seqOf(of));
            const message = known?.position === of ? known : null;
            if (message) applyChange(message, change);
            this.#changes.push({ ...change, of });
            if (this.#changes.length > REMEMBERED_CHANGES) this.#changes.shift();
            this._emit('changed', { room: this.name, ...change, of, message });
        }
    }

    /**
     * Notes a message that is passed on, so that changes of it can be told. `newest`: the room's newest position when it was
     * read; what has changed since is applied.
     * @param {Message} message @param {string | null | undefined} newest
     */
    #remember(message, newest) {
        const seq = seqOf(newest);
        for (const change of this.#changes) {
            if (change.of === message.position && seqOf(change.position) > seq) applyChange(message, change);
        }
        this.#known.delete(message.seq);
        this.#known.set(message.seq, message);
        if (this.#known.size > REMEMBERED) this.#known.delete(this.#known.keys().next().value);
        return message;
    }

    #passGap() {
        const index = this.#gaps.findIndex((gap) => seqOf(gap.after) <= this.#seq);
        if (index < 0) return false;
        const [gap] = this.#gaps.splice(index, 1);
        const before = parsePosition(gap.before);
        if (!before || before.seq - 1 <= this.#seq) return true;
        const event = { after: this.position ?? gap.after, before: gap.before, missing: before.seq - 1 - this.#seq };
        this.#show(`${before.epoch}-${before.seq - 1}`);
        if (!gap.isQuiet) this._emit('gap', event);
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
        const limit = Math.min(100, this._page);
        try {
            const page = await this.#read({ type: 'history', room: this.name, after: from, limit });
            if (this.state !== 'joined' || this.position !== from) return;
            this.#takePage(page.messages ?? [], page.older ? from : undefined, page.last);
            const isPassed = this.#gaps.some((gap) => seqOf(gap.after) <= this.#seq);
            if (!this.#early.has(this.#seq + 1) && !isPassed) this.#gaps.push(this.#ownGap(page));
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

    /** Only what changes anything is told: a node may say again what `joined` said already. */
    #presence(frame) {
        const { members } = this;
        const joined = (frame.joined ?? []).filter((user) => !members?.has(user));
        const left = (frame.left ?? []).filter((user) => !members || members.has(user));
        const count = frame.count ?? this.count;
        const named = (frame.joined?.length ?? 0) + (frame.left?.length ?? 0) > 0;
        if (members) {
            for (const user of joined) members.add(user);
            for (const user of left) members.delete(user);
            // The node has stopped naming people: too many are here, or this session was behind.
            if (!named && count !== members.size) this.members = null;
        }
        const before = this.count;
        this.count = this.members?.size ?? count;
        if (joined.length + left.length > 0 || this.count !== before) {
            this._emit('presence', { joined, left, count: this.count });
        }
        if (this.members ? this.members.size !== count : count <= FEW) this.#readMembers();
    }

    /**
     * Takes over a whole roster (undefined: only the count is known). Returns what changed.
     * @param {string[] | undefined} users @param {number} count
     */
    #setMembers(users, count) {
        const before = this.members;
        const after = users ? new Set(users) : null;
        this.members = after;
        this.count = after?.size ?? count;
        const added = before && after ? [...after].filter((user) => !before.has(user)) : [];
        const gone = before && after ? [...before].filter((user) => !after.has(user)) : [];
        return { joined: added, left: gone, count: this.count };
    }

    /** The names do not add up to the count: something was missed, so the roster is read. */
    async #readMembers() {
        if (this.#readingMembers) return;
        this.#readingMembers = true;
        try {
            const page = await this.roster();
            if (this.state !== 'joined' || page.cursor) return;
            this._emit('presence', this.#setMembers(page.members.map((member) => member.user), page.count));
        } catch {
            // The next change of presence, or the next join, tries again.
        } finally {
            this.#readingMembers = false;
        }
    }

    /** @param {any} frame @param {boolean} live @returns {Message} */
    #message(frame, live) {
        const { position, user, at, text, data, key } = frame;
        const seq = seqOf(position);
        /** @type {Message} */
        const message = { room: this.name, position, seq, user, at, text, data, key, mine: user === this.#client.user, live };
        for (const name of ['thread', 'mentions', 'edited', 'deleted', 'reactions', 'pinned', 'replies']) {
            if (frame[name] !== undefined && frame[name] !== null) message[name] = frame[name];
        }
        return message;
    }
}

/**
 * What stands for a WebSocket where those are blocked: the node's frames come by an event stream (`GET /api/events`), and
 * requests go to the HTTP API. Like a WebSocket it takes and gives frames of martlet.v1. A change of rooms opens another
 * stream, which takes over where the last one ends.
 */
class StreamSocket {
    /** @type {((event: { data: string }) => void) | null} */
    onmessage = null;
    /** @type {((event: { code: number, reason: string, status?: number, refusal?: any }) => void) | null} */
    onclose = null;
    /** @type {(() => void) | null} Never called: `onclose` tells all. */
    onerror = null;
    #url;
    #token;
    #fetch;
    /** @type {Clock} */
    #clock;
    #user = '';
    /** By name: the position up to which the room was received, how much history was asked for, the `ref` of a join. */
    #rooms = new Map();
    /** @type {any} The stream in use. */
    #stream = null;
    /** @type {any} The one that is to replace it. */
    #next = null;
    /** Whether the rooms have changed since the newest stream was opened. */
    #stale = false;
    #openTimer = null;
    #tokenRef = null;
    #closed = false;
    /** Ends all requests at the end. */
    #abort = new AbortController();
    /** By room: the last send, as they are posted one after the other. @type {Map<string, Promise<void>>} */
    #sending = new Map();
    /** By room and position: when the newest messages were said, and who waits for one. */
    #times = new Map();
    #awaited = new Map();
    /** When anything came last. */
    #heard = 0;

    /**
     * @param {string} url That of the WebSocket.
     * @param {{ token?: string, fetch: any, clock: Clock }} options
     */
    constructor(url, { token, fetch, clock }) {
        this.#url = new URL(url);
        this.#token = token;
        this.#fetch = fetch;
        this.#clock = clock;
        this.#open();
    }

    /** @param {string} text */
    send(text) {
        if (this.#closed) return;
        const frame = JSON.parse(text);
        const { ref, room } = frame;
        switch (frame.type) {
            case 'join':
                this.#rooms.set(room, { position: frame.after ?? null, history: frame.history ?? 0, ref, joined: false });
                this.#change();
                break;
            case 'leave':
                this.#rooms.delete(room);
                this.#emit({ type: 'left', ref, room });
                this.#change();
                break;
            case 'send': {
                const before = this.#sending.get(room) ?? Promise.resolve();
                this.#sending.set(room, before.then(() => this.#post(frame)));
                break;
            }
            case 'history':
                this.#ask(frame, 'messages', ['before', 'after', 'around', 'time', 'limit']);
                break;
            case 'roster':
                this.#ask(frame, 'roster', ['cursor']);
                break;
            case 'moderate': {
                const { operation, user, value, time, reason } = frame;
                this.#answer(frame, 'moderated', this.#call('POST', room, 'moderation', { operation, user, value, time, reason }));
                break;
            }
            case 'amend': {
                const { type, ref: _, room: __, ...amendment } = frame;
                const body = { by: this.#user, ...amendment };
                this.#answer(frame, 'amended', this.#call('POST', room, 'amendments', body));
                break;
            }
            case 'participants':
                this.#answer(frame, 'participants', this.#call('GET', room, 'participants', undefined, { user: this.#user }));
                break;
            case 'read':
                this.#answer(frame, 'read', this.#call('POST', room, 'read', { user: this.#user, position: frame.position }));
                break;
            case 'conversation':
            case 'inbox':
            case 'online':
            case 'lastSeen':
            case 'star':
            case 'unstar':
            case 'stars':
                this.#answerOfUser(frame);
                break;
            case 'ping':
                // A quiet stream has a comment every fifteen seconds.
                if (this.#clock.now() - this.#heard < STREAM_SILENCE) this.#emit({ type: 'pong', ref });
                break;
            case 'token':
                this.#token = frame.token;
                this.#tokenRef = ref;
                this.#change();
                break;
            default:
                this.#emit({ type: 'error', ref, code: 103, name: 'unknownType', message: `${frame.type} needs a WebSocket`, retry: false });
        }
    }

    close() {
        this.#end(1000, '');
    }

    #emit(frame) {
        if (!this.#closed) this.onmessage?.({ data: JSON.stringify(frame) });
    }

    /** @param {number} code @param {string} reason @param {number} [status] @param {any} [refusal] */
    #end(code, reason, status, refusal) {
        if (this.#closed) return;
        this.#closed = true;
        this.#clock.clearTimeout(this.#openTimer);
        for (const { timer } of this.#awaited.values()) this.#clock.clearTimeout(timer);
        for (const stream of [this.#stream, this.#next]) stream?.abort.abort();
        this.#abort.abort();
        this.onclose?.({ code, reason, status, refusal });
    }

    // The stream.

    /** Opens another stream soon: several rooms are often joined at once. */
    #change() {
        this.#stale = true;
        if (this.#next || this.#closed) return;
        this.#openTimer ??= this.#clock.setTimeout(() => {
            this.#openTimer = null;
            if (this.#stale && !this.#next) this.#open();
        }, 5);
    }

    #address(path) {
        const url = new URL(this.#url);
        url.protocol = url.protocol.replace('ws', 'http');
        url.pathname = `${url.pathname.replace(/\/ws$/, '').replace(/\/$/, '')}${path}`;
        if (!this.#url.pathname.endsWith('/ws')) url.pathname = path;
        for (const name of ['user', 'device', 'room', 'auth', 'token']) url.searchParams.delete(name);
        return url;
    }

    #headers(more = {}) {
        return this.#token ? { Authorization: `Bearer ${this.#token}`, ...more } : more;
    }

    #open() {
        this.#stale = false;
        const url = this.#address('/api/events');
        for (const name of ['user', 'device']) {
            const value = this.#url.searchParams.get(name);
            if (value !== null) url.searchParams.set(name, value);
        }
        const rooms = [...this.#rooms];
        for (const [name] of rooms) url.searchParams.append('room', name);
        if (rooms.some(([, { position }]) => position !== null)) {
            url.searchParams.set('after', rooms.map(([, { position }]) => position ?? '').join(','));
        }
        if (rooms.length > 0) url.searchParams.set('history', rooms.map(([, { history }]) => history).join(','));
        const stream = { abort: new AbortController(), pages: new Map(), closed: null };
        this.#next = stream;
        this.#read(stream, url).then(
            () => this.#ended(stream),
            (error) => { if (this.#isUsed(stream)) this.#end(1006, error?.message ?? `${error}`); },
        );
    }

    #isUsed(stream) {
        return !this.#closed && (stream === this.#stream || stream === this.#next);
    }

    async #read(stream, url) {
        const response = await this.#fetch(url.href, { headers: this.#headers(), signal: stream.abort.signal, cache: 'no-store' });
        if (!this.#isUsed(stream)) return;
        if (response.status !== 200 || !response.body) {
            await this.#refused(response);
            return;
        }
        const reader = response.body.getReader();
        const decoder = new TextDecoder();
        let rest = '';
        let event = { name: '', data: /** @type {string[]} */ ([]) };
        for (;;) {
            const { done, value } = await reader.read();
            if (done || !this.#isUsed(stream)) return;
            this.#heard = this.#clock.now();
            const lines = (rest + decoder.decode(value, { stream: true })).split('\n');
            rest = lines.pop() ?? '';
            for (const line of lines) {
                if (line === '') {
                    if (event.data.length > 0) this.#received(stream, event.name || 'message', event.data.join('\n'));
                    event = { name: '', data: [] };
                } else if (line.startsWith('event: ')) {
                    event.name = line.slice(7);
                } else if (line.startsWith('data: ')) {
                    event.data.push(line.slice(6));
                }
            }
        }
    }

    async #refused(response) {
        const { status } = response;
        if (status === 204) {
            this.#end(4013, 'banned', status);
            return;
        }
        const refusal = (await readJSON(response))?.error;
        this.#end(1006, `HTTP ${status}`, refusal ? status : undefined, refusal);
    }

    #ended(stream) {
        if (!this.#isUsed(stream)) return;
        const { closed } = stream;
        if (closed?.name !== 'noRoom' || closed.reconnect) {
            this.#end(closed?.code ?? 1006, closed?.name ?? 'the stream has ended');
        } else if (stream === this.#next || !this.#next) {
            // It was left with no room; the session goes on without any.
            this.#open();
        }
    }

    #received(stream, name, data) {
        if (!this.#isUsed(stream)) return;
        let frame;
        try {
            frame = JSON.parse(data);
        } catch {
            this.onmessage?.({ data });
            return;
        }
        const room = this.#rooms.get(name === 'failure' ? frame.ref : frame.room);
        switch (name) {
            case 'welcome':
                this.#welcomed(stream, frame);
                break;
            case 'closed':
                stream.closed = frame;
                break;
            case 'joined':
                if (!room) break;
                if (frame.following > 0) stream.pages.set(frame.room, { frame, left: frame.following, messages: [] });
                else this.#joined(frame, room, []);
                break;
            case 'message':
            case 'changed':
                this.#message(stream, { ...frame, type: name }, room);
                break;
            case 'gap':
            case 'reset':
                if (!room) break;
                room.position = name === 'gap' ? positionBefore(frame.before) : frame.position;
                this.#emit(frame);
                break;
            case 'left':
                this.#rooms.delete(frame.room);
                this.#emit(frame);
                break;
            case 'failure':
                this.#failed(frame, room);
                break;
            default:
                this.#emit(frame);
        }
    }

    /** The new stream takes over. */
    #welcomed(stream, frame) {
        const first = this.#stream === null;
        this.#stream?.abort.abort();
        this.#stream = stream;
        this.#next = null;
        this.#user = frame.user;
        if (first) this.#emit(frame);
        if (this.#tokenRef !== null && !this.#stale) {
            this.#emit({ type: 'token', ref: this.#tokenRef, expires: frame.expires });
            this.#tokenRef = null;
        }
        if (this.#stale) this.#change();
    }

    #message(stream, frame, room) {
        if (!room) return;
        const page = stream.pages.get(frame.room);
        if (page) {
            page.messages.push(frame);
            page.left -= 1;
            if (page.left > 0) return;
            stream.pages.delete(frame.room);
            this.#joined(page.frame, room, page.messages);
            return;
        }
        this.#show(frame, room);
    }

    #show(frame, room) {
        room.position = frame.position;
        this.#emit(frame);
        this.#said(frame);
    }

    /** All of the answer to a join is there. */
    #joined({ following, ...frame }, room, messages) {
        const { ref } = room;
        room.position = messages.at(-1)?.position ?? frame.position;
        if (ref !== null) {
            room.ref = null;
            const plain = (type) => messages.filter((one) => one.type === type).map(({ type: _, room: __, ...entry }) => entry);
            this.#emit({ ...frame, ref, messages: plain('message'), changes: plain('changed') });
            for (const message of messages) this.#said(message);
            return;
        }
        // The room was joined by an earlier stream: what has changed meanwhile is told as it would have been.
        if (frame.gap) this.#emit({ type: 'gap', room: frame.room, ...frame.gap });
        if (frame.reset) this.#emit({ type: 'reset', room: frame.room, ...frame.reset });
        for (const message of messages) this.#show(message, room);
        const joined = (frame.roster ?? []).map((member) => member.user);
        this.#emit({ type: 'presence', room: frame.room, joined, left: [], count: frame.count });
        this.#emit({ type: 'rules', room: frame.room, rules: frame.rules ?? {} });
    }

    #failed({ ref: name, ...frame }, room) {
        if (!room) {
            this.#emit(frame);
        } else if (room.ref !== null) {
            this.#rooms.delete(name);
            this.#emit({ ...frame, ref: room.ref, room: name });
        } else if (!frame.retry) {
            this.#rooms.delete(name);
            const reason = frame.name === 'banned' ? 'banned' : 'forbidden';
            this.#emit({ type: 'left', room: name, reason, until: frame.until, message: frame.message });
        }
    }

    // Requests.

    /** Requests that belong to no room. */
    #answerOfUser(frame) {
        const { type, ref, limit, cursor, users, ...others } = frame;
        const query = Object.fromEntries(Object.entries({ limit, cursor }).filter(([, value]) => value !== undefined));
        const calls = {
            conversation: () => this.#callAt('POST', '/api/conversations', { ...others, users, by: this.#user }),
            inbox: () => this.#callAt('GET', '/api/inbox', undefined, { ...query, user: this.#user }),
            online: () => this.#callAt('GET', '/api/online', undefined, { users: users.map(encodeURIComponent).join(',') }),
            lastSeen: () => this.#callAt('PUT', '/api/online', { ...others, user: this.#user }),
            star: () => this.#callAt('POST', '/api/stars', { ...others, user: this.#user, starred: true }),
            unstar: () => this.#callAt('POST', '/api/stars', { ...others, user: this.#user, starred: false }),
            stars: () => this.#callAt('GET', '/api/stars', undefined, { ...query, user: this.#user }),
        };
        const answer = { star: 'starred', unstar: 'starred' }[type] ?? type;
        this.#answer(frame, answer, calls[type]());
    }

    #call(method, room, what, body, query = {}) {
        return this.#callAt(method, `/api/rooms/${encodeURIComponent(room)}/${what}`, body, query);
    }

    async #callAt(method, path, body, query = {}) {
        const url = this.#address(path);
        for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
        const headers = this.#headers(body ? { 'Content-Type': 'application/json' } : {});
        const response = await this.#fetch(url.href, {
            method, headers, body: body && JSON.stringify(body), signal: this.#abort.signal, cache: 'no-store',
        });
        const json = await readJSON(response);
        if (!response.ok || !json) throw Object.assign(new Error(`HTTP ${response.status}`), { refusal: json?.error });
        return json;
    }

    /** Emits the answer to a request, or its error. */
    #answer({ ref, room }, type, call) {
        return call.then((json) => this.#emit({ ...json, type, ref, room }), (error) => this.#fail(ref, room, error));
    }

    #fail(ref, room, error) {
        const refusal = error.refusal ?? { code: 400, name: 'unavailable', message: `no answer: ${error.message}`, retry: true };
        this.#emit({ ...refusal, type: 'error', ref, room });
    }

    #ask(frame, what, names) {
        const query = Object.fromEntries(names.filter((name) => frame[name] !== undefined).map((name) => [name, frame[name]]));
        this.#answer(frame, frame.type, this.#call('GET', frame.room, what, undefined, query));
    }

    /** Posts a message, and answers when the stream has shown it too. */
    async #post({ ref, room, text, data, thread, mentions, key }) {
        try {
            const body = { user: this.#user, text, data, thread, mentions, key };
            const { position, repeated } = await this.#call('POST', room, 'messages', body);
            const place = `${position} ${room}`;
            const sent = { type: 'sent', ref, room, position, repeated };
            const at = this.#times.get(place) ?? (repeated ? await this.#timeOf(room, position) : undefined);
            if (at !== undefined) {
                this.#emit({ ...sent, at });
                return;
            }
            const timer = this.#clock.setTimeout(() => {
                this.#awaited.delete(place);
                this.#timeOf(room, position).then((said) => this.#emit({ ...sent, at: said }), (error) => this.#fail(ref, room, error));
            }, STREAM_LAG);
            this.#awaited.set(place, { sent, timer });
        } catch (error) {
            this.#fail(ref, room, error);
        }
    }

    async #timeOf(room, position) {
        const page = await this.#call('GET', room, 'messages', undefined, { around: position, limit: 1 });
        const at = page.messages?.find((message) => message.position === position)?.at;
        if (!at) throw new Error('the message is not in the log any more');
        return at;
    }

    /** Notes when a message was said, for the answer to its send. */
    #said({ room, position, at }) {
        const place = `${position} ${room}`;
        this.#times.set(place, at);
        if (this.#times.size > 500) this.#times.delete(this.#times.keys().next().value);
        const waiting = this.#awaited.get(place);
        if (!waiting) return;
        this.#awaited.delete(place);
        this.#clock.clearTimeout(waiting.timer);
        this.#emit({ ...waiting.sent, at });
    }
}

async function readJSON(response) {
    try {
        return await response.json();
    } catch {
        return undefined;
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

/** What a node says went wrong. `what`: the request that it speaks of. */
function wireError(frame, room, what = 'the node says', key = undefined) {
    return new MartletError(frame.name ?? 'error', `${what}: ${frame.message ?? 'the node gave no reason'}`, {
        code: frame.code, retry: frame.retry ?? false, room: frame.room ?? room, until: frame.until, key,
    });
}

/**
 * Ms until a time in RFC 3339, at least 0; null: no time.
 * @param {unknown} until @param {Clock} clock
 */
function timeTo(until, clock) {
    const at = typeof until === 'string' ? Date.parse(until) : NaN;
    return Number.isNaN(at) ? null : Math.max(0, at - (clock.date?.() ?? Date.now()));
}

/**
 * Parts of a list that one request may name.
 * @param {string[]} names
 */
function chunks(names) {
    const parts = [];
    for (let from = 0; from < names.length; from += NAMED) parts.push(names.slice(from, from + NAMED));
    return parts;
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
