/** One message as a row of the talk: its text, what it replies to, what became of it, who has read it. */
import { tint } from './chat-colours.js';
import { avatar, clockTime, el, fullTime, icon, isEmojiOnly, plural, withMentions } from './chat-parts.js';

/** Korean is read by words, Chinese and Japanese by characters: lines break accordingly. */
const HANGUL = /[\u1100-\u11ff\uac00-\ud7af]/;
const HAN_OR_KANA = /[\u3040-\u30ff\u3400-\u9fff]/;
/** Hebrew, Arabic and their kin. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** What the row shows beside its text: a row is made anew when this changes. */
export function lookOf(item, model, isStarred) {
    const { message } = item;
    const root = message.thread ? model.itemOf(message.thread) : null;
    const read = message.mine ? readState(item, model).label : '';
    const quoted = message.thread ? root?.version ?? (root ? 0 : '-') : '';
    return `${item.version ?? 0} ${quoted} ${read} ${isStarred(message) ? '*' : ''}`;
}

/** Whether, and by how many, one's own message was read. */
function readState(item, model) {
    const { count, of } = model.readersOf(item);
    if (count === 0) return { isRead: false, shown: '', label: 'stored' };
    if (of <= 1) return { isRead: true, shown: '', label: 'read' };
    return { isRead: true, shown: String(count), label: `read by ${count === of ? 'all' : `${count} of ${of}`}` };
}

/**
 * @param {import('./chat-room.js').Item} item
 * @param {boolean} together Whether it stands together with the one before.
 * @param {import('./chat-room.js').RoomModel} model
 * @param {(message: import('./martlet.js').Message) => boolean} isStarred
 */
export function makeMessage(item, together, model, isStarred) {
    const { message } = item;
    const { user, text, data, mine, position, mentions = [], edited, deleted, reactions, pinned, replies } = message;
    const me = model.client.user;
    const isForMe = mentions.includes(me) && !mine;
    const starred = isStarred(message);
    const apart = Boolean(edited || deleted || pinned || starred || reactions || replies || (mine && model.room.receipts));
    const bubble = el(`div.bubble${isForMe ? '.for-me' : ''}`, {},
        together || mine ? el('span.sr', {}, el('bdi', {}, user), ': ') : el('bdi.name', {}, user),
        message.thread ? makeQuote(message.thread, model) : null,
        deleted ? el('div.text.apart.gone', {}, icon('trash'), deletedText(message)) : null,
        text === undefined || deleted ? null : makeText(text, mentions, me, apart),
        data === undefined || deleted ? null : el('pre.data', {}, JSON.stringify(data, null, 2)),
        makeUnder(item, model),
        el('span.meta', { title: `${fullTime(item.at)} · ${position}` },
            starred ? mark('star-full', 'starred') : null,
            pinned ? mark('pin', `pinned by ${pinned.by}`) : null,
            edited && !deleted ? el('span.edited', { title: `edited ${fullTime(new Date(edited.at))}` }, 'edited') : null,
            el('time', { dateTime: item.at.toISOString() }, clockTime(item.at)),
            ...(mine ? makeMarks(item, model) : []),
        ),
    );
    const kinds = [mine && '.mine', together && '.together', item.saving && '.pending'].filter(Boolean).join('');
    const row = el(`div.row.tinted${kinds}`, { role: 'article', style: tint(user), tabIndex: -1 },
        mine ? null : together ? el('span.avatar-space') : avatar(user), bubble,
    );
    row.dataset.position = position;
    return row;
}

const mark = (name, label) => el('span', { title: label }, icon(name), el('span.sr', {}, ` ${label}`));

/** @param {import('./martlet.js').Message} message */
const deletedText = ({ deleted, user }) => `This message was deleted${deleted.by === user ? '' : ` by ${deleted.by}`}`;

function makeMarks(item, model) {
    const { isRead, shown, label } = readState(item, model);
    return [
        el(`span.marks${isRead ? '.read' : ''}`, { title: label }, icon(isRead ? 'checks' : 'check', 'stored'), shown),
        el('span.sr', {}, ` ${label}`),
    ];
}

/** What it replies to. */
function makeQuote(thread, model) {
    const root = model.itemOf(thread)?.message;
    const text = root?.deleted ? 'deleted message' : root ? root.text ?? 'data' : 'an earlier message';
    return el('button.quote', { type: 'button', tabIndex: -1, 'data-jump': thread, title: 'Go to that message' },
        el('span.sr', {}, 'In reply to '), root ? el('bdi.quote-name', {}, root.user) : null, root ? ' ' : null,
        el('span.quote-text', { dir: 'auto' }, text.slice(0, 160)),
    );
}

/** Reactions and the number of replies. */
function makeUnder(item, model) {
    const { reactions = {}, replies = 0, position } = item.message;
    const me = model.client.user;
    const chips = Object.entries(reactions).map(([symbol, { count, users }]) => {
        const isMine = users.includes(me);
        const more = count > users.length ? ` and ${count - users.length} more` : '';
        const names = users.map((user) => (user === me ? 'you' : user)).join(', ');
        return el('button.reaction', {
            type: 'button', tabIndex: -1, 'aria-pressed': String(isMine), 'data-react': symbol, title: `${names}${more}`,
            'aria-label': `${symbol} ${count}: ${names}${more}`,
        }, el('span', {}, symbol), el('span', {}, String(count)));
    });
    const thread = replies > 0 ? [el(
        'button.replies', { type: 'button', tabIndex: -1, 'data-replies': position }, icon('reply'), plural(replies, 'reply', 'replies'),
    )] : [];
    return chips.length + thread.length > 0 ? el('div.under', {}, ...chips, ...thread) : null;
}

/**
 * @param {string} text @param {string[]} [mentions] @param {string} [me]
 * @param {boolean} [apart] Whether what stands below has a line of its own.
 */
export function makeText(text, mentions = [], me = '', apart = false) {
    const isKorean = HANGUL.test(text) && !HAN_OR_KANA.test(text);
    const kinds = [isEmojiOnly(text) && '.large', (apart || RIGHT_TO_LEFT.test(text)) && '.apart', isKorean && '.words'];
    return el(`div.text${kinds.filter(Boolean).join('')}`, { dir: 'auto' }, ...withMentions(text, mentions, me));
}
