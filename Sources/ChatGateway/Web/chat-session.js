/**
 * The stay of one user on the page, from entering to signing out: the client, the inbox, the rooms that are open, and which of
 * them is in view. It decides what is announced of them, and it touches no element of the page.
 */
import { Inbox } from './chat-inbox.js';
import { memory, reasonOf, titleOf } from './chat-parts.js';
import { RoomModel } from './chat-room.js';

/** Conversations that stay joined, so that they open at once. */
const KEPT_OPEN = 20;
/** Ms after which read positions are saved, once for many of them. */
const SAVE_AFTER = 500;

/**
 * @typedef {object} SessionHandlers
 * @property {(model: RoomModel) => void} opened Another room is in view.
 * @property {(what: string, model: RoomModel) => void} changed The room in view changed; of a `reset` any room did.
 * @property {(what: string, detail?: any) => void} inboxChanged As the inbox tells it.
 * @property {() => void} redraw What stands around the talk has changed.
 * @property {(text: string, kind?: string) => void} say Announces something to a screen reader.
 * @property {(text: string) => void} problem
 * @property {(text: string) => void} over No room is left, and why.
 * @property {() => string} draft What is written and not sent in the room in view.
 * @property {() => boolean} isAway Whether nobody looks at the page.
 * @property {() => string[]} listed The names of the rooms in the order in which they are listed.
 */

export class Session {
    /** @type {Map<string, RoomModel>} By name, the least recently opened first. */
    rooms = new Map();
    /**
     * The room in view.
     * @type {RoomModel | null}
     */
    current = null;
    #on;
    #ended = false;
    #saveTimer = null;

    /**
     * @param {import('./martlet.js').Client} client
     * @param {SessionHandlers} handlers
     */
    constructor(client, handlers) {
        this.client = client;
        this.#on = handlers;
        this.inbox = new Inbox(client, (what, detail) => this.#inboxChanged(what, detail));
    }

    /**
     * What a person calls a room.
     * @param {string} name
     */
    title(name) {
        return titleOf(name, this.client.user, this.inbox.conversations.get(name)?.users);
    }

    /** Opens what was open when the user was here before, and the room `name`; `address` names the room to bring into view. */
    restore(name, address) {
        const saved = memory.read(`rooms ${this.client.user}`);
        // Conversations are in the inbox; the one that was open is open again.
        const known = Object.keys(saved).filter((room) => !saved[room].conversation || room === address);
        for (const room of known) this.#add(room, saved[room]);
        this.#add(name, saved[name], Date.now());
        this.open(known.includes(address) ? address : name);
    }

    /** Ends the stay: nothing is told of it any more. */
    end() {
        this.#ended = true;
        clearTimeout(this.#saveTimer);
        this.inbox.end();
        this.client.close();
    }

    /** Joins a room, unless it is joined, without bringing it into view. */
    #add(name, saved = {}, openedAt = 0) {
        if (this.rooms.has(name)) return;
        const model = new RoomModel(this.client, name, saved, (what, room, detail) => this.#changed(what, room, detail));
        model.openedAt = openedAt;
        this.rooms.set(name, model);
        this.save();
        this.#on.redraw();
    }

    /**
     * Brings a room that is joined, or a conversation of the inbox, into view.
     * @param {string} name
     */
    open(name) {
        if (!this.rooms.has(name) && this.inbox.conversations.has(name)) this.#add(name);
        const model = this.rooms.get(name);
        if (!model) return;
        if (this.current) {
            this.current.draft = this.#on.draft();
            this.current.divider = null;
        }
        this.current = model;
        this.rooms.delete(name);
        this.rooms.set(name, model);
        this.#closeOldest();
        if (model.unread > 0) model.divider = model.read;
        this.#on.opened(model);
        this.#on.redraw();
    }

    /**
     * Joins a room, if it is not joined yet, and brings it into view.
     * @param {string} name
     */
    enter(name) {
        this.#add(name, {}, Date.now());
        this.open(name);
    }

    /**
     * Opens the conversation with one other user.
     * @param {string} user
     */
    async beginDirect(user) {
        const { room } = await this.client.direct(user);
        this.#begun(room);
    }

    /**
     * Makes a group and opens it.
     * @param {string} name
     * @param {string[]} users
     */
    async beginGroup(name, users) {
        const { room } = await this.client.createGroup(name, users);
        this.#begun(room);
    }

    #begun(room) {
        if (this.#ended) return;
        this.inbox.read();
        this.enter(room);
    }

    /**
     * Leaves a room at the user's wish.
     * @param {RoomModel} model
     */
    leave(model) {
        this.#on.say(`You left ${this.title(model.name)}`);
        this.#drop(model, '');
    }

    /**
     * The room in view was seen up to that seq; all of it, if none is given.
     * @param {number} [seq]
     */
    read(seq) {
        const model = this.current;
        if (!model?.markRead(seq)) return;
        if (model.unread === 0) this.inbox.markRead(model.name);
        this.#saveTimer ??= setTimeout(() => {
            this.#saveTimer = null;
            this.save();
        }, SAVE_AFTER);
        this.#on.redraw();
    }

    /** Remembers which rooms are open, and up to where they are read. */
    save() {
        if (this.#ended) return;
        const saved = {};
        for (const model of this.rooms.values()) {
            saved[model.name] = { read: model.read, ...(model.isConversation ? { conversation: true } : {}) };
        }
        memory.write(`rooms ${this.client.user}`, saved);
    }

    /** Of many open conversations the least recently opened ones are closed: their heads are watched anyway. */
    #closeOldest() {
        const mayClose = (model) => model.isConversation && model !== this.current && model.pending.length === 0 && !isWritten(model);
        const open = [...this.rooms.values()].filter(mayClose);
        for (const model of open.slice(0, Math.max(0, open.length - KEPT_OPEN))) {
            model.room.leave();
            this.rooms.delete(model.name);
        }
    }

    /** The room is not in the list any more; the next one is opened. `why`: what is told if there is no other. */
    #drop(model, why) {
        model.room.leave();
        this.rooms.delete(model.name);
        this.save();
        this.inbox.conversations.delete(model.name);
        this.#goOn(model, why);
        this.#on.redraw();
    }

    /** Goes on without that room. */
    #goOn(model, why) {
        const isThere = (name) => name !== model.name && (this.rooms.has(name) || this.inbox.conversations.has(name));
        // What was opened in this moment is not listed yet.
        const next = this.#on.listed().find(isThere) ?? [...this.rooms.keys()].at(-1);
        if (next === undefined) this.#on.over(why);
        else if (model === this.current) this.open(next);
    }

    /** A room model changed. */
    #changed(what, model, detail) {
        if (this.#ended || (this.rooms.get(model.name) !== model && what !== 'state')) return;
        switch (what) {
            case 'message':
                if (model !== this.current) model.trim(false);
                this.#heard(model, detail);
                break;
            case 'line':
                this.#on.say(detail);
                break;
            case 'failed':
                this.#failed(model);
                return;
            case 'entered':
                if (model === this.current && model.unread > 0 && model.divider === null) model.divider = model.read;
                break;
        }
        if (model === this.current || what === 'reset') this.#on.changed(what, model);
        this.#on.redraw();
    }

    /** Somebody sent a message. */
    #heard(model, message) {
        if (message.mine) return;
        const isCurrent = model === this.current;
        if (isCurrent && model.divider === null && this.#on.isAway() && model.unread === 1) model.divider = model.read;
        // Of what was sent earlier, the history of a room among it, the list tells how much is new.
        if (!message.live) return;
        const isFor = message.mentions?.includes(this.client.user) ?? false;
        if (!isFor && !isCurrent && isMuted(this.inbox.conversations.get(model.name))) return;
        const place = isCurrent ? '' : ` in ${this.title(model.name)}`;
        this.#on.say(`${message.user}${place}: ${(message.text ?? 'data').slice(0, 200)}`, 'message');
    }

    #failed(model) {
        // The end of the client ends every room; that is told once, and the rooms stay remembered.
        if (this.client.state === 'closed') return;
        const why = `${this.title(model.name)}: ${reasonOf(model.error)}`;
        this.rooms.delete(model.name);
        this.save();
        this.#goOn(model, why);
        if (this.#ended) return;
        this.#on.problem(model.wasJoined ? `You are no longer in ${why}` : `You could not enter ${why}`);
        this.#on.redraw();
    }

    /** The list of conversations, or what is newest in one, has changed. */
    #inboxChanged(what, detail) {
        if (this.#ended) return;
        if (what === 'head') this.#headChanged(detail);
        if (what === 'notice') this.#noticed(detail);
        if (this.#ended) return;
        this.#on.inboxChanged(what, detail);
        this.#on.redraw();
    }

    #headChanged({ room, user, text = 'data', unread = 0 }) {
        // What is said in open rooms is told by themselves.
        if (this.rooms.has(room) || unread === 0 || user === this.client.user) return;
        if (isMuted(this.inbox.conversations.get(room))) return;
        this.#on.say(`${user} in ${this.title(room)}: ${text.slice(0, 200)}`, 'message');
    }

    /** @param {import('./martlet.js').Notice} notice */
    #noticed(notice) {
        const { kind, by, room } = notice;
        const title = this.title(room);
        const model = this.rooms.get(room);
        model?.noticed(notice);
        if (kind === 'invited' && by !== this.client.user) this.#on.say(`${by ?? 'Somebody'} invited you: ${title}`);
        if (kind === 'mentioned') this.#on.say(`${by ?? 'Somebody'} mentioned you in ${title}`);
        if (kind !== 'removed') return;
        const text = `You do not belong to ${title} any more`;
        this.#on.say(text);
        if (model?.isConversation) this.#drop(model, `${text}.`);
    }
}

/**
 * Whether something was written in a room and not sent.
 * @param {RoomModel} model
 */
const isWritten = ({ draft, composing }) => draft !== '' || composing !== null;

/**
 * Whether the user does not want to be told of a conversation.
 * @param {import('./chat-inbox.js').Conversation | undefined} entry
 */
export const isMuted = (entry) => entry?.notify === 'none' || (entry?.notify === 'mentions' && !entry.mentioned);
