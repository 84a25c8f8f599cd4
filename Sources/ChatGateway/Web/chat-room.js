/** What the page knows of one room: the items of its talk, what waits to be sent, who types, what is unread. */
import { newKey } from './martlet.js';
import { rulesText, sanctionText } from './chat-moderation.js';
import { plural, reasonOf, span } from './chat-parts.js';

/** Items kept while the newest is in sight; scrolling back may load more. */
const KEPT = 3_000;
const KEPT_AT_MOST = 20_000;
const PAGE = 60;
const TYPING_FOR = 5_000;

/**
 * @typedef {object} Item One row of the talk.
 * @property {'message' | 'line'} kind
 * @property {number} seq Of the message; of a line the seq before it.
 * @property {Date} at
 * @property {import('./martlet.js').Message} [message]
 * @property {'info' | 'warn' | 'bad'} [tone] Of a line.
 * @property {string} [text] Of a line.
 * @property {number} [back] Of a line that tells of a return: how many returns it stands for.
 */

export class RoomModel {
    /**
     * In order. `base` is the place of the first one: it falls when older ones are loaded, and rises when some are
     * dropped.
     * @type {Item[]}
     */
    items = [];
    base = 0;
    /** Whether the log holds messages older than the first item. */
    older = true;
    loading = false;
    /**
     * Sends without a stored message in sight.
     * @type {{ key: string, text: string, at: Date, error: any, seq: number | null }[]}
     */
    pending = [];
    /** @type {Map<string, number>} Who types, until when. */
    typing = new Map();
    draft = '';
    /** The seq up to which all was read, and the seq after which the line "new" stands; null: nowhere. */
    read = 0;
    divider = null;
    seq = 0;
    preview = null;
    error = null;
    /** Whether the room was joined, and its rules are known. */
    #entered = false;
    #lostAt = 0;
    #typedAt = 0;
    #pausedUntil = 0;
    #tell;

    /**
     * @param {import('./martlet.js').Client} client
     * @param {string} name
     * @param {{ read?: number, epoch?: number }} saved
     * @param {(what: string, room: RoomModel, detail?: any) => void} tell Called after each change, with what changed.
     */
    constructor(client, name, saved, tell) {
        this.name = name;
        this.client = client;
        this.read = saved.read ?? -1;
        this.#tell = (what, detail) => tell(what, this, detail);
        this.room = client.join(name, { history: PAGE });
        this.room.on('joined', (event) => this.#joined(event));
        this.room.on('message', (message) => this.#message(message));
        this.room.on('gap', (gap) => this.#gap(gap));
        this.room.on('reset', () => this.#reset());
        this.room.on('presence', () => {
            this.#entered = true;
            this.#tell('people');
        });
        this.room.on('signal', (signal) => this.#signal(signal));
        this.room.on('rules', (rules) => {
            // Who enters is told by the notice beside the composer.
            if (this.#entered) this.#line('warn', rulesText(rules));
            this.#tell('people');
        });
        this.room.on('sanction', (sanction) => {
            this.#line('warn', sanctionText(sanction, client.user, Date.now()));
        });
        this.room.on('removed', (error) => this.#line('bad', `${reasonOf(error)}. You return by yourself when that is over`));
        this.room.on('failed', (error) => { this.error = error; this.#tell('failed'); });
        this.room.on('state', (state) => {
            if (state === 'offline') this.#lostAt ||= Date.now();
            this.#tell('state');
        });
    }

    get end() { return this.base + this.items.length; }
    get unread() { return this.read < 0 ? 0 : Math.max(0, this.seq - this.read); }

    /** @param {number} place */
    at(place) { return this.items[place - this.base]; }

    /** All that is there was seen. True if that changes anything. */
    markRead() {
        if (this.read === this.seq) return false;
        this.read = this.seq;
        return true;
    }

    /** @param {string} text */
    send(text) {
        this.#push(text, { text, key: newKey(), again: false });
    }

    /** @param {RoomModel['pending'][number]} entry A failed one. */
    sendAgain(entry) {
        this.discard(entry);
        const { text, error: { stored, key, since } } = entry;
        if (stored === undefined && key) this.#push(text, { text, key, again: true, since });
        else this.send(text);
    }

    discard(entry) {
        this.pending = this.pending.filter((one) => one !== entry);
        this.#tell('pending');
    }

    #push(text, content) {
        const entry = { key: content.key, text, at: new Date(), error: null, seq: null };
        this.pending.push(entry);
        this.divider = null;
        this.room.send(content, { timeout: 10 * 60_000 }).then(
            (sent) => {
                entry.seq = Number(sent.position.split('-')[1]);
                if (this.seq >= entry.seq) this.discard(entry);
                else this.#tell('pending');
            },
            (error) => {
                entry.error = error;
                if (error.reason === 'left') this.discard(entry);
                else this.#tell('pending');
            },
        );
        this.#tell('pending');
    }

    /** Says that you type, not more often than others need to hear it. */
    type() {
        const now = Date.now();
        if (now - this.#typedAt > TYPING_FOR / 2 && this.room.signal('typing')) this.#typedAt = now;
    }

    /** Who types now. */
    typists() {
        const now = Date.now();
        for (const [user, until] of this.typing) if (until < now) this.typing.delete(user);
        return [...this.typing.keys()];
    }

    /** Loads a page of what was said before the first item. */
    async loadOlder() {
        if (this.loading || !this.older || this.room.state !== 'joined' || Date.now() < this.#pausedUntil) return;
        this.loading = true;
        this.#tell('top');
        try {
            const first = this.items.find((item) => item.kind === 'message')?.message;
            const before = first?.position ?? nextOf(this.room.position);
            const limit = Math.min(PAGE, this.client.limits.historyPage ?? PAGE);
            const page = await this.room.history({ before, limit });
            const still = this.items.find((item) => item.kind === 'message')?.message;
            if (still !== first) return;
            const items = page.messages.map(asItem);
            this.items.unshift(...items);
            this.base -= items.length;
            this.older = page.older && items.length > 0;
        } catch {
            // What is wrong with the connection is told by the banner; a little later scrolling tries again.
            this.#pausedUntil = Date.now() + 3_000;
        } finally {
            this.loading = false;
            this.#tell('older');
        }
    }

    /** Drops the oldest items when there are too many; never while somebody reads them. */
    trim(reading) {
        if (this.items.length <= (reading ? KEPT_AT_MOST : KEPT + 1_000)) return;
        const dropped = this.items.length - (reading ? KEPT_AT_MOST - 1_000 : KEPT);
        this.items.splice(0, dropped);
        this.base += dropped;
        this.older = true;
    }

    #message(message) {
        this.items.push(asItem(message));
        this.seq = message.seq;
        this.preview = message;
        this.typing.delete(message.user);
        if (message.mine) {
            // One's own words, on whatever device, were read by oneself.
            this.read = this.seq;
            const stored = this.pending.findIndex((entry) => entry.key === message.key || entry.seq === message.seq);
            if (stored >= 0) this.pending.splice(stored, 1);
        }
        this.#tell('message', message);
    }

    #joined(event) {
        const away = this.#lostAt === 0 ? 0 : Date.now() - this.#lostAt;
        this.#lostAt = 0;
        const newest = Number(event.position.split('-')[1]);
        if (event.first) {
            // Before the first visit nothing was missed. A mark from a life of the room that is over is void.
            if (this.read < 0 || this.read > newest) this.read = newest;
            this.seq = newest;
            this.older = newest > 0;
        } else if (event.resumed) {
            const missed = event.missed === 0 ? 'nothing was missed'
                : `${plural(event.missed, 'message')} came meanwhile, none is missing`;
            this.#back(`Back after ${span(away)}, on ${this.client.node}: ${missed}`);
        } else if (event.gap) {
            this.#back(`Back after ${span(away)}, on ${this.client.node}`);
        }
        this.#tell('people');
    }

    /** A connection that comes and goes says so once, not once each time. */
    #back(text) {
        const last = this.items.at(-1);
        if (last?.back) {
            this.items.pop();
            this.#line('info', text, { back: last.back + 1, text: `${text} (${last.back + 1} times)` });
            this.#tell('rewrite');
        } else {
            this.#line('info', text, { back: 1 });
        }
    }

    #gap({ missing }) {
        const verb = missing === 1 ? 'is' : 'are';
        this.#line('warn', `${plural(missing, 'message')} said meanwhile ${verb} no longer in the room's log`);
    }

    #reset() {
        this.items = [];
        this.base = 0;
        this.divider = null;
        this.seq = Number(this.room.position.split('-')[1]);
        this.older = this.seq > 0;
        this.read = this.seq;
        this.#tell('reset');
        this.#line('bad', 'The room\'s log was lost or set back. What stood here is void; the talk goes on from here');
    }

    #line(tone, text, more = {}) {
        this.items.push({ kind: 'line', seq: this.seq, at: new Date(), tone, text, ...more });
        this.#tell('line', text);
    }

    #signal(signal) {
        if (signal.name !== 'typing') return;
        this.typing.set(signal.user, Date.now() + TYPING_FOR);
        this.#tell('typing');
    }
}

/** @param {import('./martlet.js').Message} message @returns {Item} */
const asItem = (message) => ({ kind: 'message', seq: message.seq, at: new Date(message.at), message });

/** The position after this one: `before` it is this one too. */
function nextOf(position) {
    const [epoch, seq] = position.split('-');
    return `${epoch}-${Number(seq) + 1}`;
}
