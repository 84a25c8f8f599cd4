// martlet.js: changes of messages, participants, read positions, the inbox, heads, notices, stars.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { applyChange } from '../../Sources/ChatGateway/Web/martlet.js';
import { joined, online, says, watch } from './bench.mjs';
import { FakeClock, FakeNode, failure } from './fakes.mjs';

const asked = (node, type) => node.frames.filter((frame) => frame.type === type);

test('a change is told in its place, with the message as it is then: the same object that was passed before', async () => {
    const { room, node, clock, shown } = await joined();
    const { message } = says(node, 'first');
    await clock.advance(5);
    const before = shown.find((event) => event.text === 'first');
    const edit = watch(room.edit(message.position, 'second'));
    const react = watch(room.react(message.position, '👍'));
    says(node, 'after');
    await clock.advance(20);
    assert.deepEqual([edit.value, react.value], [
        { position: '1000-3', repeated: false, unchanged: false }, { position: '1000-4', repeated: false, unchanged: false },
    ]);
    const changes = shown.filter((event) => event.type === 'changed');
    assert.deepEqual(changes.map(({ operation, of, user }) => [operation, of, user]), [
        ['edit', message.position, 'ana'], ['react', message.position, 'ana'],
    ]);
    const now = changes[0].message;
    assert.deepEqual([now.text, now.edited.version, now.edited.by], ['second', 1, 'ana']);
    assert.deepEqual(now.reactions, { '👍': { count: 1, users: ['ana'] } });
    assert.equal(before.position, now.position);
    assert.equal(room.position, '1000-4');
});

test('what was erased has no text, and stays so whatever comes later', () => {
    const message = { position: '1-1', text: 'secret', data: 1, reactions: { a: { count: 1, users: ['bo'] } }, replies: 2 };
    applyChange(message, { operation: 'delete', deleted: { by: 'bo', at: 'now' } });
    assert.deepEqual(message, { position: '1-1', text: undefined, data: undefined, replies: 2, deleted: { by: 'bo', at: 'now' } });
    applyChange(message, { operation: 'edit', text: 'late', deleted: { by: 'bo', at: 'now' } });
    assert.equal(message.text, undefined);
});

test('a reaction that was taken back and a pin that was removed are no properties any more', () => {
    const message = { reactions: { a: { count: 1, users: ['bo'] } }, pinned: { by: 'bo', at: '' }, text: 'x' };
    applyChange(message, { operation: 'react', reactions: { b: { count: 1, users: ['che'] } } });
    assert.deepEqual(Object.keys(message.reactions), ['a', 'b']);
    applyChange(message, { operation: 'unreact', reactions: { a: { count: 0, users: [] } } });
    assert.deepEqual(message.reactions, { b: { count: 1, users: ['che'] } });
    applyChange(message, { operation: 'unreact', reactions: { b: { count: 0, users: [] } } });
    applyChange(message, { operation: 'unpin', pinned: null });
    assert.deepEqual(message, { text: 'x' });
});

test('a change that was not answered is repeated with its key on the next connection, and done once', async () => {
    const { room, node, clock } = await joined();
    const { message } = says(node, 'first');
    await clock.advance(5);
    node.intercept = (frame, socket) => {
        if (frame.type !== 'amend') return undefined;
        node.intercept = () => undefined;
        node.store.amend('lobby', { ...frame, user: 'ana' });
        socket.drop();
        return null;
    };
    const edit = watch(room.edit(message.position, 'second'));
    await clock.until(() => edit.value !== undefined, 'the edit is answered');
    const [first, second] = asked(node, 'amend');
    assert.deepEqual([first.key === second.key, edit.value.repeated, node.store.room('lobby').ops], [true, true, 1]);
});

test('a refused change says why and keeps its key; a position that is none is refused at once', async () => {
    const { room, node, clock } = await joined();
    node.intercept = (frame) => (frame.type === 'amend' ? failure(frame.ref, 301, 'forbidden', false) : undefined);
    const edit = watch(room.edit('1000-1', 'x', { key: 'k' }));
    await clock.advance(10);
    assert.deepEqual([edit.error.reason, edit.error.key, edit.error.room], ['forbidden', 'k', 'lobby']);
    watch(room.report('1000-1', 'spam'));
    await clock.advance(10);
    assert.deepEqual(asked(node, 'amend').map(({ operation, reason }) => [operation, reason]), [['edit', undefined], ['report', 'spam']]);
    await assert.rejects(room.delete('yesterday'), { reason: 'badArgument', message: /^delete in lobby: yesterday is no position/ });
    node.intercept = () => undefined;
    const long = watch(room.edit('1000-1', 'x'.repeat(70_000)));
    await clock.advance(10);
    assert.equal(long.error.reason, 'frameTooLarge');
});

test('pages leave changes out: what is between two messages of a page is no gap', async () => {
    const node = new FakeNode(new FakeClock());
    const first = says(node, 'a').message;
    for (let n = 0; n < 3; n += 1) node.store.amend('lobby', { user: 'bo', operation: 'edit', of: first.position, text: `a${n}` });
    says(node, 'b');
    const { messages, shown, room, clock } = await joined({}, node, { history: 5 });
    assert.deepEqual(messages(), ['a2', 'b']);
    assert.equal(shown.filter((event) => event.type === 'gap').length, 0);
    assert.equal(asked(node, 'history').length, 0);
    node.socket.drop();
    node.store.amend('lobby', { user: 'bo', operation: 'edit', of: first.position, text: 'a3' });
    says(node, 'c');
    await clock.until(() => messages().length === 3, 'it caught up');
    assert.deepEqual([messages().at(-1), room.position], ['c', '1000-7']);
    assert.equal(shown.filter((event) => event.type === 'gap').length, 0);
    const change = shown.findLast((event) => event.type === 'changed');
    assert.deepEqual([change.of, change.message.text], [first.position, 'a3'], 'what changed while one was away is told');
});

test('a page that ends with changes goes on behind them', async () => {
    const node = new FakeNode(new FakeClock());
    const { room, shown, messages, clock } = await joined({}, node);
    const first = says(node, 'a').message;
    await clock.advance(5);
    node.socket.drop();
    const second = says(node, 'b').message;
    for (let n = 0; n < 3; n += 1) node.store.amend('lobby', { user: 'bo', operation: 'edit', of: second.position, text: `b${n}` });
    await clock.until(() => messages().length === 2, 'it caught up');
    await clock.advance(100);
    assert.deepEqual([messages(), room.position, asked(node, 'history').length], [['a', 'b2'], '1000-5', 0]);
    node.socket.drop();
    node.store.amend('lobby', { user: 'bo', operation: 'delete', of: first.position });
    await clock.until(() => room.position === '1000-6', 'it caught up');
    assert.deepEqual(shown.filter((event) => event.type === 'gap'), []);
    assert.equal(shown.findLast((event) => event.type === 'changed').message.deleted.by, 'bo');
});

test('a moderator deletes many messages at once: each is told', async () => {
    const { node, clock, shown } = await joined();
    const gone = ['a', 'b', 'c'].map((text) => says(node, text).message.position);
    await clock.advance(5);
    node.store.room('lobby').seq += 1;
    node.socket.emit({
        type: 'changed', room: 'lobby', position: '1000-4', of: gone[0], operation: 'delete', user: 'mod', at: 'now', targets: gone,
        deleted: { by: 'mod', at: 'now' },
    });
    await clock.advance(5);
    const changes = shown.filter((event) => event.type === 'changed');
    assert.deepEqual(changes.map(({ of, message }) => [of, message.text, message.deleted.by]), gone.map((of) => [of, undefined, 'mod']));
});

test('a page that was read before a change does not undo it', async () => {
    const { room, node, clock } = await joined();
    const { message } = says(node, 'first');
    await clock.advance(5);
    const page = { type: 'history', room: 'lobby', messages: [{ ...message }], newest: message.position, older: false, newer: false };
    node.intercept = (frame) => {
        if (frame.type !== 'history') return undefined;
        node.store.amend('lobby', { user: 'bo', operation: 'edit', of: message.position, text: 'second' });
        return page;
    };
    const read = watch(room.history());
    await clock.advance(10);
    assert.equal(read.value.messages[0].text, 'second');
});

test('erasing many messages goes on until the node has done all of it', async () => {
    const { room, node, clock } = await joined();
    node.intercept = (frame) => (frame.type !== 'amend' ? undefined
        : { type: 'amended', room: 'lobby', position: '1000-9', erased: 2, ...(frame.of === '1000-5' ? {} : { next: '1000-5' }) });
    const erased = watch(room.erase({ user: 'bo' }));
    await clock.advance(20);
    assert.deepEqual(erased.value, { erased: 4 });
    assert.deepEqual(asked(node, 'amend').map(({ operation, user, of }) => [operation, user, of]), [
        ['delete-user', 'bo', undefined], ['delete-user', 'bo', '1000-5'],
    ]);
    watch(room.erase({ from: '1000-1', to: '1000-9' }));
    await clock.advance(20);
    assert.deepEqual(asked(node, 'amend').at(-1).operation, 'delete-range');
});

test('replies and mentions go with a send and come with its message', async () => {
    const { room, node, clock, shown } = await joined();
    const { message } = says(node, 'root');
    await clock.advance(5);
    const sent = watch(room.send({ text: '@bo look', thread: message.position, mentions: ['bo'] }));
    await clock.advance(10);
    assert.equal(sent.value.position, '1000-2');
    const said = shown.at(-1);
    assert.deepEqual([said.thread, said.mentions], [message.position, ['bo']]);
    assert.equal('thread' in shown.find((event) => event.text === 'root'), false);
    await assert.rejects(room.send({ text: 'x', thread: '7' }), { reason: 'badArgument', message: /thread is no position/ });
    await assert.rejects(room.send({ text: 'x', mentions: 'bo' }), { reason: 'badArgument', message: /mentions is no list/ });
});

/** A client in a conversation of ana, bo and che. */
async function conversing(node = new FakeNode(new FakeClock())) {
    const room = node.store.room('lobby');
    room.kind = 'group';
    for (const user of ['ana', 'bo', 'che']) room.participants.set(user, { role: 'member', notify: 'all' });
    return joined({}, node, { history: 50 });
}

test('read positions go forwards only, at most one a second, and once more after a lost connection', async () => {
    const { room, node, clock } = await conversing();
    for (let n = 1; n <= 5; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    assert.deepEqual([room.unread, room.kind], [5, 'group']);
    for (const seq of [1, 3, 2]) room.read(`1000-${seq}`);
    assert.deepEqual([room.unread, room.lastRead], [2, '1000-3']);
    room.read();
    assert.deepEqual([room.unread, room.lastRead], [0, '1000-5']);
    await clock.advance(5);
    assert.deepEqual(asked(node, 'read').map((frame) => frame.position), ['1000-1']);
    await clock.advance(1_000);
    assert.deepEqual(asked(node, 'read').map((frame) => frame.position), ['1000-1', '1000-5']);
    await clock.advance(10_000);
    assert.equal(asked(node, 'read').length, 2);
    says(node, 'm6');
    await clock.advance(5);
    assert.equal(room.unread, 1);
    node.intercept = (frame, socket) => {
        if (frame.type !== 'read') return undefined;
        node.intercept = () => undefined;
        socket.drop();
        return null;
    };
    room.read();
    await clock.until(() => node.store.room('lobby').reads.get('ana') === '1000-6', 'it was told again');
    assert.throws(() => room.read('here'), { reason: 'badArgument' });
});

test('after a return the node\'s number of unread messages is without those that it was not told are read', async () => {
    const { room, node, clock } = await conversing();
    for (let n = 1; n <= 3; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    room.read('1000-1');
    room.read('1000-3');
    await clock.advance(5);
    node.socket.drop();
    for (let n = 4; n <= 5; n += 1) says(node, `m${n}`);
    await clock.until(() => room.state === 'joined', 'it is back');
    assert.deepEqual([node.store.room('lobby').reads.get('ana'), room.lastRead, room.unread], ['1000-1', '1000-3', 2]);
});

test('what was read of messages that a failover took back is not kept', async () => {
    const { room, node, clock } = await conversing();
    for (let n = 1; n <= 5; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    room.read();
    await clock.advance(5_000);
    node.socket.emit({ type: 'reset', room: 'lobby', position: '1000-2', reason: 'rewound' });
    node.socket.emit({ type: 'message', room: 'lobby', position: '3000-3', user: 'bo', at: '', text: 'other' });
    await clock.advance(5);
    assert.deepEqual([room.lastRead, room.unread], ['1000-2', 1]);
    room.read();
    await clock.advance(5_000);
    assert.deepEqual(asked(node, 'read').map((frame) => frame.position), ['1000-5', '3000-3']);
});

test('a room without participants has no read positions, and an error of a read is not repeated', async () => {
    const { room, node, clock } = await joined();
    says(node, 'm1');
    await clock.advance(5);
    room.read();
    await clock.advance(5_000);
    assert.deepEqual([asked(node, 'read').length, room.unread, room.lastRead], [0, null, null]);
});

test('a room tells who belongs to it now, and who not any more', async () => {
    const { room, node, clock } = await conversing();
    const told = [];
    room.on('participants', (news) => told.push(news));
    await Promise.all([room.invite(['di']), clock.advance(10)]);
    await Promise.all([room.setRole('bo', 'moderator'), clock.advance(10)]);
    await Promise.all([room.remove('che'), clock.advance(10)]);
    assert.deepEqual(told, [
        { changes: [{ user: 'di', role: 'member', joined: true }], hasMore: false },
        { changes: [{ user: 'bo', role: 'moderator' }], hasMore: false },
        { changes: [{ user: 'che', left: true }], hasMore: false },
    ]);
    node.socket.emit({ type: 'participantsChanged', room: 'lobby', changes: [], hasMore: true });
    await clock.advance(5);
    assert.deepEqual(told.at(-1), { changes: [], hasMore: true });
});

test('receipts say who has read what; one\'s own come from other devices', async () => {
    const { room, node, clock, shown } = await conversing();
    for (let n = 1; n <= 3; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    node.socket.emit({ type: 'receipts', room: 'lobby', reads: { bo: '1000-3', che: '1000-1' } });
    node.socket.emit({ type: 'receipts', room: 'lobby', reads: { bo: '1000-2', che: '1000-2' } });
    await clock.advance(5);
    assert.deepEqual([room.readBy('1000-2'), room.readBy('1000-3')], [['bo', 'che'], ['bo']]);
    assert.deepEqual(shown.filter((event) => event.type === 'receipts').at(-1).reads, { che: '1000-2' });
    node.socket.emit({ type: 'notice', kind: 'read', room: 'lobby', position: '1000-2', unread: 1 });
    await clock.advance(5);
    assert.deepEqual([room.unread, room.lastRead], [1, '1000-2']);
    room.read('1000-2');
    await clock.advance(5);
    assert.equal(asked(node, 'read').length, 0, 'what another device has told is not told again');
});

test('one\'s own message, from whatever device, leaves nothing unread', async () => {
    const { room, node, clock } = await conversing();
    says(node, 'theirs');
    says(node, 'mine', 'ana');
    await clock.advance(5);
    assert.deepEqual([room.unread, room.lastRead], [0, '1000-2']);
});

test('conversations: direct and group, with roles, invitations, levels and who has read', async () => {
    const { client, clock, node } = await online();
    const answers = [];
    const ask = async (promise) => {
        const one = watch(promise);
        await clock.advance(10);
        answers.push(one.value);
        return one.value;
    };
    const direct = await ask(client.direct('bo'));
    assert.deepEqual(direct, { room: 'dm:ana:bo', kind: 'direct', changed: true });
    assert.equal((await ask(client.direct('bo'))).changed, false);
    assert.deepEqual(await ask(client.createGroup('crew', ['bo', 'che'])), { room: 'crew', kind: 'group', changed: true });
    const room = client.join('crew');
    await clock.advance(10);
    await ask(room.invite(['dora']));
    await ask(room.setRole('bo', 'moderator'));
    await ask(room.remove('che'));
    await ask(room.notify('mentions'));
    const { kind, participants } = await ask(room.participants());
    assert.deepEqual([kind, participants.map(({ user, role, notify }) => [user, role, notify])], ['group', [
        ['ana', 'owner', 'mentions'], ['bo', 'moderator', undefined], ['dora', 'member', undefined],
    ]]);
    await ask(room.leaveConversation());
    assert.deepEqual(asked(node, 'conversation').map((frame) => frame.operation),
        ['direct', 'direct', 'create', 'invite', 'role', 'remove', 'notify', 'leave']);
});

test('the inbox is read page by page; its requests outlive a lost connection', async () => {
    const { client, clock, node } = await online();
    for (const name of ['a', 'b', 'c']) {
        Object.assign(node.store.room(name), { kind: 'group', participants: new Map([['ana', { role: 'owner', notify: 'all' }]]) });
        node.store.append(name, { user: 'bo', text: `in ${name}` });
    }
    node.intercept = (frame, socket) => {
        node.intercept = () => undefined;
        socket.drop();
        return null;
    };
    const first = watch(client.inbox({ limit: 2 }));
    await clock.until(() => first.value !== undefined, 'the inbox came');
    assert.deepEqual(first.value.conversations.map(({ room, unread, last, read }) => [room, unread, last.text, read]),
        [['a', 1, 'in a', null], ['b', 1, 'in b', null]]);
    assert.equal(first.value.more, true);
    const second = watch(client.inbox({ limit: 2, cursor: first.value.cursor }));
    await clock.advance(10);
    assert.deepEqual([second.value.conversations.map((entry) => entry.room), second.value.more], [['c'], false]);
    node.store.append('a', { user: 'bo', text: 'more' });
    const changes = watch(client.inbox({ cursor: second.value.cursor }));
    await clock.advance(10);
    assert.deepEqual(changes.value.conversations.map(({ room, unread }) => [room, unread]), [['a', 2]]);
});

test('an older node says that it does not know these requests', async () => {
    const { client, clock, node } = await online();
    node.isOlder = true;
    const asked = watch(client.inbox());
    await clock.advance(10);
    assert.deepEqual([asked.error.reason, asked.error.code], ['unknownType', 103]);
});

test('a node that says "not now" is asked again, until the time is over', async () => {
    const { client, clock, node } = await online();
    let refusals = 2;
    node.intercept = (frame) => (frame.type === 'inbox' && refusals-- > 0 ? failure(frame.ref, 400, 'unavailable', true) : undefined);
    const asked = watch(client.inbox());
    await clock.until(() => asked.value !== undefined, 'it was answered', 10_000);
    node.intercept = (frame) => (frame.type === 'inbox' ? failure(frame.ref, 400, 'unavailable', true) : undefined);
    const never = watch(client.inbox());
    await clock.until(() => never.error !== undefined, 'it was given up', 30_000);
    assert.equal(never.error.reason, 'unavailable');
    const late = watch(client.inbox());
    client.close();
    await clock.advance(5);
    assert.equal(late.error.reason, 'closed');
    await assert.rejects(client.inbox(), { reason: 'closed' });
});

test('heads of watched rooms are told, and watched again on the next connection, a hundred at a time', async () => {
    const { client, clock, node } = await online();
    const heads = [];
    client.on('head', (head) => heads.push(head));
    const rooms = Array.from({ length: 150 }, (_, n) => `r${n}`);
    const watching = watch(client.watch(rooms));
    await clock.advance(10);
    assert.equal(watching.state, 'resolved');
    node.socket.emit({ type: 'head', room: 'r7', position: '1000-4', user: 'bo', at: 'now', text: 'hi', unread: 2 });
    await clock.advance(5);
    assert.deepEqual(heads, [{ room: 'r7', position: '1000-4', user: 'bo', at: 'now', text: 'hi', unread: 2 }]);
    await Promise.all([client.unwatch(rooms.slice(50)), clock.advance(10)]);
    node.socket.drop();
    await clock.until(() => asked(node, 'watch').length === 3, 'it watches again');
    assert.deepEqual(asked(node, 'watch').map((frame) => frame.rooms.length), [100, 50, 50]);
});

test('notices are told; who was invited into a room that is open learns its read positions', async () => {
    const { client, room, node, clock } = await joined();
    const notices = [];
    client.on('notice', (notice) => notices.push(notice));
    says(node, 'm1');
    await clock.advance(5);
    assert.equal(room.unread, null);
    Object.assign(node.store.room('lobby'), { kind: 'group', participants: new Map([['ana', { role: 'member', notify: 'all' }]]) });
    node.socket.emit({ type: 'notice', kind: 'invited', room: 'lobby', by: 'bo' });
    await clock.advance(10);
    assert.deepEqual(notices, [{ kind: 'invited', room: 'lobby', position: undefined, unread: undefined, by: 'bo' }]);
    assert.deepEqual([room.unread, room.kind], [1, 'group']);
});

test('when others were last here is told as far as they allow it', async () => {
    const { client, clock, node } = await online();
    const before = watch(client.showLastSeen());
    await clock.advance(10);
    const after = watch(client.showLastSeen(true));
    await clock.advance(10);
    assert.deepEqual([before.value, after.value, node.lastSeen.has('ana')], [false, true, true]);
    node.lastSeen.set('bo', '2026-01-02T03:04:05.006Z');
    const seen = watch(client.lastSeen(['ana', 'bo', 'eve']));
    await clock.advance(10);
    assert.deepEqual(seen.value, { online: ['ana'], seen: { bo: '2026-01-02T03:04:05.006Z' } });
});

test('who is online, and stars', async () => {
    const { client, clock, node } = await online();
    const { message } = says(node, 'keep this');
    const here = watch(client.online(['ana', 'bo']));
    const starred = watch(client.star('lobby', message.position));
    await clock.advance(10);
    assert.deepEqual([here.value, starred.value], [['ana'], true]);
    const stars = watch(client.stars());
    await clock.advance(10);
    assert.deepEqual(stars.value.stars.map(({ room, text }) => [room, text]), [['lobby', 'keep this']]);
    const gone = watch(client.unstar('lobby', message.position));
    await clock.advance(10);
    assert.deepEqual([gone.value, node.stars.size], [false, 0]);
});
