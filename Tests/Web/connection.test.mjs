// martlet.js: connecting, coming back, ending.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MartletError, connect, newKey, parsePosition } from '../../Sources/ChatGateway/Web/martlet.js';
import { URL, joined, online, says, sends, watch } from './bench.mjs';
import { FakeClock, FakeNode, FakeStore, failure, seeded, settled } from './fakes.mjs';

test('connecting says who it is and asks for the subprotocol', async () => {
    const { client, node } = await online({ token: 'secret', query: { room: 'x y' } });
    assert.equal(node.socket.url.href, 'ws://node.test/ws?room=x+y&user=ana&device=laptop');
    assert.deepEqual(node.socket.protocols, ['martlet.v1', 'bearer.secret']);
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
    assert.deepEqual(node.sockets.map((socket) => socket.protocols), [['martlet.v1', 'bearer.t2'], ['martlet.v1', 'bearer.t3']]);
    assert.equal(node.socket.url.searchParams.get('token'), null);
});

test('a token that cannot be a subprotocol goes into the URL', async () => {
    const { node, clock, client } = await online({ token: 'with space' });
    await clock.until(() => client.state === 'online', 'it is online');
    assert.deepEqual(node.socket.protocols, ['martlet.v1']);
    assert.equal(node.socket.url.searchParams.get('token'), 'with space');
});

test('a token is renewed before it expires, and again after a refusal', async () => {
    let asked = 0;
    const tokens = [];
    const node = new FakeNode(new FakeClock());
    const seconds = () => Math.round(node.clock.now() / 1_000);
    node.welcome = { expires: 100 };
    node.intercept = (frame) => {
        if (frame.type !== 'token') return undefined;
        tokens.push([frame.token, seconds()]);
        if (tokens.length === 1) return failure(frame.ref, 300, 'unauthenticated', false);
        return { type: 'token', ref: frame.ref, expires: 1_000 };
    };
    const { clock, client } = await online({ token: () => `t${asked += 1}` }, node);
    await clock.until(() => client.state === 'online', 'it is online');
    const began = seconds();
    await clock.advance(85_000);
    assert.deepEqual(tokens.map(([token, at]) => [token, at - began]), [['t2', 70], ['t3', 75]]);
    assert.equal(node.sockets.length, 1, 'without a reconnect');
    await clock.advance(900_000);
    assert.deepEqual(tokens.length, 3);
    assert.equal(client.state, 'online');
});

test('a token that expired without a successor brings a new connection with a new one; one that was revoked does not', async () => {
    let asked = 0;
    const { node, clock, client } = await online({ token: () => `t${asked += 1}` });
    await clock.until(() => client.state === 'online', 'it is online');
    node.socket.drop(4011, 'expired');
    await clock.until(() => client.state === 'online', 'it is online again');
    assert.deepEqual(node.socket.protocols, ['martlet.v1', 'bearer.t2']);
    node.socket.drop(4012, 'revoked');
    await clock.until(() => client.state === 'closed', 'it is closed');
    assert.equal(node.sockets.length, 2);
});

test('a room that the node takes the session out of fails with the reason', async () => {
    const { client, room, clock, node } = await joined();
    const failed = [];
    room.on('failed', (error) => failed.push(error));
    node.socket.emit({ type: 'left', room: room.name, reason: 'forbidden' });
    await clock.until(() => failed.length === 1, 'the room failed');
    assert.equal(failed[0].reason, 'forbidden');
    assert.match(failed[0].message, /no longer gives you a right/);
    assert.equal(room.state, 'failed');
    assert.equal(client.rooms.size, 0);
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
    for (const [code, name] of [
        [4002, 'unauthenticated'], [4004, 'tooManySessions'], [4005, 'abuse'], [4007, 'ended'], [4009, 'badName'], [4010, 'forbidden'],
    ]) {
        const { client, room, clock, node } = await joined();
        const closed = [];
        client.on('closed', (error) => closed.push(error.reason));
        client.on('closed', (error) => assert.match(error.message, /^the node node-1 closed the connection: \w+ /));
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

test('a node that refuses at once says why: for good, or at each try', async () => {
    for (const [code, name, state] of [[4002, 'unauthenticated', 'closed'], [4009, 'badName', 'closed'], [4003, 'nodeFull', 'offline'], [4321, 'tired', 'offline']]) {
        const node = new FakeNode(new FakeClock());
        node.refuse = [code, name];
        const client = connect(URL, { user: 'ana', WebSocket: node.WebSocket, clock: node.clock, random: seeded(1) });
        const told = [];
        client.on('state', (event) => { if (event.error) told.push([event.state, event.error.reason, event.error.code, event.error.retry]); });
        const room = client.join('lobby');
        const sent = watch(room.send('x'));
        await node.clock.advance(30_000);
        assert.deepEqual(new Set(told.map(String)), new Set([`${state},${name},${code},${state === 'offline'}`]));
        const ready = watch(client.ready);
        await settled();
        if (state === 'closed') {
            assert.deepEqual([node.sockets.length, ready.error.reason, sent.error.reason, room.state], [1, name, name, 'failed']);
        } else {
            assert.ok(node.sockets.length > 3 && node.sockets.length < 20, `${node.sockets.length} tries in 30 s`);
            assert.match(ready.error.message, new RegExp(`still trying; at last: the node at node.test closed the connection: .*`));
            node.refuse = null;
            await node.clock.until(() => sent.state === 'resolved', 'it is let in');
        }
        client.close();
    }
});

test('a quiet connection is asked once a heartbeat, and left four seconds after it stops to answer', async () => {
    const { client, clock, node } = await joined();
    const states = [];
    client.on('state', ({ state, error }) => states.push([state, error?.reason]));
    const pings = () => node.frames.filter((frame) => frame.type === 'ping').length;
    await clock.advance(29_000);
    assert.equal(pings(), 0);
    await clock.advance(60_000);
    assert.ok(pings() >= 2 && pings() <= 3);
    assert.equal(node.sockets.length, 1);
    assert.deepEqual(states, [], 'a node that answers is not doubted');
    node.intercept = (frame) => (frame.type === 'ping' ? null : undefined);
    const asked = pings();
    await clock.until(() => pings() > asked, 'it asks');
    await clock.advance(4_400);
    assert.deepEqual(states.slice(0, 2), [['unsure', undefined], ['offline', 'timeout']]);
    await clock.advance(1_000);
    assert.equal(node.sockets.length, 2);
});

test('a node that does not answer a request is asked, doubted, and left within ten seconds; the request is repeated elsewhere', async () => {
    const clock = new FakeClock();
    const store = new FakeStore();
    const [frozen, well] = ['frozen', 'well'].map((name) => new FakeNode(clock, store, name));
    const { client, room, messages } = await joined({ WebSocket: frozen.WebSocket }, frozen);
    client._options.WebSocket = well.WebSocket;
    await clock.advance(12_345);
    frozen.intercept = () => null;
    const states = [];
    const began = clock.now();
    client.on('state', ({ state }) => states.push([state, Math.round((clock.now() - began) / 100) / 10]));
    const sent = watch(room.send({ text: 'hello', key: 'k' }));
    await clock.until(() => sent.state === 'resolved', 'it is sent');
    assert.ok(clock.now() - began <= 10_000, `after ${clock.now() - began} ms`);
    assert.deepEqual(frozen.frames.filter((frame) => frame.type === 'ping').length, 1);
    assert.deepEqual(states.slice(0, 2), [['unsure', 5.5], ['offline', 8]]);
    assert.deepEqual([client.state, client.node, messages()], ['online', 'well', ['hello']]);
    assert.deepEqual(sends(well).map(({ key, again }) => [key, again]), [['k', true]]);
    assert.equal(store.room('lobby').log.length, 1);
});

test('every kind of request notices a frozen node: join, history, roster, leave', async () => {
    for (const ask of [(client) => client.join('other').ready, (_, room) => room.history(), (_, room) => room.roster(), (_, room) => room.leave()]) {
        const { client, room, clock, node } = await joined({ requestTimeout: 60_000 });
        node.intercept = (frame, socket) => (socket === node.sockets[0] ? null : undefined);
        const answer = watch(ask(client, room));
        await clock.advance(10_000);
        assert.deepEqual([node.sockets.length, answer.state], [2, 'resolved']);
    }
});

test('a node that is there but cannot answer yet is not left: its pongs, and whatever it says, count', async () => {
    const { client, room, clock, node } = await joined();
    const states = [];
    client.on('state', ({ state }) => states.push(state));
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    watch(room.send('x'));
    await clock.advance(40_000);
    const pings = node.frames.filter((frame) => frame.type === 'ping').length;
    assert.ok(pings >= 9 && pings <= 10, `${pings} pings in 40 s`);
    node.intercept = (frame) => (frame.type === 'send' || frame.type === 'ping' ? null : undefined);
    for (let n = 0; n < 15; n += 1) {
        says(node, `${n}`);
        await clock.advance(1_000);
    }
    assert.deepEqual([states, node.sockets.length, node.frames.filter((frame) => frame.type === 'ping').length - pings <= 1], [[], 1, true]);
    await clock.advance(6_500);
    assert.deepEqual([states, client.state], [['unsure'], 'unsure']);
    says(node, 'here I am');
    await clock.advance(5);
    assert.deepEqual([states, client.state, node.sockets.length], [['unsure', 'online'], 'online', 1]);
});

test('while it is unsure rooms can be joined, and what is said waits for the one that answers', async () => {
    const { client, room, clock, node } = await joined();
    node.intercept = (frame, socket) => (socket === node.sockets[0] ? null : undefined);
    const first = watch(room.send('a'));
    await clock.advance(7_000);
    assert.equal(client.state, 'unsure');
    const second = watch(room.send('b'));
    const other = client.join('other');
    await clock.until(() => second.state === 'resolved' && other.state === 'joined', 'all is done');
    assert.deepEqual([first.state, node.store.room('lobby').log.map((message) => message.text)], ['resolved', ['a', 'b']]);
});

test('a slow line is not taken for a dead node: long frames get longer, and each try twice the time', async () => {
    const { room, clock, node } = await joined();
    node.intercept = (frame) => (frame.type === 'send' || frame.type === 'ping' ? null : undefined);
    watch(room.send('x'.repeat(60_000)));
    await clock.advance(11_000);
    assert.equal(node.sockets.length, 1);
    await clock.advance(2_000);
    assert.equal(node.sockets.length, 2);
    // A page that takes 20 s arrives at the third try.
    const slow = await joined({ requestTimeout: 120_000 });
    slow.node.intercept = (frame, socket) => {
        if (frame.type !== 'history' && frame.type !== 'ping') return undefined;
        const page = { type: 'history', ref: frame.ref, room: 'lobby', messages: [], newest: null };
        slow.clock.setTimeout(() => socket.emit(frame.type === 'ping' ? { type: 'pong', ref: frame.ref } : page), 20_000);
        return null;
    };
    const page = watch(slow.room.history());
    await slow.clock.advance(60_000);
    assert.deepEqual([page.state, slow.node.sockets.length], ['resolved', 3]);
});

test('a page that was itself held up reads what came meanwhile before it blames the node', async () => {
    const { client, room, clock, node } = await joined();
    await clock.advance(10_000);
    const late = { on: false };
    const { setTimeout: set } = clock;
    clock.setTimeout = (action, ms) => set(action, late.on ? ms + 60_000 : ms);
    node.intercept = () => null;
    late.on = true;
    watch(room.send('x'));
    late.on = false;
    await clock.advance(64_600);
    assert.deepEqual([client.state, node.frames.at(-1).type], ['online', 'send'], 'a timer that comes a minute late is put off');
    await clock.advance(1_100);
    assert.equal(node.frames.at(-1).type, 'ping');
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
    await clock.advance(4_100);
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
    for (const text of ['', '1', '1-', '-1', '1-2-3', '1-a', ' 1-2', '1-9007199254740993', '18446744073709551615-1', 5, null, undefined]) {
        assert.equal(parsePosition(text), null);
    }
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
