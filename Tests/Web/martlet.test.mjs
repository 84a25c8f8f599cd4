// martlet.js against a model of a node, a clock moved by hand and seeded randomness: `node --test Tests/Web`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MartletError, connect, newKey, parsePosition } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, FakeStore, failure, seeded, settled } from './fakes.mjs';

const URL = 'ws://node.test/ws';

/** A client on a fake node, online. */
async function online(options = {}, node = new FakeNode(new FakeClock())) {
    const client = connect(URL, {
        user: 'ana', device: 'laptop', WebSocket: node.WebSocket, clock: node.clock, random: seeded(7), ...options,
    });
    await node.clock.advance(5);
    return { client, node, clock: node.clock, store: node.store };
}

/** The same, joined to `lobby`, noting what is shown. */
async function joined(options = {}, node, join = {}) {
    const all = await online(options, node);
    const room = all.client.join('lobby', join);
    const shown = [];
    for (const type of ['message', 'gap', 'reset', 'joined', 'presence', 'signal', 'failed']) {
        room.on(type, (event) => shown.push({ type, ...event, ...(event instanceof MartletError ? { error: event } : {}) }));
    }
    await all.clock.advance(5);
    const messages = () => shown.filter((event) => event.type === 'message').map((event) => event.text);
    return { ...all, room, shown, messages };
}

/** What became of a promise, looked at without waiting. */
function watch(promise) {
    const result = { state: 'pending' };
    promise.then(
        (value) => Object.assign(result, { state: 'resolved', value }),
        (error) => Object.assign(result, { state: 'rejected', error }),
    );
    return result;
}

const says = (node, text, user = 'bo') => node.store.append('lobby', { user, text });
const sends = (node) => node.frames.filter((frame) => frame.type === 'send');

test('connecting says who it is and asks for the subprotocol', async () => {
    const { client, node } = await online({ token: 'secret', query: { room: 'x y' } });
    assert.equal(node.socket.url.href, 'ws://node.test/ws?room=x+y&user=ana&device=laptop&token=secret');
    assert.deepEqual(node.socket.protocols, ['martlet.v1']);
    assert.equal(await client.ready, client);
    assert.deepEqual([client.state, client.node, client.user, client.session], ['online', 'node-1', 'ana', 's1']);
});

test('an http address becomes the node\'s WebSocket', async () => {
    const clock = new FakeClock();
    const node = new FakeNode(clock);
    for (const [given, used] of [
        ['http://node.test', 'ws://node.test/ws'], ['https://node.test/', 'wss://node.test/ws'], ['wss://node.test/x', 'wss://node.test/x'],
    ]) {
        connect(given, { WebSocket: node.WebSocket, clock });
        assert.equal(node.socket.url.href, used);
    }
});

test('a URL that cannot be used is refused at once, with the reason', () => {
    for (const url of ['node.test', 'ftp://node.test', 'ws://', undefined]) {
        assert.throws(() => connect(url, { clock: new FakeClock() }), { name: 'MartletError', reason: 'badArgument' });
    }
});

test('a token function is asked at each connection, and one that fails is asked again', async () => {
    let asked = 0;
    const token = () => {
        asked += 1;
        if (asked === 1) throw new Error('not yet');
        return `t${asked}`;
    };
    const { node, clock, client } = await online({ token });
    await clock.until(() => client.state === 'online', 'it is online');
    node.socket.drop();
    await clock.until(() => client.state === 'online', 'it is online again');
    assert.deepEqual(node.sockets.map((socket) => socket.url.searchParams.get('token')), ['t2', 't3']);
});

test('a room shows its recent messages, then live ones', async () => {
    const node = new FakeNode(new FakeClock());
    for (let n = 1; n <= 5; n += 1) says(node, `old ${n}`);
    const { room, clock, messages, shown } = await joined({}, node, { history: 2 });
    says(node, 'new');
    await clock.advance(5);
    assert.deepEqual(messages(), ['old 4', 'old 5', 'new']);
    assert.equal(room.position, '1000-6');
    assert.deepEqual(shown[0], {
        type: 'joined', position: '1000-5', first: true, resumed: false, missed: 0, gap: undefined, reset: undefined, count: 1,
    });
    assert.deepEqual(shown.find((event) => event.text === 'new'), {
        type: 'message', room: 'lobby', position: '1000-6', seq: 6, user: 'bo', at: '2026-01-02T03:04:05.678Z', text: 'new',
        data: undefined, key: undefined, mine: false,
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
    assert.throws(() => client.join('x', { after: 'yesterday' }), { reason: 'badArgument' });
});

test('send resolves with the position; the first try says that it is one', async () => {
    const { room, clock, node } = await joined();
    const sent = watch(room.send('hello'));
    await clock.advance(5);
    assert.deepEqual(sent.value, { position: '1000-1', at: '2026-01-02T03:04:05.678Z', repeated: false });
    const { ref, key, ...frame } = sends(node)[0];
    assert.deepEqual(frame, { type: 'send', room: 'lobby', text: 'hello', again: false });
    assert.match(key, /^[0-9a-f]{32}$/);
});

test('send takes text, data and a key of one\'s own', async () => {
    const { room, clock, node, shown } = await joined();
    room.send({ data: { dice: [3, 4] }, key: 'k1' });
    room.send({ text: 'x', key: 'k2', again: false });
    room.send({ text: 'y', key: 'k3', again: true, since: '1000-0' });
    await clock.advance(5);
    assert.deepEqual(sends(node).map(({ key, again, since }) => [key, again, since]), [
        ['k1', undefined, undefined], ['k2', false, undefined], ['k3', true, '1000-0'],
    ]);
    assert.deepEqual(shown.find((event) => event.key === 'k1').data, { dice: [3, 4] });
    assert.ok(shown.filter((event) => event.type === 'message').every((event) => event.mine));
});

test('sends made before the room is joined, or offline, go out in their order', async () => {
    const node = new FakeNode(new FakeClock());
    const client = connect(URL, { user: 'ana', WebSocket: node.WebSocket, clock: node.clock, random: seeded(1) });
    const room = client.join('lobby');
    const early = ['a', 'b'].map((text) => watch(room.send(text)));
    await node.clock.advance(10);
    node.socket.drop();
    const late = ['c', 'd'].map((text) => watch(room.send(text)));
    await node.clock.until(() => late.every((send) => send.state === 'resolved'), 'all is sent');
    assert.ok(early.every((send) => send.state === 'resolved'));
    assert.deepEqual(node.store.room('lobby').log.map((message) => message.text), ['a', 'b', 'c', 'd']);
    assert.deepEqual(sends(node).map((frame) => frame.again), [false, false, false, false]);
});

test('an unanswered send is repeated with its key, again and since', async () => {
    const { room, clock, node } = await joined();
    says(node, 'before');
    await clock.advance(5);
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    const sent = watch(room.send({ text: 'hello', key: 'k', again: false }));
    await clock.advance(5);
    node.intercept = () => undefined;
    node.socket.drop();
    await clock.until(() => sent.state !== 'pending', 'the send is settled');
    assert.equal(sent.value.position, '1000-2');
    assert.deepEqual(sends(node).map(({ key, again, since }) => [key, again, since]), [
        ['k', false, undefined], ['k', true, '1000-1'],
    ]);
});

test('a send whose answer was lost is settled by its own message, and stored once', async () => {
    const { room, clock, node, messages } = await joined();
    node.intercept = (frame, socket) => {
        if (frame.type !== 'send') return undefined;
        node.store.append('lobby', { user: 'ana', text: frame.text, key: frame.key });
        socket.drop();
        return null;
    };
    const sent = watch(room.send('hello'));
    await clock.advance(3);
    node.intercept = () => undefined;
    await clock.until(() => sent.state !== 'pending', 'the send is settled');
    assert.equal(sent.value.position, '1000-1');
    assert.equal(node.store.room('lobby').log.length, 1);
    assert.deepEqual(messages(), ['hello']);
});

test('a node\'s refusal rejects with its code, name and words', async () => {
    const { room, clock, node } = await joined();
    for (const [code, name, stored] of [[105, 'badField', false], [301, 'forbidden', false], [401, 'outcomeUnknown', undefined]]) {
        node.intercept = (frame) => (frame.type === 'send' ? failure(frame.ref, code, name, false) : undefined);
        const sent = watch(room.send({ text: 'x', key: 'k' }));
        await clock.advance(5);
        assert.ok(sent.error instanceof MartletError);
        const { reason, message, retry, key } = sent.error;
        assert.deepEqual([reason, sent.error.code, message, retry, key, sent.error.stored], [
            name, code, `because ${name}`, false, 'k', stored,
        ]);
    }
    assert.equal(room.pending, 0);
});

test('"not now" is tried again until it is stored', async () => {
    const { room, clock, node } = await joined();
    const reasons = [[201, 'rateLimited'], [202, 'tooManyWaiting'], [400, 'unavailable'], [402, 'notStored'], [500, 'internalError']];
    node.intercept = (frame) => {
        if (frame.type !== 'send' || reasons.length === 0) return undefined;
        const [code, name] = reasons.shift();
        return failure(frame.ref, code, name, true);
    };
    const sent = watch(room.send('x'));
    await clock.until(() => sent.state !== 'pending', 'the send is settled');
    assert.equal(sent.state, 'resolved');
    assert.deepEqual(sends(node).map((frame) => frame.again), [false, true, true, true, true, true]);
    assert.equal(new Set(sends(node).map((frame) => frame.key)).size, 1);
});

test('a send that is refused for too long fails with the last reason', async () => {
    const { room, clock, node } = await joined();
    node.intercept = (frame) => (frame.type === 'send' ? failure(frame.ref, 400, 'unavailable', true) : undefined);
    const sent = watch(room.send('x', { timeout: 3_000 }));
    await clock.advance(3_100);
    assert.deepEqual([sent.error.reason, sent.error.code, sent.error.retry, sent.error.stored], ['unavailable', 400, true, undefined]);
});

test('a send that nobody answers times out; offline it certainly was not stored', async () => {
    const { room, clock, node } = await joined();
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    const lost = watch(room.send('x', { timeout: 2_000 }));
    await clock.advance(2_100);
    assert.deepEqual([lost.error.reason, lost.error.stored], ['timeout', undefined]);
    node.accept = false;
    node.socket.drop();
    const offline = watch(room.send('y', { timeout: 2_000 }));
    await clock.advance(2_100);
    assert.deepEqual([offline.error.reason, offline.error.stored], ['timeout', false]);
});

test('a send can be aborted', async () => {
    const { room, clock } = await joined();
    const abort = new AbortController();
    const sent = watch(room.send('x', { signal: abort.signal }));
    abort.abort();
    await settled();
    assert.deepEqual([sent.error.reason, sent.error.stored], ['aborted', undefined]);
    const late = watch(room.send('y', { signal: abort.signal }));
    await clock.advance(5);
    assert.deepEqual([late.error.reason, late.error.stored], ['aborted', false]);
});

test('what cannot be sent is refused at once', async () => {
    const { room, clock } = await joined({ maxUnsent: 1 });
    const reasons = [];
    for (const content of [undefined, {}, { text: 5 }, { text: 'x', key: '' }, { text: 'x', key: 9 }]) {
        await room.send(content).catch((error) => reasons.push(error.reason));
    }
    assert.deepEqual(reasons, Array(5).fill('badArgument'));
    const long = watch(room.send('가'.repeat(30_000)));
    await clock.advance(5);
    assert.deepEqual([long.error.reason, long.error.code, long.error.stored], ['frameTooLarge', 102, false]);
    room.send('first').catch(() => {});
    await assert.rejects(room.send('second'), { reason: 'queueFull', retry: true });
});

test('half a surrogate pair is sent as U+FFFD', async () => {
    const { room, clock, messages } = await joined();
    room.send('a\ud800b 😀');
    await clock.advance(5);
    assert.deepEqual(messages(), ['a\ufffdb 😀']);
});

test('only so many sends are unanswered at a time, and their order holds', async () => {
    const { room, clock, node, messages } = await joined({ window: 3 });
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    const all = Array.from({ length: 10 }, (_, n) => watch(room.send(`m${n}`)));
    await clock.advance(50);
    assert.equal(sends(node).length, 3);
    node.intercept = () => undefined;
    node.socket.drop();
    await clock.until(() => all.every((send) => send.state === 'resolved'), 'all is sent');
    assert.deepEqual(messages(), Array.from({ length: 10 }, (_, n) => `m${n}`));
});

test('it stays under the node\'s rate', async () => {
    const node = new FakeNode(new FakeClock());
    node.welcome = { limits: { requestsPerSecond: 100, requestBurst: 20 } };
    const { room, clock } = await joined({ window: 500 }, node);
    const all = Array.from({ length: 200 }, (_, n) => watch(room.send(`m${n}`)));
    await clock.advance(5);
    assert.ok(sends(node).length <= 18);
    await clock.advance(1_000);
    assert.ok(sends(node).length > 80 && sends(node).length <= 18 + 92, `${sends(node).length} in a second`);
    await clock.until(() => all.every((send) => send.state === 'resolved'), 'all is sent');
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
    const { clock, node, room, shown } = await joined();
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
    assert.deepEqual([[...room.members.keys()], room.count], [['ana', 'che'], 2]);
    assert.deepEqual(shown.at(-1), { type: 'presence', joined: [], left: ['bo'], count: 2 });
    node.socket.emit({ type: 'presence', room: 'lobby', joined: [], left: [], count: 900 });
    await clock.advance(5);
    assert.deepEqual([room.members, room.count], [null, 900]);
});

test('names that do not add up to the count are read again', async () => {
    const { room, clock, node } = await joined();
    const roster = [{ user: 'ana', devices: ['d'] }, { user: 'bo', devices: ['phone'] }, { user: 'che', devices: [] }];
    node.intercept = (frame) => (frame.type === 'roster' ? { type: 'roster', room: 'lobby', roster, count: 3 } : undefined);
    node.socket.emit({ type: 'presence', room: 'lobby', joined: ['bo'], left: [], count: 3 });
    await clock.advance(10);
    assert.deepEqual([...room.members], [['ana', ['d']], ['bo', ['phone']], ['che', []]]);
});

test('signals go out when the room is joined, and come in', async () => {
    const { room, clock, node, shown } = await joined();
    assert.equal(room.signal('typing', { on: true }), true);
    node.socket.emit({ type: 'signal', room: 'lobby', user: 'bo', name: 'typing', data: 1 });
    await clock.advance(5);
    assert.deepEqual(node.frames.at(-1), { type: 'signal', room: 'lobby', name: 'typing', data: { on: true } });
    assert.deepEqual(shown.at(-1), { type: 'signal', user: 'bo', name: 'typing', data: 1 });
    node.socket.drop();
    assert.equal(room.signal('typing'), false);
});

test('leaving settles everything and stops the messages; the room can be joined again', async () => {
    const { client, room, clock, node, messages } = await joined();
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    const sent = watch(room.send('x'));
    const left = watch(room.leave());
    says(node, 'unseen');
    await clock.advance(10);
    assert.deepEqual([left.state, sent.error.reason, sent.error.stored, room.state], ['resolved', 'left', undefined, 'left']);
    await assert.rejects(room.history(), { reason: 'left' });
    await room.leave();
    assert.deepEqual(messages(), []);
    const again = client.join('lobby', { history: 5 });
    assert.notEqual(again, room);
    await clock.until(() => again.state === 'joined', 'it is joined again');
    const offline = client.join('other');
    node.socket.drop();
    await offline.leave();
});

test('waits grow with jitter up to the cap, and start again after a connection that lasted', async () => {
    const node = new FakeNode(new FakeClock());
    const waits = [];
    const { client, clock } = await online({ random: () => 0.5, backoff: { base: 100, cap: 1_000 } }, node);
    client.on('state', (event) => { if (event.state === 'offline') waits.push(event.delay); });
    await clock.advance(6_000);
    node.accept = false;
    node.socket.drop();
    await clock.until(() => waits.length === 6, 'it tried six times');
    assert.deepEqual(waits, [50, 100, 200, 400, 500, 500]);
    node.accept = true;
    await clock.until(() => client.state === 'online', 'it is online');
    node.socket.drop(4003, 'nodeFull');
    await settled();
    assert.equal(waits.at(-1), 500, 'a node that welcomes and then closes is not hammered');
    await clock.until(() => client.state === 'online', 'it is online');
    await clock.advance(6_000);
    node.socket.drop();
    assert.equal(waits.at(-1), 50);
});

test('draining moves to another connection at the moment that the node gave', async () => {
    const { client, room, clock, node, messages } = await joined();
    const drainings = [];
    client.on('draining', (event) => drainings.push(event.reconnectAfter));
    node.socket.emit({ type: 'draining', reconnectAfter: 800 });
    await clock.advance(700);
    says(node, 'still here');
    await clock.advance(5);
    assert.deepEqual([node.sockets.length, drainings, messages()], [1, [800], ['still here']]);
    await clock.advance(200);
    assert.deepEqual([node.sockets.length, node.sockets[0].closedWith], [2, 1000]);
    await clock.until(() => room.state === 'joined', 'it is back');
});

test('a send that is refused because the node is leaving moves at once', async () => {
    const { room, clock, node } = await joined();
    node.intercept = (frame, socket) => (frame.type === 'send' && socket === node.sockets[0] ? failure(frame.ref, 403, 'draining', true) : undefined);
    const sent = watch(room.send('x'));
    await clock.until(() => sent.state === 'resolved', 'it is sent');
    assert.equal(node.sockets.length, 2);
});

test('close codes say whether to come back', async () => {
    for (const [code, name] of [[4002, 'unauthenticated'], [4004, 'tooManySessions'], [4005, 'abuse'], [4007, 'ended']]) {
        const { client, room, clock, node } = await joined();
        const closed = [];
        client.on('closed', (error) => closed.push(error.reason));
        const sent = watch(room.send('x'));
        node.socket.drop(code, name);
        await clock.advance(60_000);
        assert.deepEqual([client.state, room.state, closed, sent.error.reason, sent.error.code], [
            'closed', 'failed', [name], name, code,
        ]);
        assert.equal(node.sockets.length, 1);
        assert.equal(clock.waiting, 0);
        assert.throws(() => client.join('x'), { reason: 'closed' });
    }
    for (const code of [1000, 1001, 1006, 1011, 4000, 4001, 4003, 4006, 4008, 4999]) {
        const { client, clock, node } = await joined();
        node.socket.drop(code);
        await clock.until(() => client.state === 'online', `it is back after ${code}`);
    }
});

test('a dead connection is noticed by its silence', async () => {
    const { client, clock, node } = await joined();
    const errors = [];
    client.on('state', (event) => { if (event.error) errors.push(event.error.reason); });
    await clock.advance(29_000);
    assert.equal(node.frames.filter((frame) => frame.type === 'ping').length, 0);
    await clock.advance(60_000);
    assert.ok(node.frames.filter((frame) => frame.type === 'ping').length >= 2);
    assert.equal(node.sockets.length, 1);
    node.intercept = (frame) => (frame.type === 'ping' ? null : undefined);
    await clock.advance(45_000);
    assert.deepEqual(errors, ['timeout']);
    assert.equal(node.sockets.length, 2);
});

test('wake tries at once, and checks a connection that may be dead', async () => {
    const { client, clock, node } = await joined({ random: () => 0.999, backoff: { base: 10_000, cap: 20_000 } });
    node.socket.drop();
    await clock.advance(5);
    assert.equal(client.state, 'offline');
    client.wake();
    await clock.advance(5);
    assert.equal(client.state, 'online');
    node.intercept = () => null;
    client.wake();
    await clock.advance(5_100);
    assert.equal(client.state, 'offline');
});

test('a node that never says welcome is given up, and ready says that it took too long', async () => {
    const node = new FakeNode(new FakeClock());
    node.latency = () => 1e9;
    const client = connect(URL, { WebSocket: node.WebSocket, clock: node.clock, random: seeded(3), requestTimeout: 15_000 });
    const ready = watch(client.ready);
    const room = watch(client.join('lobby').ready);
    await node.clock.advance(14_000);
    assert.ok(node.sockets.length >= 2);
    assert.equal(ready.state, 'pending');
    await node.clock.advance(2_000);
    assert.deepEqual([ready.error.reason, room.error.reason], ['timeout', 'timeout']);
    node.latency = () => 1;
    await node.clock.until(() => client.state === 'online', 'it still tries');
});

test('close settles everything and leaves no timer behind', async () => {
    const { client, room, clock, node } = await joined();
    node.intercept = () => null;
    const promises = [room.send('x'), room.history(), room.roster(), client.join('other').ready].map(watch);
    client.close();
    await clock.advance(100);
    assert.deepEqual(promises.map((promise) => promise.error?.reason), Array(4).fill('closed'));
    assert.deepEqual([client.state, node.socket.closedWith, clock.waiting], ['closed', 1000, 0]);
    client.close();
    await assert.rejects(room.send('y'), { reason: 'closed' });
});

test('frames that make no sense disturb nothing', async () => {
    const { client, clock, node, messages } = await joined();
    const errors = [];
    client.on('error', (error) => errors.push(error.reason));
    for (const frame of ['{', { type: 'mystery' }, { type: 'message', room: 'nowhere' }, { type: 'sent', ref: 999 }, failure(undefined, 103, 'unknownType', false)]) {
        node.socket.emit(frame);
    }
    says(node, 'on it goes');
    await clock.advance(5);
    assert.deepEqual(errors, ['unreadable', 'unknownType']);
    assert.deepEqual(messages(), ['on it goes']);
});

test('listeners can be taken off, come once, and leave or close from inside', async () => {
    const { client, room, clock, node } = await joined();
    const heard = [];
    const off = room.on('message', (message) => heard.push(`on ${message.text}`));
    room.once('message', (message) => heard.push(`once ${message.text}`));
    for (const text of ['a', 'b']) says(node, text);
    await clock.advance(5);
    off();
    assert.deepEqual(heard, ['on a', 'once a', 'on b']);
    room.on('message', () => room.leave());
    for (const text of ['c', 'd']) says(node, text);
    await clock.advance(5);
    assert.equal(room.state, 'left');
    assert.equal(room.position, '1000-3');
    client.on('draining', () => client.close());
    node.socket.emit({ type: 'draining', reconnectAfter: 0 });
    await clock.advance(1_000);
    assert.equal(client.state, 'closed');
});

test('positions and keys', () => {
    assert.deepEqual(parsePosition('1700000000000-42'), { epoch: 1_700_000_000_000, seq: 42 });
    for (const text of ['', '1', '1-', '-1', '1-2-3', '1-a', ' 1-2', 5, null, undefined]) assert.equal(parsePosition(text), null);
    assert.equal(new Set(Array.from({ length: 1_000 }, newKey)).size, 1_000);
});

for (const seed of [1, 2, 3, 4, 5]) {
    test(`200 cuts at random while three talk on two nodes: once, in order, all settled (seed ${seed})`, async () => {
        const random = seeded(seed);
        const clock = new FakeClock();
        const store = new FakeStore();
        const nodes = ['node-1', 'node-2'].map((name) => new FakeNode(clock, store, name));
        for (const node of nodes) {
            node.latency = () => 1 + random() * 30;
            node.intercept = (frame) => (frame.type === 'send' && random() < 0.05 ? failure(frame.ref, 400, 'unavailable', true) : undefined);
        }
        // Each connection goes to either node, as behind a proxy.
        function Proxied(url, protocols) { return new (nodes[Math.floor(random() * 2)].WebSocket)(url, protocols); }
        const people = ['ana', 'bo', 'che'].map((user) => {
            const client = connect(URL, { user, WebSocket: Proxied, clock, random, backoff: { base: 50, cap: 500 }, window: 4 });
            const room = client.join('lobby');
            const shown = [];
            room.on('message', (message) => shown.push(message));
            room.on('gap', () => assert.fail('there is no gap'));
            return { user, client, room, shown, sent: [] };
        });
        await clock.until(() => people.every((person) => person.room.state === 'joined'), 'all are in');
        for (let cuts = 0; cuts < 200;) {
            for (const person of people) {
                for (let n = Math.floor(random() * 4); n > 0; n -= 1) person.sent.push(watch(person.room.send(`${person.user} ${person.sent.length}`)));
            }
            await clock.advance(random() * 400);
            const living = nodes.flatMap((node) => node.sockets).filter((socket) => !socket.gone && socket.user === 'ana');
            if (living.length > 0) cuts += 1;
            living.at(-1)?.drop();
            if (random() < 0.1) nodes.flatMap((node) => node.sockets).find((socket) => !socket.gone && socket.user === 'bo')?.drop();
            if (random() < 0.1) people[2].client.wake();
        }
        const settledAll = () => people.every((person) => person.sent.every((send) => send.state !== 'pending'));
        await clock.until(settledAll, 'every send is settled');
        const { log, seq } = store.room('lobby');
        await clock.until(() => people.every((person) => person.room.position?.endsWith(`-${seq}`)), 'all have seen all');
        for (const person of people) {
            assert.deepEqual(person.sent.flatMap((send) => send.error?.reason ?? []), [], 'every send was stored');
            assert.deepEqual(person.shown.map((message) => message.position), log.map((message) => message.position), `${person.user} saw the log`);
            const own = log.filter((message) => message.user === person.user);
            assert.equal(own.length, person.sent.length, 'each send is stored once');
            assert.deepEqual(new Set(person.sent.map((send) => send.value.position)), new Set(own.map((message) => message.position)));
            person.client.close();
        }
        await settled();
        assert.ok(log.length > 500 && nodes.flatMap((node) => node.sockets).length >= 200, 'the run was a hard one');
    });
}
