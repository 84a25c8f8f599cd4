/** A menu beside what it is about: by mouse, touch and keyboard; one is open at a time. */
import { el, icon } from './chat-parts.js';

/**
 * @typedef {object} Choice
 * @property {string} label
 * @property {() => void} act
 * @property {string} [icon]
 * @property {string} [key] The shortcut, to be shown.
 * @property {boolean} [danger]
 */

export class Menu {
    #element;
    #opener = null;

    /** @param {HTMLElement} element */
    constructor(element) {
        this.#element = element;
        element.addEventListener('keydown', (event) => this.#keydown(event));
        document.addEventListener('pointerdown', (event) => {
            if (this.isOpen && !element.contains(/** @type {Node} */ (event.target))) this.close(false);
        }, true);
        addEventListener('resize', () => this.close(false));
    }

    get isOpen() { return !this.#element.hidden; }

    /**
     * @param {{ at: DOMRect | { left: number, right: number, top: number, bottom: number }, opener: HTMLElement, label: string,
     *     emoji?: { symbols: string[], more: string[], chosen: (symbol: string) => boolean, act: (symbol: string) => void },
     *     choices: Choice[], note?: string }} content `opener` gets the focus back.
     */
    open({ at, opener, label, emoji, choices, note }) {
        this.#opener = opener;
        this.#element.setAttribute('aria-label', label);
        this.#element.replaceChildren(
            ...(emoji ? this.#emoji(emoji) : []),
            ...choices.map((choice) => this.#item(choice)),
            ...(note ? [el('p.menu-note', { role: 'none' }, note)] : []),
        );
        this.#element.hidden = false;
        this.#place(at);
        this.#items()[0]?.focus({ preventScroll: true });
    }

    close(refocus = true) {
        if (!this.isOpen) return;
        this.#element.hidden = true;
        if (refocus && this.#opener?.isConnected) this.#opener.focus({ preventScroll: true });
        this.#opener = null;
    }

    #emoji({ symbols, more, chosen, act }) {
        const button = (symbol) => el('button.emoji', {
            type: 'button', role: 'menuitemcheckbox', tabIndex: -1, 'aria-checked': String(chosen(symbol)),
            'aria-label': `React with ${symbol}`, onclick: () => this.#choose(() => act(symbol)),
        }, symbol);
        const rest = el('div.menu-emoji', { role: 'group', 'aria-label': 'More reactions', hidden: true }, ...more.map(button));
        const open = el('button.emoji', {
            type: 'button', role: 'menuitem', tabIndex: -1, 'aria-label': 'More reactions',
            onclick: () => {
                rest.hidden = false;
                open.remove();
                rest.querySelector('button').focus();
                this.#place(this.#element.getBoundingClientRect());
            },
        }, icon('plus'));
        return [el('div.menu-emoji', { role: 'group', 'aria-label': 'Reactions' }, ...symbols.map(button), open), rest];
    }

    /** @param {Choice} choice */
    #item({ label, act, icon: name, key, danger }) {
        return el(`button.menu-item${danger ? '.danger' : ''}`, {
            type: 'button', role: 'menuitem', tabIndex: -1, onclick: () => this.#choose(act),
        }, name ? icon(name) : null, el('span', {}, label), key ? el('kbd', { 'aria-hidden': 'true' }, key) : null);
    }

    #choose(act) {
        this.close();
        act();
    }

    #items() {
        return [...this.#element.querySelectorAll('button')].filter((one) => !one.closest('[hidden]'));
    }

    #place(at) {
        const { offsetWidth, offsetHeight, style } = this.#element;
        const left = Math.min(Math.max(8, at.left), innerWidth - offsetWidth - 8);
        const below = at.bottom + 4 + offsetHeight <= innerHeight - 8;
        const top = below ? at.bottom + 4 : Math.max(8, Math.min(at.top - offsetHeight - 4, innerHeight - offsetHeight - 8));
        style.left = `${Math.max(8, left)}px`;
        style.top = `${top}px`;
    }

    #keydown(event) {
        const items = this.#items();
        const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
        const isEmoji = items[at]?.classList.contains('emoji');
        const afterEmoji = items.findIndex((item) => !item.classList.contains('emoji'));
        let to = null;
        switch (event.key) {
            case 'Escape': case 'Tab':
                event.preventDefault();
                event.stopPropagation();
                this.close();
                return;
            case 'ArrowRight': to = at + 1; break;
            case 'ArrowLeft': to = at - 1; break;
            case 'ArrowDown': to = isEmoji && afterEmoji > 0 ? afterEmoji : at + 1; break;
            case 'ArrowUp': to = at === afterEmoji && afterEmoji > 0 ? 0 : at - 1; break;
            case 'Home': to = 0; break;
            case 'End': to = items.length - 1; break;
            default: return;
        }
        event.preventDefault();
        event.stopPropagation();
        items[(to + items.length) % items.length]?.focus();
    }
}
