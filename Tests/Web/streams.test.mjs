// martlet.js where WebSockets are blocked: event streams, and the way back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, FakeStore, seeded, settled } from './fakes.mjs';

const PAGE = 'ws://node.test/ws';

/** A `fetch` that ends in a model node, which speaks event streams and the HTTP API over the rooms of a FakeStore. */
class FakeHTTP {
    streams = [];
    requests = [];
    /** Told each request; what it returns is answered instead: a status, or an error to throw. */
    intercept = () => undefined;

    constructor(store) {
        this.store = store;
        this.fetch = (url, init = {}) => this.#answer(new URL(url), init);
    }

    get stream() { return this.streams.at(-1); }

    async #answer(url, init) {
        const { method = 'GET', headers = {} } = init;
        const body = init.body === undefined ? undefined : JSON.parse(init.body);
        this.requests.push({ method, url, headers, body });
        const instead = this.intercept({ method, url, headers, body });
        await settled();
        if (instead instanceof Error) throw instead;
        if (typeof instead === 'number') return new Response(instead === 204 ? null : JSON.stringify({ error: { code: 1, name: 'refused', message: 'no', retry: instead >= 429 } }), { status: instead });
        if (url.pathname === '/api/events') return this.#open(url, init);
        const [, room, what] = /^\/api\/rooms\/([^/]+)\/(\w+)$/.exec(url.pathname) ?? [];
        const name = decodeURIComponent(room);
        if (method === 'POST') {
            const { user, ...content } = body;
            const { message, repeated } = this.store.append(name, { user, ...content });
            return Response.json({ room: name, position: message.position, repeated }, { status: repeated ? 200 : 201 });
        }
        const log = this.store.room(name).log;
        if (what === 'roster') return Response.json({ room: name, roster: [], count: 0 });
        const around = url.searchParams.get('around');
        const messages = around ? log.filter((message) => message.position === around) : log;
        return Response.json({ room: name, messages, newest: log.at(-1)?.position, older: false, newer: false });
    }

    #open(url, init) {
        const rooms = url.searchParams.getAll('room');
        const after = (url.searchParams.get('after') ?? '').split(',');
        const history = (url.searchParams.get('history') ?? '').split(',');
        const stream = new FakeStream(this, url, init);
        this.streams.push(stream);
        stream.event('welcome', {
            type: 'welcome', session: `e${this.streams.length}`, user: url.searchParams.get('user') ?? 'token', device: 'd', node: 'node-1',
            heartbeat: 25, expires: this.expires, limits: { requestsPerSecond: 1_000, requestBurst: 1_000, frameBytes: 65_536 },
        });
        rooms.forEach((name, index) => stream.join(name, after[index] || undefined, Number(history[index] ?? 0)));
        return new Response(stream.body, { headers: { 'Content-Type': 'text/event-stream' } });
    }
}

class FakeStream {
    #controller;
    #rooms = [];
    gone = false;

    constructor(http, url, init) {
        Object.assign(this, { http, url, user: url.searchParams.get('user') });
        this.body = new ReadableStream({
            start: (controller) => { this.#controller = controller; },
            cancel: () => this.#leave(),
        });
        init.signal?.addEventListener('abort', () => this.cut());
    }

    event(name, frame, id) {
        if (this.gone) return;
        const text = `${id ? `id: ${id}\n` : ''}event: ${name}\ndata: ${JSON.stringify(frame)}\n\n`;
        this.#controller.enqueue(new TextEncoder().encode(text));
    }

    emit(frame) { this.event(frame.type === 'error' ? 'failure' : frame.type, frame, frame.position); }

    join(name, after, history) {
        const room = this.http.store.room(name);
        this.#rooms.push(name);
        room.here.add(this);
        const seq = (position) => Number(position.split('-')[1]);
        const messages = after === undefined ? (history > 0 ? room.log.slice(-history) : []) : room.log.filter((message) => seq(message.position) > seq(after));
        const roster = [...new Set([...room.here].map((one) => one.user))].map((user) => ({ user, devices: ['d'] }));
        this.event('joined', {
            type: 'joined', ref: name, room: name, position: `${room.epoch}-${room.seq}`, resumed: after !== undefined, messages: [],
            roster, count: roster.length, following: messages.length,
        });
        for (const message of messages) this.event('message', { type: 'message', room: name, ...message }, message.position);
    }

    /** What a node sends on a quiet stream. */
    beat() {
        if (!this.gone) this.#controller.enqueue(new TextEncoder().encode(':\n\n'));
    }

    /** The node ends the stream, and says why. */
    end(code, name, reconnect) {
        this.event('closed', { type: 'closed', code, name, reconnect });
        this.#leave();
        this.#controller.close();
    }

    /** The connection is lost. */
    cut() {
        if (this.gone) return;
        this.#leave();
        this.#controller.error(new Error('cut'));
    }

    #leave() {
        this.gone = true;
        for (const name of this.#rooms) this.http.store.room(name).here.delete(this);
    }
}

/** A client whose WebSockets come to nothing. */
async function blocked(options = {}, prepare = (http) => http) {
    const clock = new FakeClock();
    const store = new FakeStore();
    const node = new FakeNode(clock, store);
    node.accept = false;
    const http = prepare(new FakeHTTP(store));
    const states = [];
    const client = connect(PAGE, {
        user: 'ana', device: 'laptop', WebSocket: node.WebSocket, fetch: http.fetch, clock, random: seeded(7), backoff: { base: 20, cap: 50 }, ...options,
    });
    client.on('state', (event) => states.push(`${event.transport} ${event.state}`));
    return { client, clock, node, http, store, states };
}

async function streaming(options = {}) {
    const all = await blocked(options);
    await all.clock.until(() => all.client.state === 'online', 'it is online');
    assert.equal(all.client.transport, 'events');
    return all;
}

function follow(room) {
    const shown = [];
    room.on('message', (message) => shown.push(message.text));
    return shown;
}

test('where no WebSocket opens, a stream is used: join, messages, sends', async () => {
    const { client, clock, node, http, store, states } = await streaming();
    assert.equal(node.sockets.length, 3);
    assert.deepEqual(states.slice(-2), ['events connecting', 'events online']);
    assert.equal(client.user, 'ana');
    store.append('lobby', { user: 'bo', text: 'before' });
    const room = client.join('lobby', { history: 5 });
    const shown = follow(room);
    await clock.until(() => room.state === 'joined', 'the room is joined');
    await clock.until(() => shown.length === 1, 'what was said before is shown');
    const sent = room.send({ text: 'hello', data: { a: 1 } });
    await clock.until(() => shown.length === 2, 'the message is shown');
    assert.deepEqual(shown, ['before', 'hello']);
    assert.deepEqual(await sent, { position: '1000-2', at: '2026-01-02T03:04:05.678Z', repeated: false });
    assert.equal(room.signal('typing'), false);
    assert.deepEqual([...room.members], ['ana']);
    const post = http.requests.find((request) => request.method === 'POST');
    assert.equal(post.headers['Content-Type'], 'application/json');
    assert.ok(http.streams.slice(0, -1).every((stream) => stream.gone), 'one stream is open');
    client.close();
    await settled();
    assert.ok(http.stream.gone);
    assert.equal(clock.waiting, 0, 'no timer is left');
});

test('without three failures in a row the WebSocket is kept', async () => {
    const { client, clock, node } = await blocked();
    await clock.advance(5);
    node.accept = true;
    await clock.until(() => client.state === 'online', 'it is online');
    assert.equal(client.transport, 'websocket');
    client.close();
});

test('a node that refuses by a close code is no reason for streams', async () => {
    const { client, clock, node } = await blocked();
    node.accept = true;
    node.refuse = [4003, 'nodeFull'];
    await clock.advance(5_000);
    assert.ok(node.sockets.length > 6);
    assert.equal(client.transport, 'websocket');
    client.close();
});

test('it goes back to a WebSocket as soon as one opens, and nothing is lost or repeated', async () => {
    const { client, clock, node, store } = await streaming();
    const room = client.join('lobby');
    const shown = follow(room);
    await clock.until(() => room.state === 'joined', 'the room is joined');
    let said = 0;
    const say = () => { said += 1; store.append('lobby', { user: 'bo', text: `${said}` }); };
    say();
    await clock.advance(6_000);
    assert.equal(client.transport, 'events', 'the first WebSocket that was tried did not open');
    say();
    node.accept = true;
    await clock.until(() => client.transport === 'websocket' && room.state === 'joined', 'it is back');
    say();
    await clock.until(() => shown.length === said, 'all is shown');
    assert.deepEqual(shown, ['1', '2', '3']);
    const sent = room.send('mine');
    await clock.until(() => room.pending === 0, 'it is sent');
    assert.equal((await sent).position, '1000-4');
    client.close();
});

test('a stream that is cut goes on after the last message; the client stays with streams', async () => {
    const { client, clock, http, store } = await streaming();
    const rooms = ['a', 'b'].map((name) => client.join(name));
    const shown = rooms.map(follow);
    await clock.until(() => rooms.every((room) => room.state === 'joined'), 'both are joined');
    assert.deepEqual(http.stream.url.searchParams.getAll('room'), ['a', 'b']);
    for (let number = 0; number < 20; number += 1) {
        store.append('a', { user: 'bo', text: `a${number}` });
        if (number % 3 === 0) http.stream.cut();
        store.append('b', { user: 'bo', text: `b${number}` });
        await clock.advance(number % 7 === 0 ? 0 : 200);
    }
    await clock.until(() => shown.every((one) => one.length === 20), 'all is shown');
    assert.deepEqual(shown, ['a', 'b'].map((name) => Array.from({ length: 20 }, (_, number) => `${name}${number}`)));
    assert.equal(client.transport, 'events');
    client.close();
});

test('a room that is joined later changes the stream, and the others miss nothing', async () => {
    const { client, clock, http, store } = await streaming();
    const first = client.join('a');
    const shown = follow(first);
    await clock.until(() => first.state === 'joined', 'a is joined');
    const returns = [];
    first.on('joined', (event) => returns.push(event));
    client.join('b');
    for (let number = 0; number < 30; number += 1) {
        store.append('a', { user: 'bo', text: `${number}` });
        await clock.advance(1);
    }
    await clock.until(() => client.rooms.get('b')?.state === 'joined', 'b is joined');
    await clock.until(() => shown.length === 30, 'all is shown');
    assert.deepEqual(shown, Array.from({ length: 30 }, (_, number) => `${number}`));
    assert.deepEqual(returns, [], 'a was not left');
    await first.leave();
    await clock.until(() => http.stream.url.searchParams.getAll('room').join() === 'b', 'the stream is of b alone');
    client.close();
});

test('a post without an answer is repeated with its key, in order', async () => {
    const { client, clock, http, store } = await streaming();
    const room = client.join('lobby');
    await clock.until(() => room.state === 'joined', 'it is joined');
    let posts = 0;
    http.intercept = ({ method, body }) => {
        if (method !== 'POST') return undefined;
        posts += 1;
        if (posts % 2 === 0) return undefined;
        // It is stored, and the answer is lost.
        if (posts % 4 === 1) store.append('lobby', body);
        return new TypeError('fetch failed');
    };
    const sends = Array.from({ length: 8 }, (_, number) => room.send(`${number}`));
    await clock.until(() => room.pending === 0, 'all are settled');
    const positions = (await Promise.all(sends)).map((sent) => sent.position);
    assert.equal(new Set(positions).size, 8);
    const { log } = store.room('lobby');
    assert.equal(log.length, 8, 'each is stored once');
    sends.forEach((_, number) => assert.equal(log.find((message) => message.position === positions[number]).text, `${number}`));
    client.close();
});

test('a token goes into the Authorization field, and a new one into a new stream', async () => {
    let asked = 0;
    const { client, clock, http } = await blocked({ token: () => `token ${asked += 1}`, transports: ['events'] });
    http.expires = 100;
    await clock.until(() => client.state === 'online', 'it is online');
    const before = http.stream;
    assert.match(http.requests.at(-1).headers.Authorization, /^Bearer token \d+$/);
    for (let second = 0; second < 95; second += 1) {
        http.stream.beat();
        await clock.advance(1_000);
    }
    assert.notEqual(http.stream, before);
    assert.equal(http.requests.at(-1).headers.Authorization, `Bearer token ${asked}`);
    for (const { url } of http.requests) assert.ok(!url.search.includes('token'), url.href);
    assert.equal(client.state, 'online');
    client.close();
});

test('what is refused for good ends the client, anything else is tried again', async () => {
    for (const [status, reason] of [[401, 'refused'], [403, 'refused'], [204, 'banned']]) {
        const { client, clock } = await blocked({ transports: ['events'] }, (http) => Object.assign(http, { intercept: () => status }));
        await clock.until(() => client.state === 'closed', `${status} ends it`);
        await assert.rejects(client.ready, { reason });
    }
    for (const status of [429, 503, 404]) {
        const { client, clock } = await blocked({ transports: ['events'] }, (http) => Object.assign(http, {
            intercept: () => (http.requests.length < 5 ? status : undefined),
        }));
        await clock.until(() => client.state === 'online', `${status} is tried again`);
        client.close();
    }
});

test('a node that leaves, and one that bans, say so on the stream', async () => {
    const { client, clock, http } = await streaming();
    const told = [];
    client.on('draining', (event) => told.push(event));
    http.stream.event('draining', { type: 'draining', reconnectAfter: 40 });
    await clock.until(() => http.streams.length === 2 && client.state === 'online', 'it moved');
    assert.deepEqual(told, [{ reconnectAfter: 40 }]);
    http.stream.end(4013, 'banned', false);
    await clock.until(() => client.state === 'closed', 'it is over');
});

test('a stream without a byte for long is left', async () => {
    const { client, clock, http } = await streaming();
    const before = http.streams.length;
    await clock.until(() => http.streams.length > before, 'it connected again', 40_000);
    client.close();
});
