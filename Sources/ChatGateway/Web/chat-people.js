/** Who is here, with their devices. */
import { isModerator } from './chat-moderation.js';
import { avatar, count, el, icon, replaceEntries } from './chat-parts.js';

/** People shown before "Show more". */
const PAGE = 100;
/** In a room of more people the list is read less often. */
const LARGE = 200;
const collator = new Intl.Collator(undefined, { sensitivity: 'base', numeric: true });

export class PeopleView {
    #parts;
    #moderate;
    #model = null;
    #visible = false;
    #limit = PAGE;
    /** @type {{ user: string, devices: string[] }[]} */
    #members = [];
    #cursor = null;
    #timer = null;
    #reading = false;
    #frame = 0;

    /**
     * @param {any} parts
     * @param {(user: string) => void} moderate Asks what to do with a user.
     */
    constructor(parts, moderate) {
        this.#parts = parts;
        this.#moderate = moderate;
        parts.more.addEventListener('click', () => {
            this.#limit += PAGE;
            if (this.#limit > this.#members.length && this.#cursor) this.#read(this.#cursor);
            this.#drawSoon();
        });
    }

    /** @param {import('./chat-room.js').RoomModel | null} model */
    open(model) {
        this.#model = model;
        this.#limit = PAGE;
        clearTimeout(this.#timer);
        this.#timer = null;
        this.#members = [];
        this.#cursor = null;
        this.#parts.list.replaceChildren();
        this.update();
    }

    visible(visible) {
        if (visible === this.#visible) return;
        this.#visible = visible;
        this.update();
    }

    /** Somebody came or went. Names are known at once; devices are asked for a moment later, once for many changes. */
    update() {
        const model = this.#model;
        if (!model) return;
        if (model.room.members) {
            const devices = new Map(this.#members.map((member) => [member.user, member.devices]));
            this.#members = [...model.room.members].map((user) => ({ user, devices: devices.get(user) ?? [] }));
        }
        this.#drawSoon();
        if (!this.#visible) return;
        // In a large room somebody always comes or goes: there the list may be a little old.
        const pause = this.#members.length === 0 ? 200 : model.room.count > LARGE ? 10_000 : 1_000;
        this.#timer ??= setTimeout(() => {
            this.#timer = null;
            this.#read(null);
        }, pause);
    }

    async #read(cursor) {
        const model = this.#model;
        if (!model || !this.#visible || this.#reading || model.room.state !== 'joined') return;
        this.#reading = true;
        try {
            const page = await model.room.roster(cursor ? { cursor } : {});
            if (model !== this.#model) return;
            this.#members = cursor ? [...this.#members, ...page.members] : page.members;
            this.#cursor = page.cursor;
            this.#drawSoon();
        } catch {
            // The next change asks again; until then the names are shown as they are known.
        } finally {
            this.#reading = false;
            // Another room was opened meanwhile, which could not be read.
            if (model !== this.#model) this.#read(null);
        }
    }

    #drawSoon() {
        this.#frame ||= requestAnimationFrame(() => {
            this.#frame = 0;
            this.#draw();
        });
    }

    #draw() {
        const { room, client } = this.#model ?? {};
        if (!room) return;
        const own = (member) => (member.user === client.user ? 0 : 1);
        const sorted = [...this.#members].sort((a, b) => own(a) - own(b) || collator.compare(a.user, b.user));
        this.#parts.total.textContent = count(room.count);
        const moderate = isModerator(room) ? this.#moderate : null;
        const entries = sorted.slice(0, this.#limit).map((member) => makeEntry(member, own(member) === 0, moderate));
        replaceEntries(this.#parts.list, entries);
        this.#parts.more.hidden = sorted.length <= this.#limit && !this.#cursor;
    }
}

function makeEntry({ user, devices }, me, moderate) {
    const more = devices.length > 4 ? [el('span.device', {}, `+${devices.length - 4}`)] : [];
    const list = [...devices.slice(0, 4).map(makeDevice), ...more];
    return el('li.member', {},
        avatar(user),
        el('span.member-text', {},
            el('span.member-name', {}, el('bdi', { title: user }, user), me ? el('span.you', {}, 'you') : null),
            list.length === 0 ? null : el('span.devices', {}, ...list),
        ),
        me || !moderate ? null : el('button.ghost.member-more', {
            type: 'button', title: `Moderate ${user}`, 'aria-label': `Moderate ${user}`, onclick: () => moderate(user),
        }, icon('shield')),
    );
}

function makeDevice(name) {
    const mark = icon(/phone|mobile|tablet|pad|폰/i.test(name) ? 'phone' : 'laptop');
    return el('span.device', { title: name }, mark, el('bdi', {}, name));
}
