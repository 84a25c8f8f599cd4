/** What the page knows of one room: the items of its talk, what waits to be sent, who types, what is unread. */
import { applyChange, newKey } from './martlet.js';
import { rulesText, sanctionText } from './chat-moderation.js';
import { Participants } from './chat-participants.js';
import { nextOf, plural, reasonOf, seqOf, span } from './chat-parts.js';

/** Items kept while the newest is in sight; scrolling back may load more. */
const KEPT = 3_000;
const KEPT_AT_MOST = 20_000;
/** Messages that are asked for at once. */
export const PAGE = 60;
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
 * @property {number} [version] Of a message: raised with each change of it.
 * @property {boolean} [saving] Of a message: whether an edit of it is under way.
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
     * @type {{ key: string, text: string, more: { thread?: string, mentions?: string[] }, at: Date, error: any,
     *     seq: number | null }[]}
     */
    pending = [];
    /** @type {Map<string, number>} Who types, until when. */
    typing = new Map();
    draft = '';
    /** What the composer is for: a reply to an item, an edit of one, or (null) a new message. */
    composing = null;
    #people;
    /** When the user opened it: a room without messages stands in the list by that time. */
    openedAt = 0;
    /** Whether somebody named this user in what is unread. */
    mentioned = false;
    /** The seq up to which all was read, and the seq after which the line "new" stands; null: nowhere. */
    read = 0;
    divider = null;
    seq = 0;
    preview = null;
    error = null;
    /** Whether the room was joined, and its rules are known. */
    #entered = false;
    /** Whether it was joined, so that its newest message and what was read of it are known. */
    #wasJoined = false;
    #unread = 0;
    /** The seq up to which messages are counted in `unread`. */
    #counted = 0;
    /**
     * Where the last page of older messages begins; null: at the first item.
     * @type {string | null}
     */
    #olderThan = null;
    /** @type {Map<number, Item>} Items of messages. */
    #bySeq = new Map();
    /** @type {number[] | null} The read positions of the others, sorted. */
    #reads = null;
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
        this.room.on('changed', (change) => this.#changed(change));
        this.room.on('receipts', ({ reads }) => this.#receipts(reads));
        this.#people = new Participants(this.room, {
            changed: () => this.#tell('participants'), say: (text) => { if (this.#entered) this.#line('info', text); },
        });
        this.room.on('gap', (gap) => this.#gap(gap));
        this.room.on('reset', () => this.#reset());
        this.room.on('presence', () => {
            if (this.#wasJoined && !this.#entered) this.#enter();
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
    get unread() { return this.#unread; }
    /** Whether the user was in the room at any time. */
    get wasJoined() { return this.#wasJoined; }
    /** Whether the room has participants, this user among them. */
    get isConversation() { return this.room.unread !== null; }

    /** @type {import('./martlet.js').ConversationKind | null} */
    get kind() { return this.room.kind; }

    /** Who belongs to the conversation; empty for other rooms. */
    get participants() { return this.#people.list; }

    /** This user's part in the conversation. */
    get role() { return this.participants.find((one) => one.user === this.client.user)?.role ?? null; }

    /** Whether this user may change what others wrote, and pin. */
    get mayModerate() {
        const { rights } = this.room;
        const isGranted = rights?.includes('moderate') || rights?.includes('amend-any');
        return isGranted || this.role === 'owner' || this.role === 'moderator';
    }

    /**
     * The item of a message, if it is loaded. A position of a lost log may have the seq of another message.
     * @param {string} position @returns {Item | undefined}
     */
    itemOf(position) {
        const item = this.#bySeq.get(seqOf(position));
        return item?.message.position === position ? item : undefined;
    }

    /**
     * How many of the others have read a message, and who.
     * @param {Item} item
     */
    readersOf(item) {
        if (!this.room.receipts) return { count: 0, of: 0 };
        this.#reads ??= [...this.room.receipts].filter(([user]) => user !== this.client.user)
            .map(([, position]) => seqOf(position)).sort((a, b) => a - b);
        let low = 0;
        let high = this.#reads.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.#reads[middle] < item.seq) low = middle + 1;
            else high = middle;
        }
        const others = this.participants.filter(({ user }) => user !== this.client.user).length;
        return { count: this.#reads.length - low, of: Math.max(others, this.#reads.length) };
    }

    /** @param {number} place */
    at(place) { return this.items[place - this.base]; }

    /** What is there up to that seq was seen, or all of it. True if that changes anything. */
    markRead(seq = this.seq) {
        const to = Math.min(seq, this.seq);
        if (!this.#wasJoined || to <= this.read) return false;
        const isAll = to === this.seq;
        const position = isAll ? this.room.position : this.#bySeq.get(to)?.message.position;
        this.read = to;
        this.#unread = isAll ? 0 : this.#countAfter(to);
        if (isAll) this.mentioned = false;
        if (position && this.isConversation) this.room.read(position);
        return true;
    }

    #countAfter(seq) {
        let unread = 0;
        for (let index = this.items.length - 1; index >= 0 && this.items[index].seq > seq; index -= 1) {
            const { kind, message } = this.items[index];
            if (kind === 'message' && !message.mine) unread += 1;
        }
        return Math.min(unread, this.#unread);
    }

    /**
     * @param {string} text
     * @param {{ thread?: string, mentions?: string[] }} [more]
     */
    send(text, more = {}) {
        this.#push(text, more, { text, ...more, key: newKey(), again: false });
    }

    /** @param {RoomModel['pending'][number]} entry A failed one. */
    sendAgain(entry) {
        this.discard(entry);
        const { text, more, error: { stored, key, since } } = entry;
        if (stored === undefined && key) this.#push(text, more, { text, ...more, key, again: true, since });
        else this.send(text, more);
    }

    /**
     * Replaces the text of one's own message. Resolves when it is stored.
     * @param {Item} item
     * @param {string} text
     */
    async edit(item, text) {
        const { position, data } = item.message;
        this.#touch(item, { saving: true });
        try {
            await this.room.edit(position, { text, ...(data === undefined ? {} : { data }) });
        } finally {
            this.#touch(item, { saving: false });
        }
    }

    /**
     * Gives a reaction, or takes it back.
     * @param {Item} item
     * @param {string} emoji
     */
    toggleReaction(item, emoji) {
        const { position, reactions } = item.message;
        const isMine = reactions?.[emoji]?.users.includes(this.client.user) ?? false;
        return isMine ? this.room.unreact(position, emoji) : this.room.react(position, emoji);
    }

    #touch(item, more = {}) {
        Object.assign(item, more, { version: (item.version ?? 0) + 1 });
        this.#tell('changed');
    }

    discard(entry) {
        this.pending = this.pending.filter((one) => one !== entry);
        this.#tell('pending');
    }

    #push(text, more, content) {
        const entry = { key: content.key, text, more, at: new Date(), error: null, seq: null };
        this.pending.push(entry);
        this.divider = null;
        this.room.send(content, { timeout: 10 * 60_000 }).then(
            (sent) => {
                entry.seq = seqOf(sent.position);
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

    /** The oldest message from which on everything is loaded. */
    get firstMessage() { return this.items.find((item) => item.kind === 'message')?.message; }

    /** Loads a page of what was said before the first item. */
    async loadOlder() {
        if (this.loading || !this.older || this.room.state !== 'joined' || Date.now() < this.#pausedUntil) return;
        this.loading = true;
        this.#tell('top');
        try {
            const first = this.firstMessage;
            const before = this.#olderThan ?? first?.position ?? nextOf(this.room.position);
            const limit = Math.min(PAGE, this.client.limits.historyPage ?? PAGE);
            const page = await this.room.history({ before, limit });
            if (this.firstMessage !== first) return;
            this.prepend(page.messages.map(asItem), page);
        } catch {
            // What is wrong with the connection is told by the banner; a little later scrolling tries again.
            this.#pausedUntil = Date.now() + 3_000;
        } finally {
            this.loading = false;
            this.#tell('older');
        }
    }

    /**
     * Takes in what was said immediately before the first item.
     * @param {Item[]} items
     * @param {{ first: string | null, older: boolean }} page Where that begins, and whether the log holds older messages.
     */
    prepend(items, { first, older }) {
        for (const item of items) this.#bySeq.set(item.seq, item);
        this.items.unshift(...items);
        this.base -= items.length;
        this.#olderThan = first;
        this.older = older && first !== null;
    }

    /** Reads who belongs to the conversation. */
    loadParticipants() { return this.#people.load(); }

    /** Drops the oldest items when there are too many; never while somebody reads them. */
    trim(reading) {
        if (this.items.length <= (reading ? KEPT_AT_MOST : KEPT + 1_000)) return;
        const dropped = this.items.length - (reading ? KEPT_AT_MOST - 1_000 : KEPT);
        for (const item of this.items.splice(0, dropped)) if (item.kind === 'message') this.#bySeq.delete(item.seq);
        this.base += dropped;
        this.#olderThan = null;
        this.older = true;
    }

    #message(message) {
        const item = asItem(message);
        this.items.push(item);
        this.#bySeq.set(item.seq, item);
        this.seq = message.seq;
        this.preview = message;
        this.typing.delete(message.user);
        const root = message.thread && this.itemOf(message.thread);
        if (root) this.#touch(root);
        if (message.seq > this.#counted) {
            this.#counted = message.seq;
            // Of what was missed, another device may have read the beginning.
            if (message.seq > this.read) {
                this.#unread += 1;
                if (message.mentions?.includes(this.client.user) && !message.mine) this.mentioned = true;
            }
        }
        if (message.mine) {
            // Who sends, on whatever device, has read up to there. In the history of a room, what follows may be unread.
            if (message.seq > this.read) {
                this.read = message.seq;
                this.#unread = Math.min(this.#unread, Math.max(0, this.#counted - message.seq));
                this.mentioned = false;
            }
            const stored = this.pending.findIndex((entry) => entry.key === message.key || entry.seq === message.seq);
            if (stored >= 0) this.pending.splice(stored, 1);
        }
        this.#tell('message', message);
    }

    /** An earlier message has changed. */
    #changed(change) {
        const item = this.itemOf(change.of);
        if (item) {
            if (item.message !== change.message) applyChange(item.message, change);
            this.#touch(item);
        }
        if (this.preview?.position === change.of && this.preview !== item?.message) applyChange(this.preview, change);
    }

    #receipts(reads) {
        this.#reads = null;
        for (const participant of this.participants) {
            if (reads[participant.user]) participant.read = reads[participant.user];
        }
        this.#readElsewhere();
        this.#tell('receipts');
    }

    /** Another device of this user has read further. */
    #readElsewhere() {
        const read = seqOf(this.room.lastRead ?? '');
        if (!this.isConversation || read <= this.read) return;
        this.read = read;
        const first = this.firstMessage;
        // After a return the node counts what comes only now, too: what is here is counted here, as far as it is.
        if (read >= this.seq) this.#unread = 0;
        else if (first && first.seq <= read + 1) this.#unread = this.#countAfter(read);
        else this.#unread = this.room.unread ?? 0;
        if (this.#unread === 0) this.mentioned = false;
    }

    /** @param {import('./martlet.js').Notice} notice */
    noticed(notice) {
        if (notice.kind !== 'read') return;
        this.#readElsewhere();
        this.#tell('receipts');
    }

    #joined(event) {
        const away = this.#lostAt === 0 ? 0 : Date.now() - this.#lostAt;
        this.#lostAt = 0;
        const newest = seqOf(event.position);
        this.#wasJoined = true;
        if (event.first) {
            // Before the first visit nothing was missed. A mark from a life of the room that is over is void.
            if (this.read < 0 || this.read > newest) this.read = newest;
            this.#unread = Math.max(0, newest - this.read);
            if (this.isConversation) {
                this.read = seqOf(this.room.lastRead ?? '');
                this.#unread = this.room.unread ?? 0;
            }
            this.seq = newest;
            this.#counted = newest;
            this.older = newest > 0;
        } else if (event.resumed) {
            const missed = event.missed === 0 ? 'nothing was missed'
                : `${plural(event.missed, 'message')} came meanwhile, none is missing`;
            this.#back(`Back after ${span(away)}, on ${this.client.node}: ${missed}`);
        } else if (event.gap) {
            this.#back(`Back after ${span(away)}, on ${this.client.node}`);
        }
        if (!event.first) this.#readElsewhere();
        this.#reads = null;
        this.#tell('people');
    }

    /** The room was joined for the first time, and its newest messages are here. */
    #enter() {
        this.#entered = true;
        const first = this.firstMessage;
        if (!this.isConversation && first) {
            // Changes have a seq too, and are not unread: what is here is counted, what is further back is not known better.
            this.#unread = Math.min(this.#unread, Math.max(0, first.seq - 1 - this.read) + this.#countAfter(this.read));
        }
        this.#tell('entered');
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

    #gap({ missing, before }) {
        this.seq = seqOf(before) - 1;
        this.#counted = this.seq;
        // Another device may have read some of them.
        this.#unread += Math.max(0, Math.min(missing, this.seq - this.read));
        const verb = missing === 1 ? 'is' : 'are';
        this.#line('warn', `${plural(missing, 'message')} said meanwhile ${verb} no longer in the room's log`);
    }

    #reset() {
        this.items = [];
        this.base = 0;
        this.divider = null;
        this.seq = seqOf(this.room.position);
        this.older = this.seq > 0;
        this.read = this.seq;
        this.#unread = 0;
        this.#counted = this.seq;
        this.#olderThan = null;
        this.#bySeq.clear();
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

/** @type {(message: import('./martlet.js').Message) => Item} */
export const asItem = (message) => ({ kind: 'message', seq: message.seq, at: new Date(message.at), message });
