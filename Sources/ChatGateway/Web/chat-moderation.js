/** Rules and sanctions: what people are told of them, and the dialogs of moderators. */
import { byId, reasonOf, span } from './chat-parts.js';

/** Whether the token lets its user moderate the room. */
export const isModerator = (room) => room.rights?.includes('moderate') ?? false;

const leftOf = (until, now) => (until ? Date.parse(until) - now : Infinity);
const forHowLong = (until, now, words) => (until ? ` ${words} ${span(leftOf(until, now))}` : '');
const why = (reason) => (reason ? `: ${reason}` : '');

/**
 * What holds for whoever writes in this room now; null: nothing in particular. `closed`: no message can be sent.
 * @param {any} room
 * @param {number} now Ms since 1970.
 * @returns {{ text: string, closed: boolean } | null}
 */
export function noticeOf({ state, rules, mute, rights }, now) {
    if (state === 'removed') return null;
    if (mute && leftOf(mute.until, now) > 0) {
        return { text: `You are muted${forHowLong(mute.until, now, 'for another')}${why(mute.reason)}`, closed: true };
    }
    const closed = !(rights?.includes('moderate') ?? false);
    if (rules.frozen) return { text: 'The room is frozen: only moderators may send messages', closed };
    if (rules.posting === 'moderators') return { text: 'Only moderators may send messages', closed };
    if (rules.slowMode > 0) return { text: `Slow mode: one message in ${span(rules.slowMode)}`, closed: false };
    return null;
}

const DONE = { ban: 'banned', mute: 'muted' };
const UNDONE = { unban: 'banned', unmute: 'muted' };

/**
 * @param {import("./martlet.js").Sanction} sanction What was imposed on whom.
 * @param {string} me
 * @param {number} now
 */
export function sanctionText({ kind, user, until, reason }, me, now) {
    const you = user === me;
    const subject = you ? 'You' : user;
    if (UNDONE[kind]) return `${subject} ${you ? 'are' : 'is'} no longer ${UNDONE[kind]}`;
    return `${subject} ${you ? 'were' : 'was'} ${DONE[kind] ?? kind}${forHowLong(until, now, 'for')}${why(reason)}`;
}

/**
 * How the rules are now, for everybody in the room.
 *
 * @param {import('./martlet.js').Rules} rules
 */
export function rulesText({ slowMode, uniqueFor, posting, frozen, members }) {
    const parts = [];
    if (members === 'participants') parts.push('only participants may be here');
    if (frozen) parts.push('the room is frozen');
    if (posting === 'moderators') parts.push('only moderators may send messages');
    if (slowMode > 0) parts.push(`one message in ${span(slowMode)}`);
    if (uniqueFor > 0) parts.push(`no message twice in ${span(uniqueFor)}`);
    return parts.length === 0 ? 'The room has no special rules any more' : `New rules: ${parts.join(', ')}`;
}

/** What holds for whoever writes now, and for how long: beside the composer, which may be closed. */
export class NoticeView {
    #timer = null;

    /** @param {import('./chat-room.js').RoomModel | null} model */
    draw(model) {
        clearTimeout(this.#timer);
        if (!model) return;
        const { room } = model;
        const notice = noticeOf(room, Date.now());
        const element = byId('notice');
        element.hidden = notice === null;
        if (notice && element.textContent !== notice.text) element.textContent = notice.text;
        byId('text').disabled = (notice?.closed ?? false) || room.state === 'removed';
        byId('room-rules').hidden = !isModerator(room) || room.state !== 'joined';
        if (notice && room.mute?.until) this.#timer = setTimeout(() => this.draw(model), 1_000);
    }
}

/** The dialogs of moderators: one for a user, one for the room. */
export class ModerationDialogs {
    #model = null;
    #user = '';

    constructor() {
        byId('sanction-form').addEventListener('submit', (event) => {
            event.preventDefault();
            const time = Number(byId('sanction-time').value);
            const operation = byId('sanction-operation').value;
            const lifts = operation.startsWith('un');
            if (operation === 'erase') {
                this.#erase();
                return;
            }
            this.#apply('sanction', [[operation, {
                user: this.#user, ...(lifts || time === 0 ? {} : { time }), ...(lifts ? {} : { reason: byId('sanction-reason').value.trim() }),
            }]]);
        });
        byId('sanction-operation').addEventListener('change', () => this.#draw());
        byId('rules-form').addEventListener('submit', (event) => {
            event.preventDefault();
            const { rules } = this.#model.room;
            const wanted = [];
            const slow = Number(byId('rules-slow').value);
            const posting = byId('rules-posting').value;
            const frozen = byId('rules-frozen').checked;
            if (slow !== rules.slowMode) wanted.push(['slow', { time: slow }]);
            if (posting !== rules.posting) wanted.push(['posting', { value: posting }]);
            if (frozen !== rules.frozen) wanted.push([frozen ? 'freeze' : 'thaw', {}]);
            const user = byId('rules-lift').value.trim();
            if (user !== '') wanted.push(['unban', { user }], ['unmute', { user }]);
            this.#apply('rules', wanted);
        });
        for (const name of ['sanction', 'rules']) {
            byId(`${name}-cancel`).addEventListener('click', () => byId(`${name}-dialog`).close());
        }
    }

    /**
     * @param {import('./chat-room.js').RoomModel} model
     * @param {string} user
     */
    sanction(model, user) {
        this.#model = model;
        this.#user = user;
        byId('sanction-user').textContent = user;
        byId('sanction-reason').value = '';
        this.#open('sanction');
        this.#draw();
    }

    /** @param {import('./chat-room.js').RoomModel} model */
    rules(model) {
        this.#model = model;
        const { rules } = model.room;
        const slow = byId('rules-slow');
        if (![...slow.options].some((option) => Number(option.value) === rules.slowMode)) {
            slow.add(new Option(span(rules.slowMode), String(rules.slowMode)));
        }
        slow.value = String(rules.slowMode);
        byId('rules-posting').value = rules.posting;
        byId('rules-frozen').checked = rules.frozen;
        byId('rules-lift').value = '';
        this.#open('rules');
    }

    #open(name) {
        byId(`${name}-error`).hidden = true;
        byId(`${name}-dialog`).showModal();
    }

    /** What is lifted has neither a time nor a reason; who is kicked may not return for some time. */
    #draw() {
        const operation = byId('sanction-operation').value;
        byId('sanction-more').hidden = operation.startsWith('un') || operation === 'erase';
    }

    async #erase() {
        try {
            await this.#model.room.erase({ user: this.#user });
            byId('sanction-dialog').close();
        } catch (error) {
            this.#failed('sanction', error);
        }
    }

    #failed(name, error) {
        byId(`${name}-error`).textContent = reasonOf(error);
        byId(`${name}-error`).hidden = false;
    }

    async #apply(name, orders) {
        const { room } = this.#model;
        try {
            for (const [operation, options] of orders) await room.moderate(operation, options);
            byId(`${name}-dialog`).close();
        } catch (error) {
            this.#failed(name, error);
        }
    }
}
