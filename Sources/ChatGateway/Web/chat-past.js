/**
 * What is in view of a room that shows earlier messages than its newest ones: those around a message or a time. It touches no
 * element of the page.
 */
import { applyChange } from './martlet.js';
import { seqOf } from './chat-parts.js';
import { PAGE, asItem } from './chat-room.js';

/** Ms after which scrolling asks again for messages that could not be read. */
const AGAIN_AFTER = 3_000;

/**
 * Earlier messages of a room, with others between them and what the room's model holds. They are shown in place of the model,
 * so that no more than a page has to be read to go back by years. More is read at both ends as one scrolls. When the end
 * reaches the model's first message, the model takes all of it over and is shown again.
 */
export class Past {
    /** @type {import('./chat-room.js').Item[]} */
    items = [];
    base = 0;
    older;
    loading = false;
    /** Whether the log holds messages between the last item and the model's first one. */
    newer = true;
    // What the talk asks of a model: nothing here is new or waits to be sent.
    divider = null;
    unread = 0;
    pending = [];
    #model;
    #on;
    #first;
    #last;
    #isReading = false;
    #pausedUntil = 0;
    #stop = () => {};

    /**
     * @param {import('./chat-room.js').RoomModel} model
     * @param {Awaited<ReturnType<import('./martlet.js').Room['history']>>} page
     * @param {{ changed: () => void, met: () => void }} handlers `met`: the model has taken it over.
     */
    constructor(model, page, handlers) {
        this.#model = model;
        this.#on = handlers;
        this.#first = page.first;
        this.#last = page.last;
        this.older = page.older && page.first !== null;
        this.#append(page);
    }

    get room() { return this.#model.room; }
    get client() { return this.#model.client; }
    get name() { return this.#model.name; }
    get end() { return this.base + this.items.length; }

    /** @param {number} place */
    at(place) { return this.items[place - this.base]; }

    /** @param {string} position */
    itemOf(position) {
        return this.items.find((item) => item.message.position === position) ?? this.#model.itemOf(position);
    }

    /** @param {import('./chat-room.js').Item} item */
    readersOf(item) { return this.#model.readersOf(item); }

    /** It is shown: what changes in it is told from now on. */
    open() {
        this.#stop = this.room.on('changed', (change) => this.#changed(change));
    }

    /** It is shown no longer, and reads nothing any more. */
    close() {
        this.#stop();
        this.newer = false;
        this.older = false;
    }

    async loadOlder() {
        if (!this.older || !this.#mayRead) return;
        this.loading = true;
        const page = await this.#read({ before: this.#first });
        this.loading = false;
        // What was closed meanwhile takes nothing in.
        if (page && this.newer) {
            const items = page.messages.map(asItem);
            this.items.unshift(...items);
            this.base -= items.length;
            this.#first = page.first;
            this.older = page.older && page.first !== null;
        }
        this.#on.changed();
    }

    async loadNewer() {
        if (!this.newer || !this.#mayRead) return;
        const page = await this.#read({ after: this.#last });
        if (page && this.newer) {
            this.#append(page);
            if (!this.newer) this.#on.met();
        }
        this.#on.changed();
    }

    /** One page is read at a time, so that both ends are those of the same items. */
    get #mayRead() { return !this.#isReading && this.room.state === 'joined' && Date.now() >= this.#pausedUntil; }

    async #read(query) {
        this.#isReading = true;
        this.#on.changed();
        try {
            return await this.room.history({ ...query, limit: pageOf(this.client) });
        } catch {
            // What is wrong with the connection is told by the banner; a little later scrolling tries again.
            this.#pausedUntil = Date.now() + AGAIN_AFTER;
            return null;
        } finally {
            this.#isReading = false;
        }
    }

    /** Takes in a page that follows the last item. If nothing is between it and the model's messages, the model goes on. */
    #append({ messages, newer, last }) {
        const next = this.#model.firstMessage?.seq ?? Infinity;
        // The model may have taken over another part since, which begins among these items.
        this.items = [...this.items, ...messages.map(asItem)].filter((item) => item.seq < next);
        this.#last = last ?? this.#last;
        if (newer && last !== null && seqOf(last) < next - 1) return;
        this.#model.prepend(this.items, { first: this.#first, older: this.older });
        this.close();
    }

    #changed(change) {
        const item = this.items.find(({ message }) => message.position === change.of);
        if (!item) return;
        if (item.message !== change.message) applyChange(item.message, change);
        item.version = (item.version ?? 0) + 1;
        this.#on.changed();
    }
}

/**
 * Reads what was said around a message or a time. Resolves to what shows it, which is the model itself if nothing is between,
 * and to the item that was looked for; null: it is not there.
 * @param {import('./chat-room.js').RoomModel} model
 * @param {{ around: string } | { time: number }} query
 * @param {(message: import('./martlet.js').Message) => boolean} isSought True for the message, or for it and later ones.
 * @param {{ changed: () => void, met: () => void }} handlers
 * @returns {Promise<{ shown: import('./chat-room.js').RoomModel | Past, item: import('./chat-room.js').Item } | null>}
 */
export async function lookBack(model, query, isSought, handlers) {
    const first = model.firstMessage;
    const page = await model.room.history({ ...query, limit: pageOf(model.client) });
    const sought = page.messages.find(isSought);
    // A page of a log that was lost meanwhile is void.
    if (!sought || (first && !model.itemOf(first.position))) return null;
    const known = model.itemOf(sought.position);
    if (known) return { shown: model, item: known };
    const past = new Past(model, page, handlers);
    return { shown: past.newer ? past : model, item: past.itemOf(sought.position) };
}

const pageOf = (client) => Math.min(PAGE, client.limits.historyPage ?? PAGE);
