// martlet.js: joining, resuming, order, history, presence, signals.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joined, online, says, watch } from './bench.mjs';
import { FakeClock, FakeNode, failure } from './fakes.mjs';

test('a room shows its recent messages, then live ones', async () => {
    const node = new FakeNode(new FakeClock());
    for (let n = 1; n <= 5; n += 1) says(node, `old ${n}`);
    const { room, clock, messages, shown } = await joined({}, node, { history: 2 });
    says(node, 'new');
    await clock.advance(5);
    assert.deepEqual(messages(), ['old 4', 'old 5', 'new']);
    assert.equal(room.position, '1000-6');
    assert.deepEqual(shown[0], {
        type: 'joined', position: '1000-5', first: true, resumed: false, missed: 0, recent: 2, gap: undefined, reset: undefined, count: 1,
    });
    assert.deepEqual(shown.find((event) => event.text === 'new'), {
        type: 'message', room: 'lobby', position: '1000-6', seq: 6, user: 'bo', at: '2026-01-02T03:04:05.678Z', text: 'new',
        data: undefined, key: undefined, mine: false, live: true,
    });
});

test('join with a position of an earlier time shows what came since', async () => {
    const node = new FakeNode(new FakeClock());
    for (let n = 1; n <= 5; n += 1) says(node, `m${n}`);
    const { messages, shown } = await joined({}, node, { after: '1000-3' });
    assert.deepEqual(messages(), ['m4', 'm5']);
    assert.deepEqual([shown[0].resumed, shown[0].missed], [true, 2]);
});

test('join twice gives the same room; bad arguments are refused', async () => {
    const { client, room } = await joined();
    assert.equal(client.join('lobby'), room);
    assert.throws(() => client.join(''), { reason: 'badArgument' });
    for (const after of ['yesterday', '', null, '5-', '99999999999999999999-3', '5-18446744073709551615', 7]) {
        assert.throws(() => client.join('x', { after }), { reason: 'badArgument', room: 'x', message: /^join: after is no position/ });
    }
    for (const history of [-1, 1.5, '5', NaN, null]) {
        assert.throws(() => client.join('x', { history }), { reason: 'badArgument', message: /^join: history must be/ });
    }
    assert.deepEqual([...client.rooms.keys()], ['lobby']);
});

test('a position that the room does not know is a reset at once, and shows as much of the history as was asked for', async () => {
    for (const [history, texts] of [[2, ['m4', 'm5']], [undefined, []]]) {
        const node = new FakeNode(new FakeClock());
        for (let n = 1; n <= 5; n += 1) says(node, `m${n}`);
        const { shown, messages, room } = await joined({}, node, { after: '1000-900', history });
        assert.deepEqual(shown.map((event) => event.type).slice(0, 2), ['joined', 'reset']);
        assert.deepEqual([messages(), shown[0].recent, room.position], [texts, texts.length, '1000-5']);
    }
});

test('a message says whether it was said while one was there', async () => {
    const node = new FakeNode(new FakeClock());
    for (const text of ['a', 'b']) says(node, text);
    const { clock, room, shown, messages } = await joined({}, node, { history: 1 });
    says(node, 'c');
    await clock.advance(5);
    node.socket.drop();
    says(node, 'd');
    await clock.until(() => messages().length === 3, 'it caught up');
    says(node, 'e');
    await clock.advance(5);
    assert.deepEqual(shown.filter((event) => event.type === 'message').map(({ text, live }) => [text, live]), [
        ['b', false], ['c', true], ['d', false], ['e', true],
    ]);
    const page = watch(room.history());
    await clock.advance(5);
    assert.deepEqual(new Set(page.value.messages.map((message) => message.live)), new Set([false]));
    node.socket.emit({ type: 'reset', room: 'lobby', position: '3000-1', reason: 'rewound' });
    node.socket.emit({ type: 'message', room: 'lobby', position: '3000-2', user: 'bo', at: '', text: 'f' });
    await clock.advance(5);
    assert.deepEqual([shown.at(-1).text, shown.at(-1).live], ['f', true]);
});

test('a page that is larger than the node gives is refused, not cut', async () => {
    const node = new FakeNode(new FakeClock());
    node.welcome = { limits: { historyPage: 20 } };
    const { room, clock } = await joined({}, node, { history: 500 });
    assert.equal(node.frames.find((frame) => frame.type === 'join').history, 20);
    for (const limit of [21, 0, -1, 2.5, '3']) {
        await assert.rejects(room.history({ limit }), {
            reason: 'badArgument', room: 'lobby', message: `history of lobby: limit must be a whole number from 1 to 20, not ${limit}`,
        });
    }
    watch(room.history());
    watch(room.history({ limit: 20 }));
    await clock.advance(5);
    assert.deepEqual(node.frames.filter((frame) => frame.type === 'history').map((frame) => frame.limit), [20, 20]);
});

test('after a lost connection it resumes: nothing missing, nothing twice', async () => {
    const { clock, node, messages, shown } = await joined();
    says(node, 'a');
    await clock.advance(5);
    node.socket.drop();
    for (const text of ['b', 'c']) says(node, text);
    await clock.until(() => messages().length === 3, 'it caught up');
    says(node, 'd');
    await clock.advance(5);
    assert.deepEqual(messages(), ['a', 'b', 'c', 'd']);
    const back = shown.filter((event) => event.type === 'joined')[1];
    assert.deepEqual([back.first, back.resumed, back.missed], [false, true, 2]);
});

test('a message that arrives twice, late or out of order is shown once, in order', async () => {
    const { clock, node, messages } = await joined();
    const [one, two, three] = ['a', 'b', 'c'].map((text) => says(node, text).message);
    await clock.advance(5);
    for (const message of [one, three, two]) node.socket.emit({ type: 'message', room: 'lobby', ...message });
    await clock.advance(5);
    assert.deepEqual(messages(), ['a', 'b', 'c']);
});

test('a hole is read from the log before anything after it is shown', async () => {
    const { clock, node, messages, shown } = await joined();
    says(node, 'a');
    await clock.advance(5);
    node.socket.joined.clear();
    node.store.room('lobby').here.clear();
    for (const text of ['b', 'c', 'd']) says(node, text);
    node.socket.emit({ type: 'message', room: 'lobby', ...node.store.room('lobby').log[3] });
    await clock.advance(20);
    assert.deepEqual(messages(), ['a', 'b', 'c', 'd']);
    assert.equal(shown.filter((event) => event.type === 'gap').length, 0);
});

test('a hole that the log no longer holds is announced as a gap', async () => {
    const { clock, node, shown } = await joined();
    says(node, 'a');
    await clock.advance(5);
    node.store.room('lobby').here.clear();
    for (const text of ['b', 'c', 'd']) says(node, text);
    node.store.trim('lobby', 1);
    node.socket.emit({ type: 'message', room: 'lobby', ...node.store.room('lobby').log[0] });
    await clock.advance(20);
    assert.deepEqual(shown.slice(-2).map(({ type, after, before, missing, text }) => ({ type, after, before, missing, text })), [
        { type: 'gap', after: '1000-1', before: '1000-4', missing: 2, text: undefined },
        { type: 'message', after: undefined, before: undefined, missing: undefined, text: 'd' },
    ]);
});

test('a joined whose messages end before its position is completed from the log', async () => {
    const { clock, node, messages } = await joined();
    node.socket.drop();
    for (const text of ['a', 'b', 'c']) says(node, text);
    node.intercept = (frame) => (frame.type !== 'join' ? undefined : {
        type: 'joined', room: 'lobby', position: '1000-3', messages: [node.store.room('lobby').log[0]], resumed: true, count: 1,
    });
    await clock.until(() => messages().length === 3, 'it is complete');
    assert.deepEqual(messages(), ['a', 'b', 'c']);
});

test('a gap at the return and a gap in the middle are told where they are', async () => {
    const { clock, node, shown } = await joined();
    says(node, 'a');
    await clock.advance(5);
    node.socket.drop();
    for (const text of ['b', 'c', 'd']) says(node, text);
    node.store.trim('lobby', 1);
    await clock.until(() => shown.at(-2).text === 'd', 'it caught up');
    const told = shown.filter((event) => ['gap', 'message'].includes(event.type)).map((event) => event.text ?? event.missing);
    assert.deepEqual(told, ['a', 2, 'd']);
    assert.equal(shown.filter((event) => event.type === 'joined')[1].resumed, false);
    node.socket.emit({ type: 'gap', room: 'lobby', after: '1000-4', before: '1000-9' });
    node.socket.emit({ type: 'message', room: 'lobby', position: '1000-9', user: 'bo', at: '', text: 'i' });
    await clock.advance(5);
    assert.deepEqual(shown.slice(-2).map((event) => event.text ?? event.missing), [4, 'i']);
});

test('a reset voids the position: at the return, and live', async () => {
    const { clock, node, room, shown } = await joined({}, undefined, { history: 20 });
    for (const text of ['a', 'b', 'c']) says(node, text);
    await clock.advance(5);
    node.socket.drop();
    Object.assign(node.store.room('lobby'), { epoch: 2_000, began: 2_000, seq: 0, log: [] });
    says(node, 'A');
    says(node, 'B');
    await clock.until(() => shown.at(-2).text === 'B', 'it caught up');
    assert.deepEqual(shown.filter((event) => ['reset', 'message'].includes(event.type)).map((event) => event.text ?? event.reason), [
        'a', 'b', 'c', 'rewound', 'A', 'B',
    ]);
    node.socket.emit({ type: 'reset', room: 'lobby', position: '3000-1', reason: 'rewound' });
    node.socket.emit({ type: 'message', room: 'lobby', position: '3000-2', user: 'bo', at: '', text: 'again' });
    await clock.advance(5);
    assert.equal(shown.at(-1).text, 'again');
    assert.equal(room.position, '3000-2');
});

test('a join that may succeed later is tried again; one that may not fails the room', async () => {
    const { client, clock, node } = await online();
    let refusals = 3;
    node.intercept = (frame) => (frame.type === 'join' && refusals-- > 0 ? failure(frame.ref, 400, 'unavailable', true) : undefined);
    const room = client.join('lobby');
    await clock.until(() => room.state === 'joined', 'it is joined');
    node.intercept = (frame) => (frame.type === 'join' ? failure(frame.ref, 200, 'tooManyRooms', false) : undefined);
    const other = client.join('other');
    const sent = watch(other.send('x'));
    await assert.rejects(Promise.all([other.ready, clock.advance(5)]), { reason: 'tooManyRooms', code: 200 });
    assert.deepEqual([other.state, sent.error.reason, sent.error.stored, client.rooms.has('other')], [
        'failed', 'tooManyRooms', false, false,
    ]);
    await assert.rejects(other.send('y'), { reason: 'tooManyRooms', stored: false });
});

test('a node that forgot the session\'s room is joined again, and the send goes through', async () => {
    const { room, clock, node, messages } = await joined();
    node.socket.joined.clear();
    node.store.room('lobby').here.clear();
    says(node, 'meanwhile');
    const sent = watch(room.send('x'));
    await clock.until(() => sent.state === 'resolved', 'it is sent');
    await clock.advance(10);
    assert.deepEqual(messages(), ['meanwhile', 'x']);
});

test('history and roster answer with pages, and survive a lost connection', async () => {
    const { room, clock, node } = await joined();
    for (let n = 1; n <= 10; n += 1) says(node, `m${n}`);
    await clock.advance(5);
    const page = watch(room.history({ before: '1000-8', limit: 3 }));
    await clock.advance(5);
    assert.deepEqual(page.value.messages.map((message) => message.text), ['m5', 'm6', 'm7']);
    assert.deepEqual([page.value.newest, page.value.older, page.value.newer], ['1000-10', true, true]);
    node.socket.drop();
    const roster = watch(room.roster());
    await clock.until(() => roster.state === 'resolved', 'the roster is there');
    assert.deepEqual(roster.value, { members: [{ user: 'ana', devices: ['d'] }], count: 1, cursor: null });
});

test('a read that nobody answers times out, a refused one says why', async () => {
    const { room, clock, node } = await joined({ requestTimeout: 1_000 });
    node.intercept = () => null;
    const read = watch(room.history());
    await clock.advance(1_100);
    assert.equal(read.error.reason, 'timeout');
    node.intercept = (frame) => failure(frame.ref, 105, 'badField', false);
    const refused = watch(room.roster({ cursor: '?' }));
    await clock.advance(5);
    assert.deepEqual([refused.error.reason, refused.error.code], ['badField', 105]);
});

test('presence keeps the members; in a large room only the count', async () => {
    const { room, clock, node, shown } = await joined();
    node.intercept = (frame) => (frame.type === 'roster' ? null : undefined);
    node.socket.emit({ type: 'presence', room: 'lobby', joined: ['bo', 'che'], left: [], count: 3 });
    node.socket.emit({ type: 'presence', room: 'lobby', joined: [], left: ['bo'], count: 2 });
    await clock.advance(5);
    assert.deepEqual([[...room.members], room.count], [['ana', 'che'], 2]);
    assert.deepEqual(shown.at(-1), { type: 'presence', joined: [], left: ['bo'], count: 2 });
    node.socket.emit({ type: 'presence', room: 'lobby', joined: [], left: [], count: 900 });
    await clock.advance(5);
    assert.deepEqual([room.members, room.count], [null, 900]);
});

test('names that do not add up to the count are read again', async () => {
    const { room, clock, node, shown } = await joined();
    const roster = [{ user: 'ana', devices: ['d'] }, { user: 'bo', devices: ['phone'] }, { user: 'che', devices: [] }];
    node.intercept = (frame) => (frame.type === 'roster' ? { type: 'roster', room: 'lobby', roster, count: 3 } : undefined);
    node.socket.emit({ type: 'presence', room: 'lobby', joined: ['bo'], left: [], count: 3 });
    await clock.advance(10);
    assert.deepEqual([[...room.members], room.count], [['ana', 'bo', 'che'], 3]);
    assert.deepEqual(shown.at(-1), { type: 'presence', joined: ['che'], left: [], count: 3 });
});

test('signals go out when the room is joined, and come in', async () => {
    const { room, clock, node, shown } = await joined();
    assert.equal(room.signal('typing', { on: true }), true);
    node.socket.emit({ type: 'signal', room: 'lobby', user: 'bo', name: 'typing', data: 1 });
    await clock.advance(5);
    const { ref, ...frame } = node.frames.at(-1);
    assert.deepEqual(frame, { type: 'signal', room: 'lobby', name: 'typing', data: { on: true } });
    assert.deepEqual(shown.at(-1), { type: 'signal', user: 'bo', name: 'typing', data: 1 });
    node.socket.drop();
    assert.equal(room.signal('typing'), false);
});

test('a room that the URL names too, for a proxy to hash on, is joined without an error', async () => {
    const { client, clock, node } = await online({ query: { room: 'lobby' } });
    const errors = [];
    client.on('error', (error) => errors.push(error.reason));
    node.intercept = (frame, socket) => {
        if (frame.type === 'join') socket.emit(failure(undefined, 202, 'tooManyWaiting', true));
        return undefined;
    };
    const room = client.join('lobby');
    await clock.advance(10);
    assert.deepEqual([room.state, errors], ['joined', []]);
    node.socket.emit(failure(undefined, 202, 'tooManyWaiting', true));
    await clock.advance(5);
    assert.deepEqual(errors, ['tooManyWaiting']);
});

test('a signal that is refused is told, with what it was', async () => {
    const { client, room, clock, node } = await joined();
    const errors = [];
    client.on('error', ({ reason, room: name, message }) => errors.push([reason, name, message]));
    node.intercept = (frame) => (frame.type === 'signal' && frame.name === 'bad' ? failure(frame.ref, 105, 'badField', false) : null);
    for (let n = 0; n < 300; n += 1) room.signal('typing');
    room.signal('bad');
    await clock.advance(5);
    assert.deepEqual(errors, [['badField', 'lobby', 'signal bad to lobby: because badField']]);
    assert.equal(room.signal('long', 'x'.repeat(70_000)), false);
    assert.equal(errors[1][0], 'frameTooLarge');
    assert.throws(() => room.signal(''), { reason: 'badArgument' });
    assert.throws(() => room.signal(undefined), { reason: 'badArgument' });
});

test('presence is told as it changes the members, whatever a node repeats', async () => {
    const { room, clock, node, shown } = await joined();
    const told = () => shown.filter((event) => event.type === 'presence').map(({ joined: came, left, count }) => [came, left, count]);
    assert.deepEqual(told(), [[[], [], 1]]);
    // An older node tells a session of its own arrival, and of what its `joined` held already.
    for (const [came, left, count] of [[['ana'], [], 1], [['bo'], [], 2], [['bo', 'che'], ['dan'], 3]]) {
        node.socket.emit({ type: 'presence', room: 'lobby', joined: came, left, count });
    }
    await clock.advance(5);
    assert.deepEqual(told().slice(1), [[['bo'], [], 2], [['che'], [], 3]]);
    assert.equal(room.members.size, room.count);
    // What changed while the connection was away.
    node.socket.drop();
    node.intercept = (frame) => (frame.type !== 'join' ? undefined : {
        type: 'joined', room: 'lobby', position: '1000-0', messages: [], resumed: true, count: 3,
        roster: [{ user: 'ana', devices: ['d'] }, { user: 'che', devices: ['d'] }, { user: 'eva', devices: ['d'] }],
    });
    await clock.until(() => room.state === 'joined', 'it is back');
    assert.deepEqual(told().at(-1), [['eva'], ['bo'], 3]);
});

test('in a small room names that were left out are read again; in a large one the count is all', async () => {
    const { room, clock, node } = await joined();
    let asked = 0;
    node.intercept = (frame) => {
        if (frame.type !== 'roster') return undefined;
        asked += 1;
        return { type: 'roster', room: 'lobby', count: 2, roster: [{ user: 'ana', devices: [] }, { user: 'bo', devices: [] }] };
    };
    node.socket.emit({ type: 'presence', room: 'lobby', joined: [], left: [], count: 2 });
    await clock.advance(10);
    assert.deepEqual([[...room.members], room.count, asked], [['ana', 'bo'], 2, 1]);
    node.socket.emit({ type: 'presence', room: 'lobby', joined: [], left: [], count: 300 });
    await clock.advance(10);
    assert.deepEqual([room.members, room.count, asked], [null, 300, 1]);
});
