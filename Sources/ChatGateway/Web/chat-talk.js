/**
 * The talk as a window on a room's items: only some hundred rows are in the document, whatever was said; scrolling
 * moves the window both ways. All changes wait for the next animation frame, so ten messages or ten thousand cost one
 * layout.
 */
import { clockTime, count, dayName, dayOf, el, fullTime, icon, reasonOf } from './chat-parts.js';
import { lookOf, makeMessage, makeText } from './chat-message.js';

/** Rows in the document. */
const MOST = 240;
/** Rows by which the window moves in one frame. */
const STEP = 60;
/** When more messages than fit into sight arrive in one frame, only what fits is made; the rest this many ms later. */
const CALM = 150;
/** Pixels that a row has at least. */
const LOW_ROW = 31;
/** Pixels from an end at which more rows are fetched, and at which one is "at the newest". */
const NEAR = 900;
const AT_END = 40;
/** Messages of one person within this many ms stand together. */
const TOGETHER = 5 * 60_000;
/** Ms for which a message that was looked for stands out. */
const FOUND_FOR = 2_000;
/** Pages that are loaded at most to show where the new messages begin. */
const ENTRY_PAGES = 6;

export class TalkView {
    /** The newest is in sight and stays so. */
    following = true;
    #model = null;
    #scroller;
    #rows;
    #waiting;
    #top;
    #start = 0;
    #end = 0;
    /** @type {{ item: any, previous: any, divider: boolean, look: string, element: HTMLElement }[]} The rows of #start..<#end. */
    #shown = [];
    #pendingShown = '';
    #frame = 0;
    #lastTop = 0;
    #jumped = false;
    #calm = null;
    #changed;
    #isStarred;
    /** The item that is to come into sight; and pages that may be loaded until the first new message is there. */
    #sought = null;
    #entering = 0;

    /**
     * @param {{ scroller: HTMLElement, rows: HTMLElement, waiting: HTMLElement, top: HTMLElement }} parts
     * @param {() => void} changed Called when `following` or what is seen changed.
     * @param {(message: import('./martlet.js').Message) => boolean} isStarred
     */
    constructor(parts, changed, isStarred) {
        this.#isStarred = isStarred;
        this.#scroller = parts.scroller;
        this.#rows = parts.rows;
        this.#waiting = parts.waiting;
        this.#top = parts.top;
        this.#changed = changed;
        this.#scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
        const sizes = new ResizeObserver(() => { if (this.following) this.#toEnd(); });
        sizes.observe(this.#scroller);
        sizes.observe(this.#rows.parentElement);
    }

    /** @param {import('./chat-room.js').RoomModel | import('./chat-past.js').Past | null} model */
    open(model) {
        this.#model = model;
        this.following = true;
        this.#sought = null;
        this.#clear();
        this.enter();
    }

    /**
     * Goes on with a model that has taken over all items of the one before, in front of its own: nothing in sight moves.
     * @param {import('./chat-room.js').RoomModel} model
     */
    goOn(model) {
        const shift = model.base - this.#model.base;
        this.#start += shift;
        this.#end += shift;
        this.#model = model;
        this.update();
    }

    /**
     * All items that are loaded of what is shown.
     * @type {import('./chat-room.js').Item[]}
     */
    get items() { return this.#model?.items ?? []; }

    /** Shows where the new messages begin, if not all of them are in sight with the newest. */
    enter() {
        this.#entering = this.#model?.divider !== null ? ENTRY_PAGES : 0;
        this.update();
    }

    /** Whether it is still looked for where the new messages begin. */
    get isEntering() { return this.#entering > 0; }

    /**
     * Brings an item into sight, wherever it is.
     * @param {import('./chat-room.js').Item} item
     */
    reveal(item) {
        this.following = false;
        this.#entering = 0;
        this.#sought = item;
        this.update();
    }

    /**
     * The item of a row, or of something within one.
     * @param {Element} element
     */
    itemAt(element) {
        return this.#shown.find((row) => row.element.contains(element))?.item ?? null;
    }

    /** The element of an item's message, if it is in the window. */
    rowOf(item) {
        const shown = this.#shown.find((row) => row.item === item);
        return shown ? messageRow(shown.element) : null;
    }

    /** The seq of the last item whose end is in sight; 0: none. */
    get lastInSight() {
        const edge = this.#scroller.getBoundingClientRect().bottom + 8;
        let low = 0;
        let high = this.#shown.length;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.#shown[middle].element.getBoundingClientRect().bottom <= edge) low = middle + 1;
            else high = middle;
        }
        return this.#shown[low - 1]?.item.seq ?? 0;
    }

    /** Something changed: shown with the next frame. */
    update() {
        this.#frame ||= requestAnimationFrame(() => {
            this.#frame = 0;
            this.#render();
        });
    }

    /** To the newest message. */
    follow() {
        this.following = true;
        this.#entering = 0;
        this.#sought = null;
        const model = this.#model;
        if (model && this.#end < model.end) this.#clear();
        this.update();
    }

    /** How many items are below the window; messages that follow and are not loaded count as one. */
    get below() {
        return this.#model ? this.#model.end - this.#end + (this.#model.newer ? 1 : 0) : 0;
    }

    #clear() {
        this.#shown = [];
        this.#rows.replaceChildren();
        this.#waiting.replaceChildren();
        this.#pendingShown = '';
        this.#end = this.#model?.end ?? 0;
        this.#start = Math.max(this.#model?.base ?? 0, this.#end - STEP);
    }

    #scrolled() {
        const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
        const distance = scrollHeight - scrollTop - clientHeight;
        // The smallest move up lets go of the newest, or a flood of messages would hold whoever wants to read back.
        const following = this.following
            ? scrollTop >= this.#lastTop - 1
            : this.below === 0 && distance < AT_END && scrollTop > this.#lastTop;
        this.#lastTop = scrollTop;
        if (following !== this.following) {
            this.following = following;
            this.#changed();
        } else if (!following && this.#model?.unread > 0) {
            this.#changed();
        }
        if (scrollTop < NEAR || (distance < NEAR && this.below > 0)) this.update();
    }

    #toEnd() {
        this.#scroller.scrollTop = this.#scroller.scrollHeight;
        this.#lastTop = this.#scroller.scrollTop;
    }

    #render() {
        const model = this.#model;
        if (!model) return;
        const before = this.following ? null : this.#anchor();
        this.#choose(model);
        this.#sync(model);
        this.#pending(model);
        this.#head(model);
        if (this.#show(model)) this.#lastTop = this.#scroller.scrollTop;
        else if (this.following) this.#toEnd();
        else if (before?.element.isConnected) {
            const moved = before.element.getBoundingClientRect().top - before.top;
            if (Math.abs(moved) >= 1) this.#scroller.scrollTop += moved;
            this.#lastTop = this.#scroller.scrollTop;
        }
        this.#fill(model);
        this.#changed();
    }

    /** Scrolls to what is sought, or to where the new messages begin. False if there is neither. */
    #show(model) {
        if (this.#sought) {
            const row = this.rowOf(this.#sought);
            this.#sought = null;
            if (!row) return false;
            row.scrollIntoView({ block: 'center' });
            const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
            this.following = this.below === 0 && scrollHeight - scrollTop - clientHeight < AT_END;
            row.focus({ preventScroll: true });
            row.classList.add('found');
            setTimeout(() => row.classList.remove('found'), FOUND_FOR);
            return true;
        }
        if (this.#entering === 0 || model.items.length === 0) return false;
        const divider = /** @type {HTMLElement | null} */ (this.#rows.querySelector('.new'));
        if (!divider) {
            // It is further up: the window grows, and then older pages are loaded.
            if (this.#start > model.base) {
                this.#start = Math.max(model.base, this.#start - STEP);
                this.update();
            } else if (model.older && !model.loading) {
                this.#entering -= 1;
                model.loadOlder();
            } else if (!model.older) {
                this.#entering = 0;
            }
            return false;
        }
        this.#entering = 0;
        const scroller = this.#scroller;
        const top = divider.getBoundingClientRect().top - scroller.getBoundingClientRect().top + scroller.scrollTop;
        if (scroller.scrollHeight - top <= scroller.clientHeight * 0.9) return false;
        this.following = false;
        scroller.scrollTop = top - scroller.clientHeight * 0.2;
        return true;
    }

    /** The first row in sight and where it is: what must not move. */
    #anchor() {
        const edge = this.#scroller.getBoundingClientRect().top;
        let low = 0;
        let high = this.#shown.length - 1;
        while (low < high) {
            const middle = (low + high) >> 1;
            if (this.#shown[middle].element.getBoundingClientRect().bottom > edge) high = middle;
            else low = middle + 1;
        }
        const element = this.#shown[low]?.element;
        return element ? { element, top: element.getBoundingClientRect().top } : null;
    }

    /** Decides which items are in the window. */
    #choose(model) {
        const limit = model.end;
        if (this.#end > limit || this.#start < model.base) {
            this.#start = Math.max(model.base, Math.min(this.#start, limit));
            this.#end = Math.min(this.#end, limit);
        }
        if (this.#sought) {
            const place = model.items.indexOf(this.#sought) + model.base;
            if (place >= model.base && (place < this.#start || place >= this.#end)) {
                this.#start = Math.max(model.base, place - STEP);
                this.#end = Math.min(limit, place + STEP);
            }
            return;
        }
        if (this.following && this.#entering > 0) {
            this.#end = limit;
            return;
        }
        if (this.following) {
            const grown = limit - this.#end;
            const sight = Math.ceil(this.#scroller.clientHeight / LOW_ROW);
            this.#jumped = grown >= sight;
            this.#end = limit;
            this.#start = Math.max(model.base, this.#jumped ? limit - sight : Math.max(this.#start, limit - MOST));
            return;
        }
        const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
        if (scrollTop < NEAR && this.#start > model.base) {
            this.#start = Math.max(model.base, this.#start - STEP);
            this.#end = Math.min(this.#end, this.#start + MOST);
        } else if (scrollHeight - scrollTop - clientHeight < NEAR && this.#end < limit) {
            this.#end = Math.min(limit, this.#end + STEP);
            this.#start = Math.max(this.#start, this.#end - MOST);
        }
    }

    /** Makes the document show the window, touching only rows that changed. */
    #sync(model) {
        const old = new Map(this.#shown.map((row) => [row.item, row]));
        /** @type {[HTMLElement, HTMLElement][]} */
        const replaced = [];
        this.#shown = [];
        for (let place = this.#start; place < this.#end; place += 1) {
            const item = model.at(place);
            const previous = model.at(place - 1) ?? null;
            const isFirst = previous ? previous.seq <= model.divider : !model.older || item.seq === model.divider + 1;
            const divider = model.divider !== null && item.seq > model.divider && isFirst;
            const row = old.get(item);
            const look = item.kind === 'message' ? lookOf(item, model, this.#isStarred) : '';
            if (row?.previous === previous && row.divider === divider && row.look === look) {
                old.delete(item);
                this.#shown.push(row);
            } else {
                const element = makeRow(item, previous, divider, model, this.#isStarred);
                this.#shown.push({ item, previous, divider, look, element });
                if (row) replaced.push([row.element, element]);
            }
        }
        // What was focused, or had the tools, has them again when it was made anew.
        const focused = replaced.find(([before]) => before.contains(document.activeElement));
        for (const [before, element] of replaced) {
            const tools = before.querySelector('.tools');
            if (tools) element.querySelector('.bubble')?.append(tools);
        }
        const isLost = [...old.values()].some((row) => row.element.contains(document.activeElement)) && !focused;
        for (const row of old.values()) row.element.remove();
        let cursor = this.#rows.firstChild;
        for (const { element } of this.#shown) {
            if (element === cursor) cursor = cursor.nextSibling;
            else this.#rows.insertBefore(element, cursor);
        }
        if (focused) messageRow(focused[1])?.focus({ preventScroll: true });
        else if (isLost) this.#scroller.focus({ preventScroll: true });
    }

    /** What is not stored yet stands below everything. */
    #pending(model) {
        const entries = this.below === 0 ? model.pending.slice(-50) : [];
        const now = entries.map((entry) => `${entry.key}${entry.error ? '!' : ''}${entry.seq ?? ''}`).join();
        if (now === this.#pendingShown) return;
        this.#pendingShown = now;
        const more = this.below === 0 ? model.pending.length - entries.length : 0;
        this.#waiting.replaceChildren(
            ...(more > 0 ? [el('div.line', {}, el('span.line-text', {}, `${count(more)} more wait to be sent`))] : []),
            ...entries.map((entry, index) => makePending(entry, index > 0, model)),
        );
    }

    #head(model) {
        const atTop = this.#start === model.base;
        const begins = atTop && !model.older && model.items.length > 0;
        const text = model.loading ? 'Loading…' : begins ? 'This is where the room\'s log begins' : '';
        const nothing = model.items.length === 0 && model.pending.length === 0 && !model.older;
        const empty = nothing && model.room.state === 'joined';
        const wanted = empty ? `empty ${model.name}` : text;
        if (this.#top.dataset.shown === wanted) return;
        this.#top.dataset.shown = wanted;
        this.#top.replaceChildren(empty ? emptyRoom(model) : text);
    }

    /** Goes on widening the window, or fetches more, while the sight is near one of its ends. */
    #fill(model) {
        const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
        const more = this.#start > model.base;
        if (this.#jumped) {
            this.#jumped = false;
            clearTimeout(this.#calm);
            this.#calm = setTimeout(() => this.update(), CALM);
        } else if (this.following) {
            if (more && scrollHeight < clientHeight + NEAR && this.#end - this.#start < MOST) {
                this.#start = Math.max(model.base, this.#start - STEP, this.#end - MOST);
                this.update();
            } else if (!more && scrollHeight <= clientHeight) {
                model.loadOlder();
            }
        } else if (scrollTop < NEAR && (more || model.older)) {
            if (more) this.update();
            else model.loadOlder();
        } else if (this.below > 0 && scrollHeight - scrollTop - clientHeight < NEAR) {
            if (this.#end < model.end) this.update();
            else model.loadNewer();
        }
    }
}

function emptyRoom(model) {
    return el('div.empty', {},
        el('span.empty-mark', {}, icon('bird', 'bird')),
        el('p.empty-title', {}, 'Nothing was said here yet'),
        el('p', {}, 'Say something: whoever comes to ', el('bdi', {}, model.name), ' will see it.'),
    );
}

/** Whether a message stands together with the one before. */
function continues(item, previous) {
    return previous?.kind === 'message' && previous.message.user === item.message.user
        && item.at - previous.at < TOGETHER && dayOf(item.at) === dayOf(previous.at);
}

function makeRow(item, previous, divider, model, isStarred) {
    const before = [];
    if (!previous || dayOf(item.at) !== dayOf(previous.at)) {
        before.push(el('div.day', {}, el('span', {}, dayName(item.at))));
    }
    if (divider) before.push(el('div.new', { role: 'separator', 'aria-label': 'New messages' }, el('span', {}, 'New')));
    const together = before.length === 0 && item.kind === 'message' && continues(item, previous);
    const row = item.kind === 'line' ? makeLine(item) : makeMessage(item, together, model, isStarred);
    return before.length === 0 ? row : el('div.row-group', {}, ...before, row);
}

/**
 * The message's own row, which can be focused.
 * @param {HTMLElement} element
 */
function messageRow(element) {
    return element.matches('.row') ? element : /** @type {HTMLElement | null} */ (element.querySelector('.row'));
}

function makeLine(item) {
    const time = el('time', { dateTime: item.at.toISOString(), title: fullTime(item.at) }, clockTime(item.at));
    const mark = item.tone === 'info' ? null : icon('alert');
    return el(`div.line.${item.tone}`, {}, el('span.line-text', {}, mark, item.text, ' ', time));
}

function makePending(entry, together, model) {
    const state = entry.error ? 'failed' : 'pending';
    const [mark, words] = entry.error ? ['alert', 'not stored']
        : entry.seq === null ? ['clock', 'not stored yet'] : ['check', 'stored'];
    const row = el(`div.row.mine.${state}${together ? '.together' : ''}`, { role: 'article' },
        el('div.bubble', {},
            makeText(entry.text),
            el('span.meta', {}, clockTime(entry.at), icon(mark), el('span.sr', {}, ` ${words}`)),
        ),
    );
    if (!entry.error) return row;
    const unsure = entry.error.stored === undefined;
    return el('div.row-group', {}, row, el('div.failure', { role: 'alert' },
        unsure ? 'It is not known whether this was stored' : 'Not stored', `: ${reasonOf(entry.error)}. `,
        el('button.link-button', { type: 'button', onclick: () => model.sendAgain(entry) }, 'Try again'), ' ',
        el('button.link-button', { type: 'button', onclick: () => model.discard(entry) }, 'Discard'),
    ));
}
