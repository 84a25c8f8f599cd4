/** The list of rooms and conversations: what was said last in each, how much of it is new; the newest first. */
import { tint } from './chat-colours.js';
import { badge, clockTime, dayOf, el, icon, initial, shortDay } from './chat-parts.js';

/**
 * @typedef {object} Entry A room as the list shows it.
 * @property {string} name
 * @property {string} title
 * @property {'room' | 'direct' | 'group'} kind
 * @property {{ user: string, at: string, text?: string, deleted?: any } | null} last
 * @property {number} unread
 * @property {boolean} mentioned
 * @property {boolean} muted Unread messages are not counted.
 * @property {boolean} online Of a direct conversation: whether the other one has a session.
 * @property {number} order Ms since 1970: the larger, the higher.
 */

export class RoomList {
    #list;
    #open;
    /** @type {Map<string, { element: HTMLElement, shown: string }>} */
    #entries = new Map();

    /**
     * @param {HTMLElement} list
     * @param {(name: string) => void} open Called with the room that was chosen.
     */
    constructor(list, open) {
        this.#list = list;
        this.#open = open;
        list.addEventListener('keydown', (event) => this.#keydown(event));
    }

    /** The names in the order in which they are listed. */
    get names() {
        return [...this.#list.children].map((element) => /** @type {any} */ (element).dataset.name);
    }

    /**
     * Shows these rooms, touching only those that changed.
     * @param {Entry[]} entries @param {string} current @param {string} me
     */
    draw(entries, current, me) {
        const names = new Set(entries.map((entry) => entry.name));
        for (const [name, known] of this.#entries) {
            if (names.has(name)) continue;
            known.element.remove();
            this.#entries.delete(name);
        }
        // Rooms of the same order stay as they are.
        const sorted = entries.map((entry, index) => ({ entry, index }))
            .sort((a, b) => b.entry.order - a.entry.order || a.index - b.index);
        const focused = this.#list.contains(document.activeElement) ? document.activeElement : null;
        const name = focused?.closest('li')?.dataset.name;
        for (const { entry } of sorted) this.#update(entry, entry.name === current, me);
        let place = this.#list.firstElementChild;
        for (const { entry } of sorted) {
            const { element } = this.#entries.get(entry.name);
            if (place === element) place = place.nextElementSibling;
            else this.#list.insertBefore(element, place);
        }
        // An element that was moved or made anew has lost the focus.
        if (focused && document.activeElement !== focused) this.#button(name)?.focus();
        this.#rove(current);
    }

    #button(name) {
        return /** @type {HTMLElement | null} */ (this.#entries.get(name)?.element.firstElementChild ?? null);
    }

    /** One of the list is reached by Tab: the open one; arrows reach the others. */
    #rove(current) {
        const focused = document.activeElement?.closest('li')?.dataset.name;
        const chosen = this.#entries.has(focused) ? focused : this.#entries.has(current) ? current : this.names[0];
        for (const [name, { element }] of this.#entries) {
            const wanted = name === chosen ? 0 : -1;
            const button = /** @type {HTMLElement} */ (element.firstElementChild);
            if (button.tabIndex !== wanted) button.tabIndex = wanted;
        }
    }

    #keydown(event) {
        const { names } = this;
        const at = names.indexOf(event.target.closest?.('li')?.dataset.name);
        const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key];
        if (at < 0 || to === undefined || event.altKey || event.ctrlKey) return;
        event.preventDefault();
        const button = this.#button(names[Math.max(0, Math.min(names.length - 1, to))]);
        this.#button(names[at]).tabIndex = -1;
        button.tabIndex = 0;
        button.focus();
    }

    #update(entry, isCurrent, me) {
        const { last } = entry;
        const said = last?.deleted ? 'Message deleted' : (last?.text ?? '{…}').slice(0, 80);
        const named = `${last?.user === me ? 'You' : last?.user}: ${said}`;
        const text = !last ? '' : entry.kind === 'direct' && last.user !== me ? said : named;
        const date = last ? new Date(last.at) : null;
        const at = date ? (dayOf(date) === dayOf(new Date()) ? clockTime(date) : shortDay(date)) : '';
        const { unread, mentioned, muted, online, title, kind } = entry;
        const shown = JSON.stringify([unread, mentioned, muted, online, title, kind, text, at, isCurrent]);
        const known = this.#entries.get(entry.name);
        if (known?.shown === shown) return;
        const element = el('li', {}, this.#make(entry, text, at, isCurrent));
        element.dataset.name = entry.name;
        known?.element.replaceWith(element);
        this.#entries.set(entry.name, { element, shown });
    }

    #make({ name, title, kind, unread, mentioned, muted, online }, text, at, isCurrent) {
        const mark = el(
            `span.room-mark.tinted${kind === 'direct' ? '.round' : ''}`, { 'aria-hidden': 'true', style: tint(title) },
            initial(title), online ? el('span.online') : null,
        );
        const extra = kind === 'group' ? el('span.sr', {}, ', group') : online ? el('span.sr', {}, ', online') : null;
        return el(`button.room${unread > 0 ? '.unread' : ''}`, {
            type: 'button', tabIndex: -1, 'aria-current': isCurrent ? 'true' : null, onclick: () => this.#open(name),
        },
            mark,
            el('span.room-text', {},
                el('span.room-line', {},
                    kind === 'group' ? icon('people', 'room-kind') : null,
                    el('bdi.room-name', {}, title), extra, el('span.room-time', {}, at)),
                el('span.room-line', {},
                    el('span.room-preview', { dir: 'auto' }, text || 'No messages yet'),
                    muted ? icon('mute', 'room-muted') : null,
                    mentioned ? el('span.badge.mention', { title: 'You were mentioned' }, '@', el('span.sr', {}, ' mentioned')) : null,
                    unread > 0 ? el(`span.badge${muted ? '.quiet' : ''}`, {}, badge(unread), el('span.sr', {}, ' unread')) : null,
                ),
            ),
        );
    }
}
