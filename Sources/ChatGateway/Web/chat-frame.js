/** What stands around the talk: the list of rooms, the title, who types, the rules; redrawn at most once a frame. */
import { badge, byId, count, el, plural, seenWords } from './chat-parts.js';
import { NoticeView } from './chat-moderation.js';
import { RoomList } from './chat-rooms.js';
import { isMuted } from './chat-session.js';

/** Ms after which it is looked again who types. */
const LOOK_AGAIN = 1_000;

export class FrameView {
    /** @type {import('./chat-session.js').Session | null} */
    #session = null;
    #isSeen;
    #list;
    #notice = new NoticeView();
    #frame = 0;
    #typingTimer = null;

    /**
     * @param {(name: string) => void} open Called with the room that was chosen in the list.
     * @param {() => boolean} isSeen Whether the newest message of the room in view is in sight.
     */
    constructor(open, isSeen) {
        this.#list = new RoomList(byId('rooms'), open);
        this.#isSeen = isSeen;
    }

    /** The names of the rooms in the order in which they are listed. */
    get names() { return this.#list.names; }

    /** @param {import('./chat-session.js').Session | null} session */
    open(session) {
        this.#session = session;
        if (!session) this.#notice.draw(null);
    }

    /** Something changed: shown with the next frame. */
    update() {
        this.#frame ||= requestAnimationFrame(() => {
            this.#frame = 0;
            if (!this.#session) return;
            this.#drawRooms();
            this.#drawHead();
            this.#drawTyping();
            this.#notice.draw(this.#session.current);
        });
    }

    #drawRooms() {
        const { rooms, current, client, inbox } = this.#session;
        const seen = current && this.#isSeen() ? current : null;
        const entries = [...rooms.values()].map((model) => this.#entryOf(model.name, model, model === seen));
        for (const name of inbox.conversations.keys()) if (!rooms.has(name)) entries.push(this.#entryOf(name, null, false));
        // Rooms in which nothing was said are in the order of their names.
        entries.sort((a, b) => a.title.localeCompare(b.title));
        this.#list.draw(entries, current?.name ?? '', client.user);
        const counted = entries.filter((entry) => !entry.muted || entry.mentioned);
        const unread = counted.reduce((sum, entry) => sum + entry.unread, 0);
        const others = counted.reduce((sum, entry) => sum + (entry.name === current?.name ? 0 : entry.unread), 0);
        byId('other-unread').hidden = others === 0;
        byId('other-unread').textContent = badge(others);
        document.title = `${unread > 0 ? `(${badge(unread)}) ` : ''}${current ? this.#session.title(current.name) : ''} · Martlet`;
        setText('heading', document.title);
    }

    /**
     * A room as the list shows it.
     * @returns {import('./chat-rooms.js').Entry}
     */
    #entryOf(name, model, isSeen) {
        const { inbox } = this.#session;
        const known = inbox.conversations.get(name);
        const last = newest(model?.preview, known?.last);
        const kind = known?.kind ?? model?.kind ?? 'room';
        const unread = isSeen ? 0 : model?.room.state === 'joined' ? model.unread : known?.unread ?? model?.unread ?? 0;
        return {
            name, kind, last, unread, title: this.#session.title(name),
            mentioned: unread > 0 && ((model?.mentioned ?? false) || (known?.mentioned ?? false)),
            muted: isMuted(known), online: kind === 'direct' && (known?.users ?? []).some((user) => inbox.online.has(user)),
            order: Math.max(last ? Date.parse(last.at) || 0 : 0, model?.openedAt ?? 0),
        };
    }

    #drawHead() {
        const { current, client, inbox } = this.#session;
        if (!current) return;
        const { room, name } = current;
        const [other] = inbox.conversations.get(name)?.users ?? [];
        const online = current.kind !== 'direct' ? null : inbox.online.has(other) || room.count > 1 ? 'online'
            : seenWords(inbox.seen[other]) ?? 'offline';
        const here = online ?? `${plural(room.count, 'person', 'people')} here`;
        const state = room.state === 'offline' ? 'not connected' : client.state === 'unsure' ? `${client.node} does not answer`
            : room.state === 'removed' ? 'you were sent out' : room.state === 'joined' ? `${here} · on ${client.node}` : 'entering…';
        const title = this.#session.title(name);
        byId('leave-room').hidden = current.isConversation;
        setText('title', title);
        setText('subtitle', state);
        setText('people-count', room.state === 'joined' ? count(room.count) : '');
        const placeholder = `Message ${title}`;
        if (byId('text').placeholder !== placeholder) byId('text').placeholder = placeholder;
    }

    #drawTyping() {
        const names = this.#session.current?.typists() ?? [];
        const element = byId('typing');
        const key = names.slice(0, 4).join('\n');
        if (element.dataset.shown !== key) {
            element.dataset.shown = key;
            const dots = el('span.dots', { 'aria-hidden': 'true' }, el('i'), el('i'), el('i'));
            element.replaceChildren(...(names.length > 0 ? [dots, el('span', {}, ...typingWords(names))] : []));
        }
        // One timer, however often this is drawn meanwhile.
        clearTimeout(this.#typingTimer);
        this.#typingTimer = names.length > 0 ? setTimeout(() => this.update(), LOOK_AGAIN) : null;
    }
}

/** Touches the document only if the text is another one. */
function setText(id, text) {
    if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** The later of two messages, each of which may be missing. */
function newest(one, other) {
    if (!one || !other) return one ?? other ?? null;
    return Date.parse(other.at) > Date.parse(one.at) ? other : one;
}

function typingWords(names) {
    if (names.length > 3) return ['Several people are typing'];
    const parts = names.map((name) => el('bdi', {}, name));
    if (parts.length === 1) return [parts[0], ' is typing'];
    const last = parts.pop();
    return [...parts.flatMap((part, index) => (index > 0 ? [', ', part] : [part])), ' and ', last, ' are typing'];
}
