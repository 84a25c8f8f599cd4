// Parts of the page on a document of straw: what keys do, what keeps the focus, and what is asked of the node how often.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPage } from './dom.mjs';
import { settled } from './fakes.mjs';
import { Composer } from '../../Sources/ChatGateway/Web/chat-compose.js';
import { ConversationView } from '../../Sources/ChatGateway/Web/chat-conversation.js';
import { DateDialog, dayText, startOf } from '../../Sources/ChatGateway/Web/chat-dialogs.js';
import { FrameView } from '../../Sources/ChatGateway/Web/chat-frame.js';
import { Inbox } from '../../Sources/ChatGateway/Web/chat-inbox.js';
import { LinkView } from '../../Sources/ChatGateway/Web/chat-link.js';
import { PeopleView } from '../../Sources/ChatGateway/Web/chat-people.js';
import { Stars } from '../../Sources/ChatGateway/Web/chat-stars.js';

const immediate = setImmediate;

/** A composer in a room in which bo is, with what it sent. */
function composing() {
    const document = openPage();
    const sent = [];
    const model = {
        items: [], participants: [{ user: 'bo' }], room: { members: new Set(['ana', 'bo']) }, client: { user: 'ana', limits: {} },
        composing: null, draft: '', type() {}, send: (text, more) => sent.push([text, more]),
    };
    const composer = new Composer({ model: () => model, isKnown: () => true, say() {}, sent() {} });
    const field = document.getElementById('text');
    const type = (text) => {
        Object.assign(field, { value: text, selectionStart: text.length });
        field.emit('input');
    };
    return { document, composer, model, field, type, sent };
}

test('while an input method composes, its keys choose no name and send nothing', () => {
    const { field, type, sent } = composing();
    type('@b');
    for (const more of [{ isComposing: true }, { keyCode: 229 }]) {
        assert.equal(field.emit('keydown', { key: 'Enter', ...more }).prevented, false);
    }
    assert.deepEqual([field.value, sent], ['@b', []]);
    assert.equal(field.emit('keydown', { key: 'Tab', shiftKey: true }).prevented, false, 'the way back is not shut');
    assert.equal(field.emit('keydown', { key: 'Enter' }).prevented, true);
    assert.equal(field.value, '@bo ');
    field.value += 'hi';
    field.emit('keydown', { key: 'Enter' });
    assert.deepEqual([sent, field.value], [[['@bo hi', { mentions: ['bo'] }]], '']);
});

test('an edit that is given up brings back what was written before, in the room in view and in others', () => {
    const { document, composer, model, field, type } = composing();
    const item = { message: { user: 'ana', text: 'said', position: '1-1' } };
    type('half a sentence');
    composer.edit(item);
    assert.deepEqual([field.value, document.getElementById('context').hidden], ['said', false]);
    composer.giveUp(model);
    assert.deepEqual([field.value, model.composing, document.getElementById('context').hidden], ['half a sentence', null, true]);
    const other = /** @type {any} */ ({ composing: { kind: 'edit', item, draft: 'elsewhere' }, draft: 'said' });
    composer.giveUp(other);
    assert.deepEqual([other.composing, other.draft, field.value], [null, 'elsewhere', 'half a sentence']);
});

test('the banner is gone with the session, and counts no more', (t) => {
    const document = openPage();
    t.mock.timers.enable({ apis: ['setInterval'] });
    const said = [];
    const link = new LinkView((text) => said.push(text));
    link.open(/** @type {any} */ ({ state: 'offline', node: 'node-1', session: 's' }), () => 2);
    link.changed({ state: 'offline', delay: 5_000 });
    const banner = document.getElementById('banner');
    assert.match(document.getElementById('banner-text').textContent, /^No connection\. Trying again in 5 s\. 2 messages wait to be sent\.$/);
    link.open(null);
    t.mock.timers.tick(2_000);
    assert.deepEqual([banner.hidden, said], [true, ['No connection; trying again']]);
});

test('however often the frame is drawn while somebody types, it is looked again once a second', (t) => {
    openPage();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    let frames = 0;
    globalThis.requestAnimationFrame = (action) => {
        frames += 1;
        return setTimeout(action, 0);
    };
    const room = { state: 'joined', count: 2, rules: { slowMode: 0 }, mute: null, rights: null };
    const current = { name: 'lobby', room, kind: null, isConversation: false, typists: () => ['bo'] };
    const frame = new FrameView(() => {}, () => true);
    frame.open(/** @type {any} */ ({
        current, rooms: new Map(), client: { user: 'ana', node: 'node-1', state: 'online' },
        inbox: { conversations: new Map(), online: new Set(), seen: {} }, title: (name) => name,
    }));
    for (let n = 0; n < 10; n += 1) {
        frame.update();
        t.mock.timers.tick(20);
    }
    frames = 0;
    for (let n = 0; n < 30; n += 1) t.mock.timers.tick(100);
    assert.ok(frames >= 2 && frames <= 3, `${frames} in 3 s`);
});

/** A conversation of ana and bo as the view of participants sees it. */
function crew({ lastSeen }) {
    const model = {
        name: 'crew', kind: 'group', isConversation: true, role: 'owner', participants: [], room: { state: 'joined' },
        client: { user: 'ana', lastSeen, showLastSeen: async () => true }, loadParticipants: async () => { model.participants = model.next; },
        next: [{ user: 'ana', role: 'owner' }, { user: 'bo', role: 'member' }],
    };
    return model;
}

test('who is online is asked in one round after the other, also after one has failed', async (t) => {
    openPage();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const pause = () => new Promise((resolve) => immediate(resolve));
    let asked = 0;
    const view = new ConversationView(/** @type {any} */ ({}), /** @type {any} */ ({ level: () => 'all' }));
    view.open(/** @type {any} */ (crew({ lastSeen: async () => {
        asked += 1;
        if (asked === 4) throw new Error('no answer');
        return { online: ['bo'], seen: {} };
    } })));
    await Promise.all([view.load(), view.load()]);
    await pause();
    assert.equal(asked, 3);
    for (const expected of [4, 5, 6]) {
        t.mock.timers.tick(30_000);
        await pause();
        assert.equal(asked, expected);
    }
    view.open(null);
});

test('the focus stays on a participant whose entry is made anew', async (t) => {
    const document = openPage();
    const model = crew({ lastSeen: async () => ({ online: [], seen: { bo: '2026-01-02T03:04:05.006Z' } }) });
    const view = new ConversationView(/** @type {any} */ ({}), /** @type {any} */ ({ level: () => 'all' }));
    t.after(() => view.open(null));
    view.open(/** @type {any} */ (model));
    await settled();
    document.getElementById('participants').querySelectorAll('button')[0].focus();
    model.next = [...model.next.map((one) => ({ ...one, role: 'moderator' })), { user: 'aa', role: 'moderator' }];
    await view.load();
    assert.equal(document.getElementById('participants').querySelectorAll('button').length, 2);
    assert.equal(document.activeElement.getAttribute('aria-label'), 'About bo');
});

test('it is shown when a participant was last here, and whether others may see when oneself was', async (t) => {
    const document = openPage();
    const model = crew({ lastSeen: async () => ({ online: [], seen: { bo: '2026-01-02T03:04:05.006Z' } }) });
    const asked = [];
    model.client.showLastSeen = async (isShown) => {
        asked.push(isShown);
        return isShown ?? true;
    };
    const view = new ConversationView(/** @type {any} */ ({}), /** @type {any} */ ({ level: () => 'all' }));
    t.after(() => view.open(null));
    view.open(/** @type {any} */ (model));
    await settled();
    assert.match(document.getElementById('participants').textContent, /bo.*last seen/);
    const box = document.getElementById('show-last-seen');
    assert.equal(box.checked, true);
    box.checked = false;
    box.emit('change');
    await settled();
    assert.deepEqual([asked, box.checked], [[undefined, false], false]);
});

test('the roster of a room is read also if that of another one was still under way', async (t) => {
    const document = openPage();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const pause = () => new Promise((resolve) => immediate(resolve));
    const parts = Object.fromEntries(['list', 'more', 'total'].map((name) => [name, document.getElementById(name)]));
    const people = new PeopleView(parts, () => {});
    const asked = [];
    let answer = null;
    const model = (name, roster) => /** @type {any} */ ({
        client: { user: 'ana' }, room: { name, state: 'joined', members: new Set(['bo']), count: 1, rights: null, roster },
    });
    const page = { members: [{ user: 'bo', devices: ['phone'] }], cursor: null };
    people.visible(true);
    people.open(model('one', () => { asked.push('one'); return new Promise((resolve) => { answer = resolve; }); }));
    t.mock.timers.tick(1_000);
    people.open(model('two', async () => { asked.push('two'); return page; }));
    t.mock.timers.tick(1_000);
    answer(page);
    await pause();
    assert.deepEqual(asked, ['one', 'two']);
});

test('stars that cannot be read again stay, and the dialog says why', async () => {
    const document = openPage();
    const star = { room: 'lobby', position: '1-1', user: 'bo', at: '2026-01-02T03:04:05.678Z', text: 'gold' };
    let failure = null;
    const client = /** @type {any} */ ({
        user: 'ana', stars: async () => { if (failure) throw failure; return { stars: [star], cursor: null }; }, unstar: async () => false,
    });
    const stars = new Stars({ changed() {}, jump() {}, problem() {}, say() {} });
    await stars.open(client);
    assert.ok(stars.has(star));
    failure = { reason: 'timeout', message: 'stars: no answer in time' };
    await stars.show();
    const error = document.getElementById('stars-error');
    assert.deepEqual([stars.has(star), error.hidden, error.textContent], [true, false, 'no answer in time']);
    assert.equal(document.getElementById('stars-none').hidden, true);
    failure = { reason: 'unknownType', message: '' };
    await stars.open(client);
    assert.deepEqual([stars.isKnown, document.getElementById('show-stars').hidden], [false, true]);
    failure = null;
    await stars.open(client);
    assert.deepEqual([stars.isKnown, document.getElementById('show-stars').hidden], [true, false], 'another node may know them');
});

/** An inbox with one direct conversation. */
function inboxOf(calls) {
    const listeners = {};
    const client = /** @type {any} */ ({
        on: (type, listener) => { listeners[type] = listener; }, unwatch: async () => {}, watch: async () => {}, lastSeen: async () => ({ online: [], seen: {} }),
        inbox: async () => ({ conversations: [{ room: 'dm:ana:bo', kind: 'direct', users: ['bo'], unread: 0 }], cursor: null, more: false }),
        ...calls,
    });
    return { inbox: new Inbox(client, () => {}), listeners };
}

test('an inbox that has ended asks nothing more', async (t) => {
    openPage();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const pause = () => new Promise((resolve) => immediate(resolve));
    let fail = null;
    let asked = 0;
    const { inbox } = inboxOf({ lastSeen: () => { asked += 1; return new Promise((_, reject) => { fail = reject; }); } });
    inbox.read();
    await pause();
    assert.equal(asked, 1);
    inbox.end();
    fail({ reason: 'closed' });
    await pause();
    t.mock.timers.tick(60_000);
    await pause();
    assert.equal(asked, 1);
});

test('rooms that could not be watched are watched a little later; a node that tells no heads is asked instead', async (t) => {
    openPage();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const pause = () => new Promise((resolve) => immediate(resolve));
    const refusals = [{ reason: 'timeout', retry: true }];
    let watched = 0;
    const first = inboxOf({ watch: async () => { watched += 1; if (refusals.length > 0) throw refusals.pop(); } }).inbox;
    first.read();
    await pause();
    t.mock.timers.tick(5_000);
    await pause();
    assert.deepEqual([watched, first.isKnown], [2, true]);
    first.end();

    let read = 0;
    const entry = { room: 'dm:ana:bo', kind: 'direct', users: ['bo'], unread: 0 };
    const second = inboxOf({
        watch: async () => { throw { reason: 'unknownType', retry: false }; },
        inbox: async () => { read += 1; return { conversations: [{ ...entry, unread: read }], cursor: null, more: false }; },
    }).inbox;
    second.read();
    await pause();
    assert.equal(second.isKnown, true, 'conversations are known, though their heads are not told');
    const before = read;
    t.mock.timers.tick(30_000);
    await pause();
    assert.ok(read > before);
    assert.equal(second.conversations.get('dm:ana:bo').unread, read);
    second.end();
});

test('a date is a day of the user\'s time zone; days before 1970 are its beginning', () => {
    assert.equal(dayText(new Date(2026, 0, 9, 23, 59)), '2026-01-09');
    assert.equal(startOf('2026-01-09'), new Date(2026, 0, 9).getTime());
    assert.deepEqual([startOf('1900-05-01'), startOf('0033-01-01')], [0, 0]);
});

test('an answer that comes after the dialog of a date was closed shows nothing; an error is told while it is open', async () => {
    const document = openPage();
    const [dialog, form, day, error] = ['dialog', 'form', 'day', 'error'].map((name) => document.getElementById(`date-${name}`));
    const answers = [];
    const shown = [];
    const dates = new DateDialog((time) => new Promise((resolve, reject) => {
        answers.push({ resolve: () => resolve(() => shown.push([time, dialog.open])), reject });
    }));
    const asks = (text) => {
        day.value = text;
        form.emit('submit');
    };
    dates.show();
    assert.deepEqual([day.value, document.activeElement], [day.max, day]);
    asks('2026-01-09');
    asks('2026-01-10');
    assert.equal(answers.length, 1, 'one question at a time');
    document.getElementById('date-cancel').emit('click');
    dates.show();
    answers[0].resolve();
    await settled();
    assert.deepEqual([shown, dialog.open], [[], true]);
    asks('2026-01-11');
    answers[1].reject(Object.assign(new Error('history of lobby: it is too late'), { room: 'lobby' }));
    await settled();
    assert.deepEqual([error.textContent, error.hidden, dialog.open], ['it is too late', false, true]);
    asks('2026-01-11');
    answers[2].resolve();
    await settled();
    assert.deepEqual([shown, error.hidden], [[[startOf('2026-01-11'), false]], true]);
});
