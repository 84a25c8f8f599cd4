/** The messages that the user has starred: which they are, and the dialog that lists them. */
import { byId, clockTime, el, icon, reasonOf, shortDay, titleOf } from './chat-parts.js';

/** Pages that are read at first, so that starred messages are marked. */
const PAGE = 100;
const PAGES = 10;

export class Stars {
    #client = null;
    #on;
    /** Whether the node keeps stars. */
    isKnown = true;
    /** @type {Map<string, import('./martlet.js').Star>} By room and position, the newest first. */
    #stars = new Map();

    /**
     * @param {{ changed: () => void, jump: (room: string, position: string) => void, problem: (error: any) => void,
     *     say: (text: string) => void }} handlers
     */
    constructor(handlers) {
        this.#on = handlers;
        byId('stars-close').addEventListener('click', () => byId('stars-dialog').close());
    }

    /**
     * Goes on with this client, and reads what is starred.
     * @param {import('./martlet.js').Client | null} client
     */
    async open(client) {
        this.#client = client;
        this.#stars = new Map();
        this.isKnown = true;
        byId('show-stars').hidden = false;
        if (client) await this.#read().catch(() => { /* What is starred is marked when the dialog reads it again. */ });
    }

    /** Reads them all, up to a bound. What was known stays until the new ones are there. */
    async #read() {
        const client = this.#client;
        const known = this.#stars;
        const read = new Map();
        try {
            for (let page = 0, cursor = undefined; page < PAGES; page += 1) {
                const { stars, cursor: next } = await client.stars({ limit: PAGE, cursor });
                for (const star of stars) read.set(keyOf(star), star);
                if (next === null || stars.length === 0) break;
                cursor = next;
            }
        } catch (error) {
            if (client === this.#client && /** @type {any} */ (error).reason === 'unknownType') {
                this.isKnown = false;
                byId('show-stars').hidden = true;
            }
            throw error;
        }
        if (client !== this.#client) return;
        if (known === this.#stars) {
            this.#stars = read;
            this.#on.changed();
        } else {
            // Something was starred, or a star taken away, while this was read.
            await this.#read();
        }
    }

    /**
     * Whether it is starred.
     * @param {{ room: string, position: string }} message
     */
    has(message) {
        return this.#stars.has(keyOf(message));
    }

    /**
     * Stars a message, or takes its star away.
     * @param {import('./martlet.js').Message} message
     */
    async toggle(message) {
        const { room, position, user, at, text, data } = message;
        try {
            if (this.has(message)) {
                await this.#client.unstar(room, position);
                this.#stars = new Map(this.#stars);
                this.#stars.delete(keyOf(message));
                this.#on.say('Star removed');
            } else {
                await this.#client.star(room, position);
                this.#stars = new Map([[keyOf(message), { room, position, user, at, text, data }], ...this.#stars]);
                this.#on.say('Starred');
            }
            this.#on.changed();
        } catch (error) {
            this.#on.problem(error);
        }
    }

    /** Opens the dialog, and reads again what it lists. */
    async show() {
        byId('stars-dialog').showModal();
        byId('stars-error').hidden = true;
        this.#draw();
        byId('stars-none').hidden = true;
        try {
            await this.#read();
            this.#draw();
        } catch (error) {
            byId('stars-error').textContent = reasonOf(/** @type {any} */ (error));
            byId('stars-error').hidden = false;
        }
    }

    #draw() {
        const stars = [...this.#stars.values()];
        byId('stars').replaceChildren(...stars.map((star) => this.#entry(star)));
        byId('stars-none').hidden = stars.length > 0;
    }

    #entry(star) {
        const { room, position, user, at, text } = star;
        const date = new Date(at);
        const title = titleOf(room, this.#client.user);
        return el('li.star', {},
            el('button.star-open', { type: 'button', onclick: () => this.#jump(room, position) },
                el('span.star-from', {},
                    el('bdi', {}, user), ' in ', el('bdi', {}, title), ` · ${shortDay(date)}, ${clockTime(date)}`),
                el('span.star-text', { dir: 'auto' }, (text ?? '{…}').slice(0, 300)),
            ),
            el('button.ghost', {
                type: 'button', title: 'Remove star', 'aria-label': `Remove star: ${(text ?? '').slice(0, 40)}`,
                onclick: async () => {
                    await this.toggle(star);
                    this.#draw();
                    byId('stars-close').focus();
                },
            }, icon('close')),
        );
    }

    #jump(room, position) {
        byId('stars-dialog').close();
        this.#on.jump(room, position);
    }
}

const keyOf = ({ room, position }) => `${room}\n${position}`;
