// What the chat page knows, without a browser: a room's items, what waits, what is unread; and its small parts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { colours, contrast, tint } from '../../Sources/ChatGateway/Web/chat-colours.js';
import * as parts from '../../Sources/ChatGateway/Web/chat-parts.js';
import { RoomModel } from '../../Sources/ChatGateway/Web/chat-room.js';
import { connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, failure, seeded, settled } from './fakes.mjs';

/** A room model on a fake node. */
async function opened({ saved = {}, before = () => {} } = {}) {
    const clock = new FakeClock();
    const node = new FakeNode(clock);
    before(node);
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    const told = [];
    const model = new RoomModel(client, 'lobby', saved, (what) => told.push(what));
    await clock.advance(10);
    const rows = () => model.items.map((item) => item.text ?? item.message.text);
    const back = () => clock.until(() => model.room.state === 'joined', 'it is back');
    return { clock, node, client, model, told, rows, back };
}

const says = (node, text, user = 'bo') => node.store.append('lobby', { user, text });

test('messages become items, and what was said in a first visit is not unread', async () => {
    const { model, rows, node, clock } = await opened({ before: (fake) => { says(fake, 'old'); } });
    assert.deepEqual([rows(), model.unread], [['old'], 0]);
    says(node, 'new');
    await clock.advance(5);
    assert.deepEqual([rows(), model.unread, model.preview.text], [['old', 'new'], 1, 'new']);
    assert.equal(model.markRead(), true);
    assert.deepEqual([model.unread, model.markRead()], [0, false]);
});

test('what came since the last visit is unread; a mark from another life of the room is void', async () => {
    const before = (fake) => { for (let n = 1; n <= 5; n += 1) says(fake, `m${n}`); };
    assert.equal((await opened({ before, saved: { read: 2 } })).model.unread, 3);
    assert.equal((await opened({ before, saved: { read: 900 } })).model.unread, 0);
});

test('one\'s own words in the history take back nothing that was read, and hide nothing that came after them', async () => {
    const before = (fake) => { for (const user of ['ana', 'bo', 'bo']) says(fake, 'said', user); };
    const { model } = await opened({ before, saved: { read: 3 } });
    assert.deepEqual([model.read, model.unread], [3, 0]);
    const other = await opened({ before, saved: { read: 0 } });
    assert.deepEqual([other.model.read, other.model.unread], [1, 2]);
});

test('changes since the last visit are not unread', async () => {
    const { model } = await opened({
        before: (fake) => {
            const { position } = says(fake, 'said').message;
            for (const reaction of ['👍', '🎉']) fake.store.amend('lobby', { user: 'bo', operation: 'react', of: position, reaction });
            says(fake, 'new');
        },
        saved: { read: 1 },
    });
    assert.equal(model.unread, 1);
});

test('one\'s own words, from whatever device, leave nothing unread', async () => {
    const { model, node, clock } = await opened();
    says(node, 'bo\'s');
    says(node, 'mine, from my phone', 'ana');
    await clock.advance(5);
    assert.equal(model.unread, 0);
});

test('a send waits until its message is there, and then is there once', async () => {
    const { model, rows, clock } = await opened();
    model.send('hello');
    assert.deepEqual([model.pending.length, rows()], [1, []]);
    await clock.advance(10);
    assert.deepEqual([model.pending.length, rows()], [0, ['hello']]);
});

test('a send that comes back without its key, in a return, does not stay waiting', async () => {
    const { model, rows, node, clock } = await opened();
    node.intercept = (frame, socket) => {
        if (frame.type !== 'send') return undefined;
        node.intercept = () => undefined;
        node.store.append('lobby', { user: 'ana', text: frame.text, key: frame.key });
        for (const message of node.store.room('lobby').log) delete message.key;
        socket.drop();
        return null;
    };
    model.send('hello');
    await clock.until(() => model.pending.length === 0, 'nothing waits');
    assert.deepEqual(rows().filter((text) => text === 'hello'), ['hello']);
});

test('a failed send says why; trying again keeps its key if it may have been stored, discarding takes it away', async () => {
    const { model, node, clock } = await opened();
    const tries = [[401, 'outcomeUnknown'], [301, 'forbidden'], [301, 'forbidden']];
    node.intercept = (frame) => (frame.type === 'send' && tries.length > 0 ? failure(frame.ref, ...tries.shift(), false) : undefined);
    model.send('hello');
    await clock.advance(10);
    assert.deepEqual([model.pending[0].error.reason, model.pending[0].error.stored], ['outcomeUnknown', undefined]);
    model.sendAgain(model.pending[0]);
    await clock.advance(10);
    const [first, second] = node.frames.filter((frame) => frame.type === 'send');
    assert.deepEqual([second.key === first.key, first.again, second.again, second.since], [true, false, true, '1000-0']);
    model.discard(model.pending[0]);
    model.send('other');
    await clock.advance(10);
    assert.equal(model.pending[0].error.stored, false);
    model.sendAgain(model.pending[0]);
    await clock.advance(10);
    const [third, fourth] = node.frames.filter((frame) => frame.type === 'send').slice(2);
    assert.deepEqual([fourth.key === third.key, fourth.again, model.pending.length], [false, false, 0]);
});

test('a return is told with what came meanwhile; returns without a word between are told once', async () => {
    const { rows, node, clock, model, back } = await opened();
    says(node, 'a');
    await clock.advance(5);
    node.socket.drop();
    says(node, 'b');
    await back();
    assert.match(rows()[1], /^Back after 1 s, on node-1: 1 message came meanwhile, none is missing$/);
    assert.deepEqual([rows()[0], rows()[2]], ['a', 'b']);
    for (let n = 0; n < 3; n += 1) {
        node.socket.drop();
        await back();
    }
    assert.equal(rows().length, 4);
    assert.match(rows()[3], /nothing was missed \(3 times\)$/);
    assert.equal(model.end, 4);
});

test('a gap is a line in its place', async () => {
    const { rows, node, clock, back } = await opened();
    says(node, 'a');
    await clock.advance(5);
    node.socket.drop();
    for (const text of ['b', 'c', 'd']) says(node, text);
    node.store.trim('lobby', 1);
    await back();
    await clock.advance(5);
    assert.deepEqual(rows().slice(2), ['2 messages said meanwhile are no longer in the room\'s log', 'd']);
});

test('a reset takes away what is void and says so', async () => {
    const { rows, node, clock, model, back } = await opened();
    says(node, 'a');
    await clock.advance(5);
    node.socket.drop();
    Object.assign(node.store.room('lobby'), { epoch: 2_000, began: 2_000, seq: 0, log: [] });
    says(node, 'A');
    await back();
    await clock.advance(5);
    assert.match(rows()[0], /lost or set back/);
    assert.deepEqual([rows().slice(1), model.older, model.unread], [['A'], false, 1]);
});

test('older messages load before the first, each once, until the log begins', async () => {
    const { rows, model, clock } = await opened({ before: (fake) => { for (let n = 1; n <= 150; n += 1) says(fake, `m${n}`); } });
    assert.deepEqual([rows().length, model.base, model.older], [60, 0, true]);
    for (const loaded of [120, 150]) {
        model.loadOlder();
        model.loadOlder();
        await clock.advance(10);
        assert.deepEqual([rows().length, model.base], [loaded, 60 - loaded]);
    }
    assert.deepEqual(rows(), Array.from({ length: 150 }, (_, index) => `m${index + 1}`));
    assert.equal(model.older, false);
    assert.equal(model.at(model.base).message.text, 'm1');
    assert.equal(model.at(model.end - 1).message.text, 'm150');
});

test('a failed load waits before it is tried again', async () => {
    const { model, node, clock } = await opened({ before: (fake) => { for (let n = 1; n <= 100; n += 1) says(fake, `m${n}`); } });
    node.intercept = (frame) => (frame.type === 'history' ? failure(frame.ref, 500, 'badField', false) : undefined);
    for (let n = 0; n < 5; n += 1) {
        model.loadOlder();
        await clock.advance(5);
    }
    assert.equal(node.frames.filter((frame) => frame.type === 'history').length, 1);
    assert.deepEqual([model.loading, model.older], [false, true]);
});

test('a busy room keeps a bounded number of items, and can load again what it dropped', async () => {
    const { model, node, clock } = await opened();
    for (let n = 1; n <= 4_200; n += 1) says(node, `m${n}`);
    await clock.advance(10);
    model.trim(true);
    assert.equal(model.items.length, 4_200);
    model.trim(false);
    assert.deepEqual([model.items.length, model.base, model.older], [3_000, 1_200, true]);
});

test('who types is known until they speak or stop', async () => {
    const { model, node, clock } = await opened();
    node.socket.emit({ type: 'signal', room: 'lobby', user: 'bo', name: 'typing' });
    node.socket.emit({ type: 'signal', room: 'lobby', user: 'che', name: 'typing' });
    await clock.advance(5);
    assert.deepEqual(model.typists(), ['bo', 'che']);
    says(node, 'said');
    await clock.advance(5);
    assert.deepEqual(model.typists(), ['che']);
    model.typing.set('che', Date.now() - 1);
    assert.deepEqual(model.typists(), []);
    model.type();
    model.type();
    await settled();
    assert.equal(node.frames.filter((frame) => frame.type === 'signal').length, 1, 'typing is not said at each key');
});

test('a room that cannot be entered says why', async () => {
    const { model, told } = await opened({
        before: (fake) => {
            fake.intercept = (frame) => (frame.type === 'join' ? failure(frame.ref, 106, 'badName', false) : undefined);
        },
    });
    assert.equal(model.error.reason, 'badName');
    assert.ok(told.includes('failed'));
});

test('names: the first letter as a person sees it, and what a node would not take', () => {
    assert.deepEqual(['ana', '김민준', '👩‍👩‍👧 fam', '#lobby', 'é', '...'].map(parts.initial), ['A', '김', '👩‍👩‍👧', 'L', 'É', '.']);
    assert.equal(parts.nameProblem('Your name', '가'.repeat(42), 128), null);
    assert.match(parts.nameProblem('Your name', '가'.repeat(43), 128), /too long: 129 bytes/);
    assert.match(parts.nameProblem('Your name', '   ', 128), /empty/);
    assert.match(parts.nameProblem('Your name', 'a\u0007', 128), /control/);
    assert.match(parts.nameProblem('The room\'s name', '{x}', 128), /may not hold/);
    assert.equal(parts.nameProblem('Your name', '{x}', 128), null);
});

test('each name has its own colours, which can be read: white on the one, the other on a dark bubble', () => {
    assert.equal(tint('ana'), tint('ana'));
    assert.match(tint('ana'), /^--tint: rgb\(\d+ \d+ \d+\); --tint-dark: rgb\(\d+ \d+ \d+\)$/);
    const names = ['ana', 'bo', 'che', '민준', 'user ', 'guest-'].flatMap((name) => Array.from({ length: 50 }, (_, n) => `${name}${n}`));
    const all = names.map(colours);
    for (const { back, dark } of all) {
        assert.ok(contrast(back, [255, 255, 255]) >= 4.5 && contrast(dark, [0x1e, 0x24, 0x30]) >= 4.5, `${back} ${dark}`);
    }
    // In steps of 16: with ten colours for all names every tenth pair was alike.
    const rough = all.map(({ back }) => back.map((part) => part >> 4).join());
    const pairs = (rough.length * (rough.length - 1)) / 2;
    const alike = rough.reduce((sum, one, index) => sum + rough.slice(0, index).filter((other) => other === one).length, 0);
    assert.ok(alike / pairs < 0.02, `${alike} of ${pairs} pairs are alike`);
    assert.ok(new Set(rough).size > 100);
});

test('what went wrong does not name the room that one sees', () => {
    const reason = (message, room) => parts.reasonOf({ message, room });
    assert.equal(reason('send to a: b: it is too long', 'a: b'), 'it is too long');
    assert.equal(reason('join of lobby: no', 'lobby'), 'no');
    assert.equal(reason('the room a: b: you do not belong to it any more', 'a: b'), 'you do not belong to it any more');
    assert.equal(reason('star in lobby: no', 'lobby'), 'no');
    assert.equal(reason('conversation invite: nobody: is called so', 'crew'), 'nobody: is called so');
    assert.equal(reason('the node n closed the connection: it is leaving', undefined), 'the node n closed the connection: it is leaving');
});

test('texts of one to three emoji are shown large', () => {
    for (const text of ['🎉', '👨‍👩‍👧‍👦🇰🇷', '❤️', '👍🏽👍🏽👍🏽']) assert.ok(parts.isEmojiOnly(text), text);
    for (const text of ['', '1', 'ok 🎉', '🎉🎉🎉🎉', '#', 'a'.repeat(100)]) assert.ok(!parts.isEmojiOnly(text), text);
});

test('durations, numbers, times and days in words', () => {
    assert.equal(parts.clockTime(new Date(2026, 2, 1, 0, 5)), '00:05');
    assert.deepEqual([400, 12_000, 89_000, 100_000, 3_600_000, 10_800_000].map(parts.span), ['1 s', '12 s', '89 s', '2 min', '60 min', '3 h']);
    assert.deepEqual([parts.plural(1, 'message'), parts.plural(2, 'message'), parts.badge(99), parts.badge(100)], ['1 message', '2 messages', '99', '99+']);
    const now = new Date(2026, 2, 1, 12);
    assert.deepEqual([new Date(2026, 2, 1, 0, 1), new Date(2026, 1, 28, 23, 59)].map((date) => parts.dayName(date, now)), ['Today', 'Yesterday']);
});
