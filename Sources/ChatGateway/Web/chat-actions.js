/** What one does about a message: tools beside it, a menu, and keys while it is focused. */
import { el, icon } from './chat-parts.js';

const QUICK = ['👍', '❤️', '😂', '🎉', '😮'];
const MORE = ['🙏', '👏', '🔥', '✅', '❌', '👀', '🚀', '💯', '🤔', '😢', '😡', '😍', '😅', '🙌', '💪', '👎', '☕', '🐦'];
/** Readers of a message that its menu names. */
const NAMED = 12;
/** Ms after which a finger that stays on a message opens its menu. */
const LONG_PRESS = 450;

/**
 * @typedef {object} Handlers
 * @property {() => import('./chat-room.js').RoomModel | null} model
 * @property {() => boolean} isKnown Whether the node knows how to change messages.
 * @property {(item: any) => void} reply
 * @property {(item: any) => void} edit
 * @property {(item: any) => void} remove
 * @property {(item: any) => void} star
 * @property {(item: any) => void} report
 * @property {(message: any) => boolean} isStarred
 * @property {() => boolean} canStar
 * @property {(position: string) => void} jump
 * @property {(text: string) => void} problem
 * @property {(text: string) => void} say
 * @property {() => void} compose Moves the focus to where one writes.
 */

export class MessageActions {
    #log;
    #menu;
    #talk;
    #on;
    #tools;
    #press = null;

    /**
     * @param {HTMLElement} log @param {import('./chat-menu.js').Menu} menu @param {import('./chat-talk.js').TalkView} talk
     * @param {Handlers} handlers
     */
    constructor(log, menu, talk, handlers) {
        this.#log = log;
        this.#menu = menu;
        this.#talk = talk;
        this.#on = handlers;
        const tool = (name, label, act) => el('button.tool', {
            type: 'button', tabIndex: -1, title: label, 'aria-label': label,
            onclick: (event) => this.#withItem(event.currentTarget, act),
        }, icon(name));
        this.#tools = el('div.tools', { role: 'toolbar', 'aria-label': 'About this message' },
            tool('smile', 'React', (item, button) => this.#open(item, button)),
            tool('reply', 'Reply', (item) => this.#on.reply(item)),
            tool('more', 'More', (item, button) => this.#open(item, button)),
        );
        log.addEventListener('pointerover', (event) => { if (event.pointerType !== 'touch') this.#show(event.target); });
        log.addEventListener('focusin', (event) => this.#show(event.target));
        log.addEventListener('click', (event) => this.#clicked(event));
        log.addEventListener('contextmenu', (event) => this.#contextMenu(event));
        log.addEventListener('keydown', (event) => this.#keydown(event));
        log.addEventListener('pointerdown', (event) => this.#pressed(event));
        for (const type of ['pointerup', 'pointercancel', 'pointermove']) {
            log.addEventListener(type, (event) => this.#released(event));
        }
    }

    /** A message that can be acted on. */
    #row(target) {
        const row = /** @type {HTMLElement | null} */ (target.closest?.('.row[data-position]'));
        return row && this.#on.isKnown() && !this.#talk.itemAt(row)?.message?.deleted ? row : null;
    }

    #show(target) {
        const row = this.#row(target);
        const bubble = row?.querySelector('.bubble');
        if (bubble && this.#tools.parentElement !== bubble) bubble.append(this.#tools);
        else if (!row && !this.#on.isKnown()) this.#tools.remove();
    }

    #withItem(element, act) {
        const item = this.#talk.itemAt(element);
        if (item?.message) act(item, element);
    }

    #clicked(event) {
        const { target } = event;
        const jump = target.closest('[data-jump]');
        const chip = target.closest('[data-react]');
        const replies = target.closest('[data-replies]');
        if (jump) this.#on.jump(jump.dataset.jump);
        else if (chip) this.#withItem(chip, (item) => this.#react(item, chip.dataset.react));
        else if (replies) this.#withItem(replies, (item) => this.#toReply(item));
        else if (event.pointerType === 'touch' && !target.closest('a, button')) this.#row(target)?.focus({ preventScroll: true });
    }

    /** To the first reply that follows. */
    #toReply(item) {
        const reply = this.#talk.items.find((one) => one.message?.thread === item.message.position);
        if (reply) this.#talk.reveal(reply);
    }

    #contextMenu(event) {
        const row = this.#row(event.target);
        // A selection, a link and a held Shift keep the browser's own menu.
        const keeps = event.shiftKey || event.target.closest('a') || !globalThis.getSelection?.()?.isCollapsed;
        if (!row || keeps) return;
        event.preventDefault();
        const { clientX, clientY } = event;
        this.#withItem(row, (item) => this.#open(item, row, clientX > 0 ? pointAt(clientX, clientY) : undefined));
    }

    /** iOS tells no context menu of a long press. */
    #pressed(event) {
        const row = event.pointerType === 'touch' && !event.target.closest('a, button') ? this.#row(event.target) : null;
        clearTimeout(this.#press?.timer);
        this.#press = null;
        if (!row) return;
        const { clientX: left, clientY: top } = event;
        const timer = setTimeout(() => {
            this.#press = null;
            if (!row.isConnected || this.#menu.isOpen) return;
            this.#withItem(row, (item) => this.#open(item, row, pointAt(left, top)));
        }, LONG_PRESS);
        this.#press = { timer, left, top };
    }

    #released(event) {
        if (!this.#press) return;
        const moved = Math.hypot(event.clientX - this.#press.left, event.clientY - this.#press.top);
        if (event.type === 'pointermove' && moved < 10) return;
        clearTimeout(this.#press.timer);
        this.#press = null;
    }

    #keydown(event) {
        if (event.altKey || event.ctrlKey || event.metaKey) return;
        const row = /** @type {HTMLElement | null} */ (event.target.closest('.row[data-position]'));
        const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (step !== undefined || event.key === 'Home' || event.key === 'End') {
            this.#move(event, row, step);
            return;
        }
        if (!row) return;
        if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
            this.#moveWithin(event, row);
            return;
        }
        if (event.key === 'Escape') {
            event.preventDefault();
            if (event.target === row) this.#on.compose();
            else row.focus({ preventScroll: true });
            return;
        }
        if (event.target !== row || !this.#row(row)) return;
        const item = this.#talk.itemAt(row);
        const { may, acts } = this.#possible(item, row);
        const key = event.key === 'Delete' || event.key === 'Backspace' ? 'd' : event.key;
        const act = key === 'F10' && event.shiftKey ? acts.Enter : acts[key];
        if (!act || may[key] === false) return;
        event.preventDefault();
        act();
    }

    /** Arrows go from message to message. */
    #move(event, row, step) {
        const rows = /** @type {HTMLElement[]} */ ([...this.#log.querySelectorAll('#rows .row[data-position]')]);
        if (rows.length === 0) return;
        const at = row ? rows.indexOf(row) : -1;
        const edge = this.#log.getBoundingClientRect();
        const inSight = rows.filter((one) => one.getBoundingClientRect().top < edge.bottom - 20).length - 1;
        const to = step === undefined ? (event.key === 'Home' ? 0 : rows.length - 1) : at < 0 ? inSight : at + step;
        if (at < 0 && step === undefined) return;
        event.preventDefault();
        if (to >= rows.length) {
            this.#on.compose();
            return;
        }
        const next = rows[Math.max(0, to)];
        next.focus({ preventScroll: true });
        next.scrollIntoView({ block: 'nearest' });
    }

    /** Left and right go through what a message has to press: what it replies to, reactions, tools. */
    #moveWithin(event, row) {
        const stops = /** @type {HTMLElement[]} */ ([row, ...row.querySelectorAll('button')]);
        const to = stops.indexOf(event.target) + (event.key === 'ArrowRight' ? 1 : -1);
        event.preventDefault();
        stops[Math.max(0, Math.min(stops.length - 1, to))].focus({ preventScroll: true });
    }

    #possible(item, row) {
        const { message } = item;
        const model = this.#on.model();
        const may = {
            e: message.mine && message.text !== undefined,
            d: message.mine || model.mayModerate,
            p: model.mayModerate || model.room.rights === null,
            c: message.text !== undefined,
            s: this.#on.canStar(),
            '!': !message.mine && model.kind !== 'direct',
        };
        const acts = {
            Enter: () => this.#open(item, row), ContextMenu: () => this.#open(item, row), '+': () => this.#open(item, row),
            r: () => this.#on.reply(item), e: () => this.#on.edit(item), d: () => this.#on.remove(item),
            s: () => this.#on.star(item), p: () => this.#pin(item), c: () => this.#copy(message.text),
            '!': () => this.#on.report(item),
        };
        return { may, acts };
    }

    #open(item, opener, at = opener.getBoundingClientRect()) {
        const { message } = item;
        const model = this.#on.model();
        const row = this.#talk.rowOf(item) ?? opener;
        const { may, acts } = this.#possible(item, row);
        const readers = message.mine ? model.room.readBy(message.position) : [];
        const choice = (key, label, name, more = {}) => (
            may[key] === false ? [] : [{ key, label, icon: name, act: acts[key], ...more }]
        );
        this.#menu.open({
            at, opener: row, label: `Message of ${message.user}`,
            emoji: {
                symbols: QUICK, more: MORE, act: (symbol) => this.#react(item, symbol),
                chosen: (symbol) => message.reactions?.[symbol]?.users.includes(model.client.user) ?? false,
            },
            choices: [
                ...choice('r', 'Reply', 'reply'),
                ...choice('e', 'Edit', 'edit'),
                ...choice('c', 'Copy text', 'copy'),
                ...choice('s', this.#on.isStarred(message) ? 'Remove star' : 'Star', 'star'),
                ...choice('p', message.pinned ? 'Unpin' : 'Pin', 'pin'),
                ...choice('!', 'Report', 'alert'),
                ...choice('d', 'Delete', 'trash', { danger: true }),
            ],
            note: readers.length > 0 ? readersText(readers) : undefined,
        });
    }

    #react(item, symbol) {
        this.#attempt(this.#on.model().toggleReaction(item, symbol));
    }

    #pin(item) {
        const { room } = this.#on.model();
        const { position, pinned } = item.message;
        this.#attempt(pinned ? room.unpin(position) : room.pin(position));
    }

    async #copy(text) {
        try {
            await navigator.clipboard.writeText(text);
            this.#on.say('Copied');
        } catch {
            this.#on.problem('The browser does not let this page copy.');
        }
    }

    #attempt(promise) {
        promise.catch((error) => this.#on.problem(error));
    }
}

const pointAt = (x, y) => ({ left: x, right: x, top: y, bottom: y });

function readersText(users) {
    const more = users.length > NAMED ? ` and ${users.length - NAMED} more` : '';
    return `Read by ${users.slice(0, NAMED).join(', ')}${more}`;
}
