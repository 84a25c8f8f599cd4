/** The list of rooms: what was said last in each, and how much of it is new. */
import { tint } from './chat-colours.js';
import { badge, clockTime, el, initial } from './chat-parts.js';

export class RoomList {
    #list;
    #open;
    /** @type {Map<string, { element: HTMLElement, shown: string }>} */
    #entries = new Map();

    /** @param {HTMLElement} list @param {(name: string) => void} open Called with the room that was chosen. */
    constructor(list, open) {
        this.#list = list;
        this.#open = open;
    }

    /**
     * Shows these rooms, touching only those that changed. Returns how many messages are unread in all.
     * @param {import('./chat-room.js').RoomModel[]} rooms
     * @param {import('./chat-room.js').RoomModel | null} current
     * @param {import('./chat-room.js').RoomModel | null} seen The room whose newest message is in sight: nothing is
     *     unread there.
     */
    draw(rooms, current, seen) {
        for (const [name, entry] of this.#entries) {
            if (rooms.some((model) => model.name === name)) continue;
            entry.element.remove();
            this.#entries.delete(name);
        }
        let total = 0;
        for (const model of rooms) {
            const unread = model === seen ? 0 : model.unread;
            total += unread;
            this.#update(model, unread, model === current);
        }
        return total;
    }

    #update(model, unread, isCurrent) {
        const { preview, name } = model;
        const text = preview ? `${preview.mine ? 'You' : preview.user}: ${(preview.text ?? '{…}').slice(0, 80)}` : '';
        const at = preview ? clockTime(new Date(preview.at)) : '';
        const shown = JSON.stringify([unread, text, at, isCurrent]);
        const known = this.#entries.get(name);
        if (known?.shown === shown) return;
        const button = this.#button(name, unread, text, at, isCurrent);
        const element = el('li', {}, button);
        const focused = known?.element.contains(document.activeElement);
        if (known) known.element.replaceWith(element);
        else this.#list.append(element);
        if (focused) button.focus();
        this.#entries.set(name, { element, shown });
    }

    #button(name, unread, text, at, isCurrent) {
        return el(`button.room${unread > 0 ? '.unread' : ''}`, {
            type: 'button', 'aria-current': isCurrent ? 'true' : null, onclick: () => this.#open(name),
        },
            el('span.room-mark.tinted', { 'aria-hidden': 'true', style: tint(name) }, initial(name)),
            el('span.room-text', {},
                el('span.room-line', {}, el('bdi.room-name', {}, name), el('span.room-time', {}, at)),
                el('span.room-line', {},
                    el('span.room-preview', { dir: 'auto' }, text || 'No messages yet'),
                    unread > 0 ? el('span.badge', {}, badge(unread), el('span.sr', {}, ' unread')) : null,
                ),
            ),
        );
    }
}
