/** Three dialogs: one asks before something that cannot be undone, one begins a conversation or joins a room, one goes to a date. */
import { namesIn } from './chat-conversation.js';
import { byId, el, nameProblem, reasonOf } from './chat-parts.js';

/** Names that are suggested for a direct conversation. */
const SUGGESTED = 200;

export class ConfirmDialog {
    /** @type {(() => any) | null} */
    #act = null;

    constructor() {
        byId('confirm-cancel').addEventListener('click', () => byId('confirm-dialog').close());
        byId('confirm-form').addEventListener('submit', () => this.#act?.());
    }

    /**
     * @param {string} question
     * @param {string} action What the button says that goes on.
     * @param {() => any} act Called if the user goes on.
     * @param {string} [about] What it is about, as a quotation.
     */
    ask(question, action, act, about = '') {
        this.#act = act;
        byId('confirm-question').textContent = question;
        byId('confirm-about').textContent = about;
        byId('confirm-about').hidden = about === '';
        byId('confirm-act').textContent = action;
        byId('confirm-dialog').showModal();
        // What a hasty Enter presses undoes nothing.
        byId('confirm-cancel').focus();
    }
}

/** By kind: what the name's field is called, what the button says, and what that kind is. */
const KINDS = {
    room: ['Room', 'Join', 'A room is open to everybody who knows its name.'],
    direct: ['Who', 'Begin', 'Only you two will see what is said.'],
    group: ['Name of the group', 'Create', 'Only those who belong to it see what is said. You may invite more at any time.'],
};

const chosenKind = () => byId('join-form').elements.kind.value;

export class BeginDialog {
    /** @type {import('./chat-session.js').Session | null} */
    #session = null;
    #begun;

    /** @param {() => void} begun Called when what was chosen is in view. */
    constructor(begun) {
        this.#begun = begun;
        byId('join-cancel').addEventListener('click', () => byId('join-dialog').close());
        byId('join-kinds').addEventListener('change', () => this.#draw());
        byId('join-form').addEventListener('submit', (event) => {
            event.preventDefault();
            this.#begin().catch((error) => this.#fail(reasonOf(error)));
        });
    }

    /** @param {import('./chat-session.js').Session} session */
    show(session) {
        this.#session = session;
        const { current, inbox, client } = session;
        byId('join-name').value = '';
        byId('join-users').value = '';
        this.#fail('');
        const users = new Set([...current?.room.members ?? [], ...[...inbox.conversations.values()].flatMap((entry) => entry.users)]);
        users.delete(client.user);
        byId('known-people').replaceChildren(...[...users].slice(0, SUGGESTED).map((user) => el('option', { value: user })));
        this.#draw();
        byId('join-dialog').showModal();
        byId('join-name').focus();
    }

    #draw() {
        const [label, action, lead] = KINDS[chosenKind()];
        byId('join-label').textContent = label;
        byId('join-submit').textContent = action;
        byId('join-lead').textContent = this.#session.inbox.isKnown ? lead : '';
        byId('join-more').hidden = chosenKind() !== 'group';
        byId('join-name').setAttribute('list', chosenKind() === 'direct' ? 'known-people' : '');
    }

    /** @param {string} text Empty: nothing is wrong. */
    #fail(text) {
        byId('join-error').textContent = text;
        byId('join-error').hidden = text === '';
    }

    async #begin() {
        const session = this.#session;
        // An older node knows rooms only.
        const kind = session.inbox.isKnown ? chosenKind() : 'room';
        const name = byId('join-name').value.trim();
        const wrong = nameProblem(kind === 'direct' ? 'The name' : 'The room\'s name', name, 128);
        this.#fail(wrong ?? '');
        if (wrong) return;
        if (kind === 'direct') await session.beginDirect(name);
        else if (kind === 'group') await session.beginGroup(name, namesIn(byId('join-users').value));
        else session.enter(name);
        byId('join-dialog').close();
        this.#begun();
    }
}

export class DateDialog {
    #find;
    /** Raised when the dialog opens: an answer to a question of an earlier time is nobody's any more. */
    #round = 0;
    #isAsking = false;

    /**
     * @param {(time: number) => Promise<() => void>} find Looks for what was said at that time (ms since 1970) or later.
     *     Resolves to what brings it into view.
     */
    constructor(find) {
        this.#find = find;
        byId('date-cancel').addEventListener('click', () => byId('date-dialog').close());
        byId('date-form').addEventListener('submit', (event) => {
            event.preventDefault();
            this.#go();
        });
    }

    show() {
        const field = byId('date-day');
        field.max = dayText(new Date());
        field.value = field.max;
        this.#round += 1;
        this.#isAsking = false;
        this.#fail('');
        byId('date-dialog').showModal();
        field.focus();
    }

    /** @param {string} text Empty: nothing is wrong. */
    #fail(text) {
        byId('date-error').textContent = text;
        byId('date-error').hidden = text === '';
    }

    async #go() {
        if (this.#isAsking) return;
        const round = this.#round;
        const isOver = () => round !== this.#round || !byId('date-dialog').open;
        this.#isAsking = true;
        this.#fail('');
        try {
            const show = await this.#find(startOf(byId('date-day').value));
            if (isOver()) return;
            // The dialog gives the focus back to what opened it; only then can the message have it.
            byId('date-dialog').close();
            show();
        } catch (error) {
            if (!isOver()) this.#fail(reasonOf(/** @type {any} */ (error)));
        } finally {
            if (round === this.#round) this.#isAsking = false;
        }
    }
}

/**
 * A day of the user's time zone as a date field has it.
 * @param {Date} date
 */
export function dayText(date) {
    const two = (number) => String(number).padStart(2, '0');
    return `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/**
 * When that day begins in the user's time zone, in ms since 1970; the time before 1970 counts as its beginning.
 * @param {string} day As a date field has it.
 */
export function startOf(day) {
    // Without a zone it is local time. (A date alone would be one of UTC.)
    return Math.max(0, new Date(`${day}T00:00`).getTime());
}
