/** The messages that the user has starred: which they are, and the dialog that lists them. */
import { byId, clockTime, el, icon, shortDay } from './chat-parts.js';
import { titleOf } from './chat-room.js';

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

    /** Reads them all, up to a bound. @param {import('./martlet.js').Client | null} client */
    async open(client) {
        this.#client = client;
        this.#stars.clear();
        this.isKnown = true;
        try {
            for (let page = 0, cursor = undefined; client && page < PAGES; page += 1) {
                const { stars, cursor: next } = await client.stars({ limit: PAGE, cursor });
                if (client !== this.#client) return;
                for (const star of stars) this.#stars.set(keyOf(star), star);
                if (next === null || stars.length === 0) break;
                cursor = next;
            }
            this.#on.changed();
        } catch (error) {
            // What is starred is marked when it is starred, and the dialog reads again.
            if (/** @type {any} */ (error).reason === 'unknownType') this.isKnown = false;
            byId('show-stars').hidden = !this.isKnown;
        }
    }

    /** @param {{ room: string, position: string }} message */
    has(message) {
        return this.#stars.has(keyOf(message));
    }

    /** @param {import('./martlet.js').Message} message */
    async toggle(message) {
        const { room, position, user, at, text, data } = message;
        try {
            if (this.has(message)) {
                await this.#client.unstar(room, position);
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

    async show() {
        byId('stars-dialog').showModal();
        this.#draw();
        await this.open(this.#client);
        this.#draw();
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
