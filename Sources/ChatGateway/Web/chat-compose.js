/** What is written: a new message, a reply or an edit; and the completion of names after an @. */
import { avatar, byId, count, el, reasonOf } from './chat-parts.js';

const SUGGESTED = 6;
/** Pixels that the field may grow to. */
const HIGHEST = 180;
/** Bytes of a frame that are left for what is not the text. */
const FRAME_BYTES = 512;

export class Composer {
    #on;
    #found = [];
    #chosen = 0;
    /** Where the @ stands of the name that is being written; -1: nowhere. */
    #at = -1;
    /** Names that were chosen while this text was written. */
    #named = new Set();

    /**
     * @param {{ model: () => import('./chat-room.js').RoomModel | null, isKnown: () => boolean, say: (text: string) => void,
     *     sent: () => void }} handlers `isKnown`: whether the node knows of replies, edits and mentions.
     */
    constructor(handlers) {
        this.#on = handlers;
        this.field = /** @type {HTMLTextAreaElement} */ (byId('text'));
        byId('context-cancel').addEventListener('click', () => this.cancel());
        byId('composer').addEventListener('submit', (event) => {
            event.preventDefault();
            this.submit();
        });
        this.field.addEventListener('keydown', (event) => this.#keydown(event));
        this.field.addEventListener('input', () => {
            this.#resize();
            if (this.field.value !== '') this.#on.model()?.type();
            this.#complete();
        });
        this.field.addEventListener('click', () => this.#complete());
        this.field.addEventListener('blur', () => this.#close());
        byId('suggestions').addEventListener('pointerdown', (event) => {
            // Before the field loses the focus.
            event.preventDefault();
            const option = event.target.closest('[role=option]');
            if (option) this.#take([...byId('suggestions').children].indexOf(option));
        });
    }

    /** Begins a reply to a message. */
    reply(item) {
        this.#begin({ kind: 'reply', item, draft: null });
    }

    /** Begins an edit of one's own message; what was written waits until it is over. */
    edit(item) {
        const model = this.#on.model();
        if (model.composing?.kind === 'edit') this.field.value = model.composing.draft;
        this.#begin({ kind: 'edit', item, draft: this.field.value });
        this.field.value = item.message.text;
        this.#resize();
    }

    #begin(composing) {
        this.#on.model().composing = composing;
        this.#draw();
        this.field.focus();
    }

    /** Back to a new message. True if there was anything to give up. */
    cancel() {
        const model = this.#on.model();
        if (!model?.composing) return false;
        this.giveUp(model);
        this.field.focus();
        return true;
    }

    /**
     * A reply or an edit is given up, in whatever room.
     * @param {import('./chat-room.js').RoomModel} model
     */
    giveUp(model) {
        const { composing } = model;
        model.composing = null;
        if (model !== this.#on.model()) {
            if (composing?.kind === 'edit') model.draft = composing.draft;
            return;
        }
        if (composing?.kind === 'edit') this.field.value = composing.draft;
        this.#draw();
        this.#resize();
    }

    /**
     * Another room is in view: goes on with what was being written there.
     * @param {import('./chat-room.js').RoomModel} model
     */
    open(model) {
        this.field.value = model.draft;
        this.problem('');
        this.#named.clear();
        this.#close();
        this.#draw();
        this.#resize();
    }

    /**
     * Tells that something that was asked for did not come about.
     * @param {any} error An error, or words; no words: all is well.
     */
    problem(error) {
        const text = typeof error === 'string' ? error : reasonOf(error);
        byId('composer-error').textContent = text;
        byId('composer-error').hidden = text === '';
    }

    /** Sends what is written, or stores the edit. */
    submit() {
        const model = this.#on.model();
        const text = this.field.value.trim();
        if (text === '' || !model) return;
        const limit = (model.client.limits.frameBytes ?? 65_536) - FRAME_BYTES;
        const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
        if (bytes > limit) {
            this.problem(`This is ${count(bytes)} bytes long; a message may have ${count(limit)}.`);
            return;
        }
        this.problem('');
        const { composing } = model;
        if (composing?.kind === 'edit') {
            this.#saveEdit(model, composing, text);
            this.cancel();
            return;
        }
        const mentions = this.#on.isKnown() ? this.mentionsIn(text) : [];
        model.send(text, {
            ...(composing ? { thread: rootOf(composing.item) } : {}), ...(mentions.length > 0 ? { mentions } : {}),
        });
        model.composing = null;
        this.field.value = '';
        this.#named.clear();
        this.#close();
        this.#draw();
        this.#resize();
        this.#on.sent();
        this.field.focus();
    }

    async #saveEdit(model, composing, text) {
        if (text === composing.item.message.text) return;
        try {
            await model.edit(composing.item, text);
            this.#on.say('Edited');
        } catch (error) {
            this.problem(error);
            // What was written is not lost.
            if (model !== this.#on.model() || this.field.value !== '') return;
            this.edit(composing.item);
            this.field.value = text;
            this.#resize();
        }
    }

    /** Edits the newest of one's own messages that still has a text. False if there is none. */
    #editLast() {
        const { items } = this.#on.model() ?? { items: [] };
        const own = items.filter((one) => one.message?.mine && one.message.text !== undefined && !one.message.deleted);
        const item = own.at(-1);
        if (item) this.edit(item);
        return item !== undefined;
    }

    #keydown(event) {
        // While an input method composes (Korean, Japanese, Chinese …), all keys belong to it.
        if (event.isComposing || event.keyCode === 229) return;
        const isUp = event.key === 'ArrowUp' && !event.altKey && this.field.value === '' && this.#on.isKnown();
        if (this.#takesKey(event) || (event.key === 'Escape' && this.cancel()) || (isUp && this.#editLast())) {
            event.preventDefault();
            return;
        }
        if (event.key !== 'Enter' || event.shiftKey || matchMedia('(hover: none) and (pointer: coarse)').matches) return;
        event.preventDefault();
        this.submit();
    }

    #resize() {
        this.field.style.height = 'auto';
        this.field.style.height = `${Math.min(this.field.scrollHeight, HIGHEST)}px`;
    }

    #draw() {
        const composing = this.#on.model()?.composing ?? null;
        byId('context').hidden = composing === null;
        if (!composing) return;
        const { user, text } = composing.item.message;
        const what = composing.kind === 'edit' ? ['Edit your message'] : ['Reply to ', el('bdi', {}, user)];
        byId('context-what').replaceChildren(...what);
        byId('context-text').textContent = (text ?? 'data').slice(0, 200);
    }

    /**
     * The users whom a text mentions, of those who can be.
     * @param {string} text
     */
    mentionsIn(text) {
        const names = new Set([...this.#named, ...this.#people()]);
        return [...names].filter((name) => hasMention(text, name)).slice(0, 50);
    }

    /** Everybody who may be meant: participants, who is here, and who has written lately. */
    #people() {
        const model = this.#on.model();
        if (!model) return [];
        const writers = model.items.slice(-100).flatMap((item) => (item.message ? [item.message.user] : []));
        const all = [...model.participants.map(({ user }) => user), ...model.room.members ?? [], ...writers.reverse()];
        return [...new Set(all)].filter((user) => user !== model.client.user);
    }

    /** Keys that belong to the list of names. True if it took one. Shift and Tab leave the field as ever. */
    #takesKey(event) {
        if (this.#found.length === 0 || event.shiftKey) return false;
        switch (event.key) {
            case 'ArrowDown': this.#choose(this.#chosen + 1); break;
            case 'ArrowUp': this.#choose(this.#chosen - 1); break;
            case 'Enter': case 'Tab': this.#take(this.#chosen); break;
            case 'Escape': this.#close(); break;
            default: return false;
        }
        event.stopPropagation();
        return true;
    }

    #complete() {
        const before = this.field.value.slice(0, this.field.selectionStart);
        const begun = this.#on.isKnown() ? /(?:^|\s)@([^@\n]{0,40})$/.exec(before) : null;
        const typed = begun?.[1].toLocaleLowerCase() ?? '';
        const people = begun ? this.#people() : [];
        const found = people.filter((name) => startsAWord(name.toLocaleLowerCase(), typed)).slice(0, SUGGESTED);
        const isDone = found.length === 1 && found[0].toLocaleLowerCase() === typed;
        if (!begun || isDone || found.length === 0) {
            this.#close();
            return;
        }
        this.#at = before.length - begun[1].length - 1;
        const isNew = this.#found.length === 0;
        this.#found = found;
        this.#drawNames();
        this.#choose(0);
        if (isNew) this.#on.say(`${found.length} names; arrows and Enter choose`);
    }

    #drawNames() {
        const list = byId('suggestions');
        const option = (name, index) => el('li', { role: 'option', id: `suggestion-${index}` }, avatar(name), el('bdi', {}, name));
        list.replaceChildren(...this.#found.map(option));
        list.hidden = false;
    }

    #choose(index) {
        this.#chosen = (index + this.#found.length) % this.#found.length;
        [...byId('suggestions').children].forEach((option, at) => option.setAttribute('aria-selected', String(at === this.#chosen)));
        this.field.setAttribute('aria-activedescendant', `suggestion-${this.#chosen}`);
    }

    #take(index) {
        const name = this.#found[index];
        const end = this.field.selectionStart;
        const { value } = this.field;
        const inserted = `@${name} `;
        this.field.value = `${value.slice(0, this.#at)}${inserted}${value.slice(end).replace(/^ /, '')}`;
        this.field.selectionStart = this.field.selectionEnd = this.#at + inserted.length;
        this.#named.add(name);
        this.#close();
        this.#resize();
        this.#on.say(`${name} is mentioned`);
    }

    #close() {
        if (this.#found.length === 0) return;
        this.#found = [];
        this.#at = -1;
        byId('suggestions').hidden = true;
        this.field.removeAttribute('aria-activedescendant');
    }
}

/** What a reply to a message belongs to: replies to a reply belong to the same message. */
const rootOf = ({ message }) => message.thread ?? message.position;

/** Whether one of the words of a name begins so. */
function startsAWord(name, typed) {
    return typed === '' || name.startsWith(typed) || name.split(/[\s._-]+/).some((word) => word.startsWith(typed));
}

/**
 * Whether a text holds `@name`, and not the beginning of a longer name.
 * @param {string} text
 * @param {string} name
 */
export function hasMention(text, name) {
    for (let at = text.indexOf(`@${name}`); at >= 0; at = text.indexOf(`@${name}`, at + 1)) {
        const before = text[at - 1] ?? ' ';
        const after = text[at + name.length + 1] ?? ' ';
        if (/[\s([{"'«]/.test(before) && !/[\p{L}\p{N}_]/u.test(after)) return true;
    }
    return false;
}
