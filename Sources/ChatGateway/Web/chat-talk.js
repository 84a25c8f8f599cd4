/**
 * The talk as a window on a room's items: only some hundred rows are in the document, whatever was said; scrolling
 * moves the window both ways. All changes wait for the next animation frame, so ten messages or ten thousand cost one
 * layout.
 */
import {
    avatar, clockTime, count, dayName, dayOf, el, fullTime, icon, isEmojiOnly, reasonOf, withLinks,
} from './chat-parts.js';
import { tint } from './chat-colours.js';

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
/** Korean is read by words, Chinese and Japanese by characters: lines break accordingly. */
const HANGUL = /[\u1100-\u11ff\uac00-\ud7af]/;
const HAN_OR_KANA = /[\u3040-\u30ff\u3400-\u9fff]/;
/** Hebrew, Arabic and their kin. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

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
    /** @type {{ item: any, previous: any, divider: boolean, element: HTMLElement }[]} The rows of #start..<#end. */
    #shown = [];
    #pendingShown = '';
    #frame = 0;
    #lastTop = 0;
    #jumped = false;
    #calm = null;
    #changed;

    /**
     * @param {{ scroller: HTMLElement, rows: HTMLElement, waiting: HTMLElement, top: HTMLElement }} parts
     * @param {() => void} changed Called when `following` or what is seen changed.
     */
    constructor(parts, changed) {
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

    /** @param {import('./chat-room.js').RoomModel | null} model */
    open(model) {
        this.#model = model;
        this.following = true;
        this.#clear();
        this.update();
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
        const model = this.#model;
        if (model && this.#end < model.end) this.#clear();
        this.update();
    }

    /** How many items are below the window or the sight. */
    get below() {
        return this.#model ? this.#model.end - this.#end : 0;
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
        if (this.following) this.#toEnd();
        else if (before?.element.isConnected) {
            const moved = before.element.getBoundingClientRect().top - before.top;
            if (Math.abs(moved) >= 1) this.#scroller.scrollTop += moved;
            this.#lastTop = this.#scroller.scrollTop;
        }
        this.#fill(model);
        this.#changed();
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
        this.#shown = [];
        for (let place = this.#start; place < this.#end; place += 1) {
            const item = model.at(place);
            const previous = model.at(place - 1) ?? null;
            const divider = model.divider !== null && item.seq > model.divider && (previous?.seq ?? 0) <= model.divider;
            const row = old.get(item);
            if (row?.previous === previous && row.divider === divider) {
                old.delete(item);
                this.#shown.push(row);
            } else {
                this.#shown.push({ item, previous, divider, element: makeRow(item, previous, divider) });
            }
        }
        for (const row of old.values()) row.element.remove();
        let cursor = this.#rows.firstChild;
        for (const { element } of this.#shown) {
            if (element === cursor) cursor = cursor.nextSibling;
            else this.#rows.insertBefore(element, cursor);
        }
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
        } else if (scrollTop < NEAR) {
            if (more) this.update();
            else model.loadOlder();
        } else if (this.below > 0 && scrollHeight - scrollTop - clientHeight < NEAR) {
            this.update();
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

function makeRow(item, previous, divider) {
    const before = [];
    if (!previous || dayOf(item.at) !== dayOf(previous.at)) {
        before.push(el('div.day', {}, el('span', {}, dayName(item.at))));
    }
    if (divider) before.push(el('div.new', {}, el('span', {}, 'New')));
    const together = before.length === 0 && item.kind === 'message' && continues(item, previous);
    const row = item.kind === 'line' ? makeLine(item) : makeMessage(item, together);
    return before.length === 0 ? row : el('div.row-group', {}, ...before, row);
}

function makeLine(item) {
    const time = el('time', { dateTime: item.at.toISOString(), title: fullTime(item.at) }, clockTime(item.at));
    const mark = item.tone === 'info' ? null : icon('alert');
    return el(`div.line.${item.tone}`, {}, el('span.line-text', {}, mark, item.text, ' ', time));
}

function makeMessage(item, together) {
    const { user, text, data, mine, position } = item.message;
    const bubble = el('div.bubble', {},
        together || mine ? el('span.sr', {}, el('bdi', {}, user), ': ') : el('bdi.name', {}, user),
        text === undefined ? null : makeText(text),
        data === undefined ? null : el('pre.data', {}, JSON.stringify(data, null, 2)),
        el('span.meta', { title: `${fullTime(item.at)} · ${position}` },
            el('time', { dateTime: item.at.toISOString() }, clockTime(item.at)),
            mine ? icon('check', 'stored') : null,
            mine ? el('span.sr', {}, ' stored') : null,
        ),
    );
    return el(`div.row.tinted${mine ? '.mine' : ''}${together ? '.together' : ''}`, { role: 'article', style: tint(user) },
        mine ? null : together ? el('span.avatar-space') : avatar(user), bubble,
    );
}

function makeText(text) {
    const isKorean = HANGUL.test(text) && !HAN_OR_KANA.test(text);
    const kinds = [isEmojiOnly(text) && '.large', RIGHT_TO_LEFT.test(text) && '.apart', isKorean && '.words'];
    return el(`div.text${kinds.filter(Boolean).join('')}`, { dir: 'auto' }, ...withLinks(text));
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
