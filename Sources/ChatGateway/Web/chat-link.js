/** The connection: its state beside the user's name, and the banner that tells why there is none and what waits for it. */
import { byId, plural } from './chat-parts.js';

/** Ms after which the seconds in the banner are counted again. */
const COUNT_EVERY = 500;

export class LinkView {
    #say;
    /** @type {import('./martlet.js').Client | null} */
    #client = null;
    /** @type {() => number} */
    #waiting = () => 0;
    #timer = null;
    /**
     * Why the connection was lost.
     * @type {import('./martlet.js').MartletError | null}
     */
    #lost = null;
    #retryAt = 0;

    /** @param {(text: string) => void} say Announces something to a screen reader. */
    constructor(say) {
        this.#say = say;
        byId('retry-now').addEventListener('click', () => this.#client?.wake());
    }

    /**
     * Shows the connection of this client. Null: there is none any more.
     * @param {import('./martlet.js').Client | null} client
     * @param {() => number} [waiting] How many messages wait to be sent.
     */
    open(client, waiting = () => 0) {
        this.#client = client;
        this.#waiting = waiting;
        this.#lost = null;
        this.#calm();
        if (client) this.changed({ state: client.state });
    }

    /** @param {{ state: string, delay?: number, attempt?: number, error?: any }} event The client's event `state`. */
    changed({ state, delay = 0, attempt = 0, error = null }) {
        if (!this.#client) return;
        const { node, session } = this.#client;
        this.#retryAt = state === 'offline' ? Date.now() + delay : 0;
        this.#lost = error ?? this.#lost;
        byId('link').dataset.state = state;
        const words = { online: node, unsure: 'no answer…', connecting: 'connecting…' };
        byId('link-text').textContent = words[state] ?? 'no connection';
        byId('link').title = state === 'online' ? `Connected to ${node}, session ${session}` : error?.message ?? '';
        if (state === 'online') {
            if (!byId('banner').hidden) this.#say(`Connected again, to ${node}`);
            this.#lost = null;
            this.#calm();
        } else {
            this.#timer ??= setInterval(() => this.#draw(), COUNT_EVERY);
            if (attempt > 0 || state === 'offline' || state === 'unsure') this.#draw();
        }
    }

    /** There is nothing to be told. */
    #calm() {
        clearInterval(this.#timer);
        this.#timer = null;
        byId('banner').hidden = true;
    }

    #draw() {
        const { state, node } = this.#client;
        const lost = this.#lost;
        const banner = byId('banner');
        const unsure = state === 'unsure';
        if (banner.hidden) this.#say(unsure ? 'The node does not answer' : 'No connection; trying again');
        banner.hidden = false;
        const wait = Math.max(0, Math.ceil((this.#retryAt - Date.now()) / 1_000));
        const waiting = this.#waiting();
        const kept = waiting > 0 ? ` ${plural(waiting, 'message')} ${waiting === 1 ? 'waits' : 'wait'} to be sent.` : '';
        const next = unsure ? `${node} does not answer; another one is tried in a moment.`
            : `No connection. ${wait > 0 ? `Trying again in ${wait} s.` : 'Trying now…'}`;
        const why = !unsure && lost && lost.reason !== 'unreachable' ? ` ${lost.message[0].toUpperCase()}${lost.message.slice(1)}.` : '';
        byId('banner-text').textContent = `${next}${why}${kept}`;
        byId('retry-now').hidden = wait < 2;
    }
}
