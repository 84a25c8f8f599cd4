// What the chat page knows of conversations, without a browser: what is unread and read, changes, the inbox, mentions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasMention } from '../../Sources/ChatGateway/Web/chat-compose.js';
import { namesIn } from '../../Sources/ChatGateway/Web/chat-conversation.js';
import { Inbox } from '../../Sources/ChatGateway/Web/chat-inbox.js';
import { lookBack } from '../../Sources/ChatGateway/Web/chat-past.js';
import { titleOf } from '../../Sources/ChatGateway/Web/chat-parts.js';
import { RoomModel } from '../../Sources/ChatGateway/Web/chat-room.js';
import { connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, failure, seeded } from './fakes.mjs';

globalThis.document ??= /** @type {any} */ ({ hidden: false, addEventListener() {}, removeEventListener() {} });

const PARTICIPANTS = ['ana', 'bo', 'che'];

/** ana's page in a group of three, on a fake node. */
async function opened({ before = () => {}, kind = 'group' } = {}) {
    const clock = new FakeClock();
    const node = new FakeNode(clock);
    const crew = node.store.room('crew');
    crew.kind = kind;
    for (const user of PARTICIPANTS) crew.participants.set(user, { role: user === 'ana' ? 'owner' : 'member', notify: 'all' });
    before(node);
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    const told = [];
    const model = new RoomModel(client, 'crew', {}, (what) => told.push(what));
    await clock.advance(10);
    const rows = () => model.items.map((item) => item.text ?? item.message.text);
    return { clock, node, client, model, told, rows };
}

const says = (node, text, user = 'bo', more = {}) => node.store.append('crew', { user, text, ...more }).message;

test('what is unread comes from the node, and goes as one reads on', async () => {
    const { model, node, clock } = await opened({ before: (fake) => { for (let n = 1; n <= 9; n += 1) says(fake, `m${n}`); } });
    assert.deepEqual([model.unread, model.read, model.isConversation], [9, 0, true]);
    assert.equal(model.markRead(4), true);
    assert.deepEqual([model.unread, model.markRead(3), model.unread], [5, false, 5]);
    model.markRead();
    assert.deepEqual([model.unread, model.room.lastRead], [0, '1000-9']);
    await clock.advance(2_000);
    assert.equal(node.store.room('crew').reads.get('ana'), '1000-9');
});

test('changes are not unread, and a message is what they made of it', async () => {
    const { model, node, clock, rows, told } = await opened();
    const first = says(node, 'first');
    await clock.advance(5);
    model.markRead();
    node.store.amend('crew', { user: 'bo', operation: 'edit', of: first.position, text: 'second' });
    node.store.amend('crew', { user: 'bo', operation: 'react', of: first.position, reaction: '👍' });
    await clock.advance(5);
    assert.deepEqual([rows(), model.unread, model.items[0].version], [['second'], 0, 2]);
    assert.ok(told.includes('changed'));
    assert.equal(model.preview.text, 'second');
    const { message } = model.items[0];
    await Promise.all([model.toggleReaction(model.items[0], '👍'), clock.advance(10)]);
    assert.deepEqual(message.reactions['👍'], { count: 2, users: ['bo', 'ana'] });
    await Promise.all([model.toggleReaction(model.items[0], '👍'), clock.advance(10)]);
    assert.deepEqual(message.reactions['👍'].users, ['bo']);
    node.store.amend('crew', { user: 'bo', operation: 'delete', of: first.position });
    await clock.advance(5);
    assert.deepEqual([message.text, message.deleted.by], [undefined, 'bo']);
});

test('an edit says that it is under way, and that it failed', async () => {
    const { model, node, clock } = await opened();
    says(node, 'mine', 'ana');
    await clock.advance(5);
    const [item] = model.items;
    const edit = model.edit(item, 'better');
    assert.equal(item.saving, true);
    await Promise.all([edit, clock.advance(10)]);
    assert.deepEqual([item.saving, item.message.text], [false, 'better']);
    node.isOlder = true;
    await Promise.all([assert.rejects(model.edit(item, 'best'), { reason: 'unknownType' }), clock.advance(10)]);
    assert.deepEqual([item.saving, item.message.text], [false, 'better']);
});

test('who has read a message, of how many', async () => {
    const { model, node, clock } = await opened();
    says(node, 'one', 'ana');
    says(node, 'two', 'ana');
    await clock.advance(5);
    await Promise.all([model.loadParticipants(), clock.advance(10)]);
    const counts = () => model.items.map((item) => model.readersOf(item).count);
    assert.deepEqual([counts(), model.readersOf(model.items[0]).of, model.role, model.mayModerate], [[0, 0], 2, 'owner', true]);
    node.socket.emit({ type: 'receipts', room: 'crew', reads: { bo: '1000-2', che: '1000-1' } });
    await clock.advance(5);
    assert.deepEqual(counts(), [2, 1]);
    assert.equal(model.participants.find((one) => one.user === 'bo').read, '1000-2');
});

test('who comes and goes in a conversation is shown, and known without asking again', async () => {
    const { model, node, clock } = await opened();
    await Promise.all([model.loadParticipants(), clock.advance(10)]);
    const asked = node.frames.length;
    const changes = [
        { user: 'di', role: 'member', joined: true }, { user: 'bo', role: 'moderator' }, { user: 'che', left: true },
    ];
    node.socket.emit({ type: 'participantsChanged', room: 'crew', changes });
    await clock.advance(5);
    assert.deepEqual(model.participants.map(({ user, role }) => [user, role]), [['ana', 'owner'], ['bo', 'moderator'], ['di', 'member']]);
    assert.equal(model.items.at(-1).text, 'di joined the group, bo is moderator now, che left the group');
    assert.equal(node.frames.length, asked);
    // More has changed than is told: everybody is read again.
    node.store.room('crew').participants.delete('bo');
    node.socket.emit({ type: 'participantsChanged', room: 'crew', changes: [], hasMore: true });
    await clock.advance(10);
    assert.deepEqual(model.participants.map(({ user }) => user), ['ana', 'che']);
});

test('what was read on another device is read here', async () => {
    const { model, node, clock, client } = await opened();
    client.on('notice', (notice) => model.noticed(notice));
    for (let n = 1; n <= 3; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    assert.equal(model.unread, 3);
    node.socket.emit({ type: 'notice', kind: 'read', room: 'crew', position: '1000-2', unread: 1 });
    await clock.advance(5);
    assert.deepEqual([model.unread, model.read], [1, 2]);
});

test('in a history with one\'s own message, what came after it is unread', async () => {
    const { model } = await opened({
        before: (fake) => {
            says(fake, 'one');
            says(fake, 'mine', 'ana');
            for (const text of ['three', 'four']) says(fake, text);
        },
    });
    assert.deepEqual([model.unread, model.read], [2, 2]);
});

test('what was missed and read on another device meanwhile is not unread', async () => {
    const { model, node, clock } = await opened();
    says(node, 'before');
    await clock.advance(5);
    node.socket.drop();
    for (let n = 2; n <= 6; n += 1) says(node, `m${n}`);
    node.store.room('crew').reads.set('ana', '1000-4');
    await clock.until(() => model.room.state === 'joined', 'it is back');
    await clock.advance(5);
    assert.deepEqual([model.items.length > 6, model.unread, model.read], [true, 2, 4]);
    node.socket.drop();
    says(node, 'm7');
    node.store.room('crew').reads.set('ana', '1000-5');
    await clock.until(() => model.room.state === 'joined', 'it is back');
    await clock.advance(5);
    assert.deepEqual([model.unread, model.read], [2, 5], 'the sixth, which was here, and the seventh');
});

test('somebody who is mentioned is told so until all is read', async () => {
    const { model, node, clock } = await opened();
    says(node, 'hi @ana', 'bo', { mentions: ['ana'] });
    await clock.advance(5);
    assert.equal(model.mentioned, true);
    model.markRead();
    assert.equal(model.mentioned, false);
    says(node, 'hi @che', 'bo', { mentions: ['che'] });
    await clock.advance(5);
    assert.equal(model.mentioned, false);
});

test('a reply goes with its thread, also when it is tried again', async () => {
    const { model, node, clock } = await opened();
    const root = says(node, 'root');
    await clock.advance(5);
    model.send('reply', { thread: root.position, mentions: ['bo'] });
    await clock.advance(10);
    const { message } = model.items.at(-1);
    assert.deepEqual([message.thread, message.mentions, model.items[0].version], [root.position, ['bo'], 1]);
});

/** A group in which 400 messages were said, and what looks for one of them. */
async function lookingBack() {
    const { model, clock, node } = await opened({ before: (fake) => { for (let n = 1; n <= 400; n += 1) says(fake, `m${n}`); } });
    const heard = [];
    const handlers = { changed: () => heard.push('changed'), met: () => heard.push('met') };
    const wait = async (promise) => (await Promise.all([promise, clock.advance(10)]))[0];
    const find = (position) => wait(lookBack(model, { around: position }, (message) => message.position === position, handlers));
    return { model, clock, node, heard, wait, find };
}

test('a message that is not loaded is shown with those around it; one that is not there is not found', async () => {
    const { model, find } = await lookingBack();
    const { shown, item } = await find('1000-107');
    assert.deepEqual([item.message.text, shown === model, shown.items.length, model.items.length], ['m107', false, 60, 60]);
    assert.deepEqual([shown.items[0].message.text, shown.at(59).message.text, shown.older, shown.newer], ['m77', 'm136', true, true]);
    assert.equal((await find('1000-390')).shown, model, 'what is loaded is shown where it is');
    assert.equal(await find('1000-500'), null);
    assert.equal(await find('999-7'), null, 'a message of another log is another message');
    const near = await find('1000-320');
    assert.deepEqual([near.shown === model, near.item.message.text, model.items.length], [true, 'm320', 111], 'nothing is between');
    assert.deepEqual([model.items[0].message.text, model.itemOf('1000-290') !== undefined, model.older], ['m290', true, true]);
});

test('earlier messages are read on at both ends, until the room takes them over', async () => {
    const { model, node, clock, heard, wait, find } = await lookingBack();
    const { shown: past } = await find('1000-107');
    past.open();
    await wait(past.loadOlder());
    await wait(past.loadOlder());
    assert.deepEqual([past.base, past.at(-76).message.text, past.older, past.items.length], [-76, 'm1', false, 136]);
    // What changes is shown there; what is said is the room's.
    node.store.amend('crew', { user: 'bo', operation: 'edit', of: '1000-100', text: 'edited' });
    says(node, 'said meanwhile');
    await clock.advance(5);
    const edited = past.itemOf('1000-100');
    assert.deepEqual([edited.message.text, edited.version, past.items.length, model.items.length], ['edited', 1, 136, 61]);
    for (let page = 0; page < 4; page += 1) await wait(past.loadNewer());
    assert.deepEqual([heard.at(-2), past.newer, model.items.length], ['met', false, 401]);
    const seqs = model.items.map((item) => item.seq);
    assert.deepEqual(seqs, [...Array.from({ length: 400 }, (_, index) => index + 1), 402], 'each is there once, in order');
    assert.deepEqual([model.older, model.at(past.base + past.items.length - 1 + model.base - past.base).message.text], [false, 'm340']);
    assert.equal(model.itemOf('1000-100'), edited);
});

test('two parts of earlier messages that the room takes over hold no message twice', async () => {
    const { model, wait, find } = await lookingBack();
    const { shown: past } = await find('1000-250');
    await wait(past.loadNewer());
    await find('1000-335');
    assert.deepEqual([past.items.at(-1).seq, model.items[0].seq], [339, 305]);
    await wait(past.loadNewer());
    assert.deepEqual(model.items.map((item) => item.seq), Array.from({ length: 181 }, (_, index) => index + 220));
});

test('earlier messages that could not be read are asked for again a little later; what is closed asks for nothing', async (t) => {
    const { node, wait, find } = await lookingBack();
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const { shown: past } = await find('1000-107');
    const asked = () => node.frames.filter((frame) => frame.type === 'history').length;
    const before = asked();
    node.intercept = (frame) => (frame.type === 'history' ? failure(frame.ref, 503, 'unavailable', false) : undefined);
    await wait(past.loadNewer());
    await wait(past.loadOlder());
    assert.deepEqual([past.items.length, past.loading, asked() - before], [60, false, 1]);
    node.intercept = () => undefined;
    t.mock.timers.tick(3_000);
    await wait(past.loadNewer());
    assert.equal(past.items.length, 120);
    past.close();
    await wait(past.loadNewer());
    assert.deepEqual([past.items.length, asked() - before], [120, 2]);
});

test('older pages that hold nothing but changes are passed', async () => {
    const { model, clock, rows } = await opened({
        before: (fake) => {
            const { position } = says(fake, 'first');
            for (let n = 1; n <= 150; n += 1) fake.store.amend('crew', { user: 'bo', operation: 'edit', of: position, text: `edit ${n}` });
            says(fake, 'last');
        },
    });
    assert.deepEqual(rows(), ['last']);
    for (let n = 0; n < 3 && model.older; n += 1) {
        model.loadOlder();
        await clock.advance(10);
    }
    assert.deepEqual([rows(), model.older], [['edit 150', 'last'], false]);
});

test('the inbox is read, kept up by heads and notices, and unknown to an older node', async () => {
    const clock = new FakeClock();
    const node = new FakeNode(clock);
    const conversation = (name, kind, ...users) => Object.assign(node.store.room(name), {
        kind, participants: new Map(users.map((user) => [user, { role: 'member', notify: 'all' }])),
    });
    conversation('dm:ana:bo', 'direct', 'ana', 'bo');
    conversation('crew', 'group', 'ana', 'che');
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    const told = [];
    const inbox = new Inbox(client, (what, detail) => told.push([what, detail?.kind ?? detail?.room]));
    await clock.advance(30);
    assert.deepEqual([inbox.isKnown, [...inbox.conversations.keys()]], [true, ['dm:ana:bo', 'crew']]);
    node.store.append('crew', { user: 'che', text: 'news' });
    await clock.advance(5);
    const crew = inbox.conversations.get('crew');
    assert.deepEqual([crew.unread, crew.last.text], [1, 'news']);
    node.socket.emit({ type: 'notice', kind: 'mentioned', room: 'crew', by: 'che' });
    await clock.advance(5);
    assert.equal(crew.mentioned, true);
    node.socket.emit({ type: 'notice', kind: 'read', room: 'crew', unread: 0, position: '1000-1' });
    await clock.advance(5);
    assert.deepEqual([crew.unread, crew.mentioned], [0, false]);
    conversation('new', 'group', 'ana', 'bo');
    node.socket.emit({ type: 'notice', kind: 'invited', room: 'new', by: 'bo' });
    await clock.advance(30);
    assert.ok(inbox.conversations.has('new'));
    node.socket.emit({ type: 'notice', kind: 'removed', room: 'new', by: 'bo' });
    await clock.advance(5);
    assert.ok(!inbox.conversations.has('new'));
    assert.deepEqual(told.filter(([what]) => what === 'notice').map(([, kind]) => kind), ['mentioned', 'read', 'invited', 'removed']);
    inbox.end();

    const older = new FakeNode(clock);
    older.isOlder = true;
    const second = connect('ws://node.test/ws', { user: 'ana', WebSocket: older.WebSocket, clock, random: seeded(5) });
    const none = new Inbox(second, () => {});
    await clock.advance(30);
    assert.equal(none.isKnown, false);
    none.end();
});

test('a direct conversation is called by the other one', () => {
    assert.deepEqual([
        titleOf('dm:ana:bo', 'ana'), titleOf('dm:ana:bo', 'bo'), titleOf('dm:a%3Ab:ana', 'ana'), titleOf('lobby', 'ana'),
        titleOf('dm:%E0%A4%A', 'ana'), titleOf('dm:%E0%A4%A:ana', 'ana'), titleOf(`dm:${'0'.repeat(64)}`, 'ana', ['bo']), titleOf('dm:x', 'ana'),
    ], ['bo', 'ana', 'a:b', 'lobby', 'dm:%E0%A4%A', 'dm:%E0%A4%A:ana', 'bo', 'dm:x']);
});

test('a mention is a whole name after an @ that begins a word', () => {
    for (const text of ['@ana', 'hi @ana!', '(@ana)', 'hi\n@ana, look', '@ana\'s']) assert.ok(hasMention(text, 'ana'), text);
    for (const text of ['ana', 'x@ana.example', '@anabel', '@ana_b', '@an', '']) assert.ok(!hasMention(text, 'ana'), text);
    assert.ok(hasMention('@김민준 봐요', '김민준'));
    assert.ok(hasMention('@Zoë Müller, hi', 'Zoë Müller'));
    assert.deepEqual(namesIn(' bo,che\n bo , ,Zoë M. '), ['bo', 'che', 'Zoë M.']);
});
