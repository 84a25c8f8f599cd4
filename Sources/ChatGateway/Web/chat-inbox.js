/** The user's conversations as nodes tell them: the inbox, heads of rooms that are not open, notices, who is online. */

/** Conversations that are read at most, and in one page. */
const MOST = 400;
const PAGE = 100;
/** Ms after which it is asked again who is online. */
const ONLINE_EVERY = 30_000;
/** Ms after which an inbox that could not be read is read again. */
const AGAIN = 5_000;

/**
 * @typedef {import('./martlet.js').InboxEntry & { mentioned: boolean }} Conversation
 */

export class Inbox {
    /** @type {Map<string, Conversation>} By room. */
    conversations = new Map();
    /** @type {Set<string>} Users who have a session somewhere, among those of direct conversations. */
    online = new Set();
    /**
     * When others of them were last here, as far as they let this user see it.
     * @type {Record<string, string>}
     */
    seen = {};
    /**
     * Whether the node knows of conversations; null: it was not asked yet.
     * @type {boolean | null}
     */
    isKnown = null;
    #client;
    #tell;
    #watched = new Set();
    /** Whether the node refuses to tell heads, as it does over an event stream: then the inbox is read now and then. */
    #isBlind = false;
    #ended = false;
    #timer = null;
    #onlineTimer = null;
    #reading = false;
    #stale = false;

    /**
     * @param {import('./martlet.js').Client} client
     * @param {(what: 'known' | 'list' | 'head' | 'notice', detail?: any) => void} tell Called after each change; with a head
     *     or a notice as the detail.
     */
    constructor(client, tell) {
        this.#client = client;
        this.#tell = tell;
        client.on('welcome', () => {
            // Another connection, perhaps of another kind, may tell what this one did not.
            if (this.#isBlind) this.#watched.clear();
            this.#isBlind = false;
            this.read();
        });
        client.on('head', (head) => this.#head(head));
        client.on('notice', (notice) => this.#notice(notice));
        client.on('closed', () => this.end());
    }

    /** Nothing is read or told any more. */
    end() {
        this.#ended = true;
        clearTimeout(this.#timer);
        clearTimeout(this.#onlineTimer);
    }

    /** Reads all conversations, up to a bound, and watches their rooms. */
    async read() {
        if (this.#ended) return;
        if (this.#reading) {
            this.#stale = true;
            return;
        }
        this.#reading = true;
        clearTimeout(this.#timer);
        try {
            const { found, cursor } = await this.#pages(undefined);
            const before = this.conversations;
            this.conversations = new Map();
            this.#take(found, before);
            this.#setKnown(true);
            this.#tell('list');
            if (await this.#watch()) {
                // What was said before the rooms were watched had no head.
                const changes = await this.#pages(cursor);
                this.#take(changes.found, this.conversations);
                this.#tell('list');
                await this.#watch();
            }
            this.#askOnline();
        } catch (error) {
            const { reason } = /** @type {any} */ (error);
            if (reason === 'unknownType') this.#setKnown(false);
            else if (!this.#ended) this.#timer = setTimeout(() => this.read(), AGAIN);
        } finally {
            this.#reading = false;
            if (this.#stale) {
                this.#stale = false;
                this.read();
            }
        }
    }

    /**
     * Reads what is not as the cursor says.
     * @param {string | undefined} cursor
     */
    async #pages(cursor) {
        const found = [];
        for (let more = true; more && found.length < MOST;) {
            const page = await this.#client.inbox({ limit: PAGE, cursor });
            found.push(...page.conversations);
            more = page.more && page.cursor !== null && page.conversations.length > 0;
            cursor = page.cursor ?? undefined;
        }
        return { found, cursor };
    }

    #take(found, before) {
        for (const entry of found) {
            const mentioned = (before.get(entry.room)?.mentioned ?? false) && entry.unread > 0;
            this.conversations.set(entry.room, { ...entry, mentioned });
        }
    }

    #setKnown(isKnown) {
        if (this.isKnown === isKnown) return;
        this.isKnown = isKnown;
        this.#tell('known');
    }

    /**
     * All is read up to there on this device.
     * @param {string} room
     */
    markRead(room) {
        const entry = this.conversations.get(room);
        if (entry) Object.assign(entry, { unread: 0, mentioned: false });
    }

    /** Watches all rooms, those that are joined too. Whether any was not watched before. */
    async #watch() {
        const gone = [...this.#watched].filter((room) => !this.conversations.has(room));
        const added = [...this.conversations.keys()].filter((room) => !this.#watched.has(room));
        for (const room of gone) this.#watched.delete(room);
        for (const room of added) this.#watched.add(room);
        // A head of a room that is not in the list is not looked at.
        if (gone.length > 0) this.#client.unwatch(gone).catch(() => {});
        try {
            if (added.length > 0) await this.#client.watch(added);
        } catch (error) {
            const { retry } = /** @type {any} */ (error);
            if (retry) {
                for (const room of added) this.#watched.delete(room);
                throw error;
            }
            this.#isBlind = true;
        }
        return added.length > 0;
    }

    /** @param {import('./martlet.js').Head} head */
    #head({ room, position, user, at, text, unread }) {
        const entry = this.conversations.get(room);
        if (!entry) return;
        // Of a room in which nothing was said there is no message.
        if (position !== undefined) entry.last = { position, user, at, text };
        if (unread !== undefined) entry.unread = unread;
        if (entry.unread === 0) entry.mentioned = false;
        this.#tell('head', { room, position, user, at, text, unread });
    }

    #notice(notice) {
        const entry = this.conversations.get(notice.room);
        if (notice.kind === 'read' && entry) {
            entry.unread = notice.unread ?? 0;
            if (entry.unread === 0) entry.mentioned = false;
        } else if (notice.kind === 'mentioned' && entry) {
            entry.mentioned = true;
        } else if (notice.kind === 'removed') {
            this.conversations.delete(notice.room);
        } else if (notice.kind === 'invited') {
            this.read();
        }
        this.#tell('notice', notice);
    }

    /** Asks which of the others in direct conversations are online, now and then again. */
    async #askOnline() {
        clearTimeout(this.#onlineTimer);
        const users = [...this.conversations.values()].filter(({ kind }) => kind === 'direct').flatMap((entry) => entry.users);
        try {
            if (users.length > 0 && !document.hidden) {
                const { online, seen } = await this.#client.lastSeen(users);
                [this.online, this.seen] = [new Set(online), seen];
            }
            if (!this.#ended) this.#tell('list');
        } catch {
            // A later round asks again.
        }
        if (this.#ended) return;
        clearTimeout(this.#onlineTimer);
        this.#onlineTimer = setTimeout(() => {
            if (this.#isBlind && !document.hidden) this.read();
            else this.#askOnline();
        }, ONLINE_EVERY);
    }
}
