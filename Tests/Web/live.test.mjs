// martlet.js against real nodes. MARTLET_TEST_URL holds one or more addresses, separated by commas; without it all is skipped:
//
//     MARTLET_TEST_URL=ws://127.0.0.1:8081/ws,ws://127.0.0.1:8082/ws node --test Tests/Web/live.test.mjs
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, parsePosition } from '../../Sources/ChatGateway/Web/martlet.js';
import { seeded } from './fakes.mjs';

const urls = (process.env.MARTLET_TEST_URL ?? '').split(',').filter((url) => url !== '');
const options = urls.length > 0 ? { timeout: 180_000 } : { skip: 'MARTLET_TEST_URL is not set' };
const at = (index) => urls[index % urls.length];
const fresh = (name) => `${name} ${randomBytes(4).toString('hex')}`;
const seed = Number(process.env.MARTLET_TEST_SEED ?? randomBytes(4).readUInt32BE());

async function until(condition, what, ms = 20_000) {
    const end = performance.now() + ms;
    while (!condition()) {
        assert.ok(performance.now() < end, `in ${ms} ms it did not happen that ${what}`);
        await sleep(10);
    }
}

/** A client in a room, noting what it is shown. */
function enter(url, user, name, more = {}) {
    const client = connect(url, { user, device: 'test', backoff: { base: 20, cap: 200 }, ...more });
    const room = client.join(name, { history: 50 });
    const shown = [];
    const told = [];
    room.on('message', (message) => shown.push(message));
    for (const type of ['gap', 'reset', 'failed']) room.on(type, (event) => told.push({ type, ...event }));
    return { client, room, shown, told, user };
}

/** A TCP relay to a node that cuts all that goes through it, when told. */
async function relay(url) {
    const { hostname, port } = new URL(url);
    const sockets = new Set();
    const server = net.createServer((near) => {
        const far = net.connect({ host: hostname, port: Number(port) || 80 });
        for (const [socket, other] of [[near, far], [far, near]]) {
            sockets.add(socket);
            socket.pipe(other);
            socket.on('error', () => {});
            socket.on('close', () => { sockets.delete(socket); other.destroy(); });
        }
    });
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
        url: `ws://127.0.0.1:${server.address().port}/ws`,
        cut: () => { for (const socket of sockets) socket.resetAndDestroy?.(); },
        close: () => server.close(),
    };
}

test('join, send, history, roster, signal, presence, leave', options, async () => {
    const name = fresh('basics');
    const ana = enter(at(0), 'ana', name);
    const bo = enter(at(1), 'bo', name);
    await Promise.all([ana.room.ready, bo.room.ready]);
    assert.ok(ana.client.node && ana.client.session && ana.client.limits.frameBytes > 0);
    await until(() => ana.room.members?.size === 2, 'ana sees bo');
    const first = await ana.room.send('안녕 👋');
    const second = await bo.room.send({ text: 'two', data: { dice: [3, 4] } });
    assert.equal(parsePosition(second.position).seq, parsePosition(first.position).seq + 1);
    await until(() => [ana, bo].every((one) => one.shown.length === 2), 'both show both');
    assert.deepEqual(ana.shown.map(({ user, text, data }) => ({ user, text, data })), [
        { user: 'ana', text: '안녕 👋', data: undefined }, { user: 'bo', text: 'two', data: { dice: [3, 4] } },
    ]);
    const page = await bo.room.history({ before: second.position, limit: 5 });
    assert.deepEqual([page.messages.map((message) => message.text), page.older, page.newer], [['안녕 👋'], false, true]);
    const roster = await ana.room.roster();
    assert.deepEqual(roster.members, [{ user: 'ana', devices: ['test'] }, { user: 'bo', devices: ['test'] }]);
    const signals = [];
    bo.room.on('signal', (signal) => signals.push(signal));
    assert.ok(ana.room.signal('typing', { on: true }));
    await until(() => signals.length === 1, 'the signal arrives');
    assert.deepEqual(signals[0], { user: 'ana', name: 'typing', data: { on: true } });
    await bo.room.leave();
    await until(() => ana.room.count === 1, 'bo has left');
    for (const one of [ana, bo]) one.client.close();
});

test('a stream is a session like any other', options, async () => {
    const name = fresh('streams');
    const ana = enter(at(0), 'ana', name, { transports: ['events'] });
    const bo = enter(at(1), 'bo', name);
    await Promise.all([ana.room.ready, bo.room.ready]);
    assert.equal(ana.client.transport, 'events');
    await until(() => bo.room.members?.size === 2 && ana.room.members?.size === 2, 'both see both');
    const first = await ana.room.send({ text: '안녕 👋', data: { dice: [3, 4] } });
    const second = await bo.room.send('two');
    assert.equal(parsePosition(second.position).seq, parsePosition(first.position).seq + 1);
    await until(() => [ana, bo].every((one) => one.shown.length === 2), 'both show both');
    assert.deepEqual(ana.shown.map((message) => message.text), ['안녕 👋', 'two']);
    const signals = [];
    ana.room.on('signal', (signal) => signals.push(signal.name));
    bo.room.signal('typing');
    await until(() => signals.length === 1, 'the signal arrives');
    const page = await ana.room.history({ before: second.position, limit: 5 });
    assert.deepEqual([page.messages.map((message) => message.text), page.older, page.newer], [['안녕 👋'], false, true]);
    assert.deepEqual((await ana.room.roster()).members.map((member) => member.user), ['ana', 'bo']);
    await assert.rejects(ana.room.history({ before: 'yesterday' }), { reason: 'badField', retry: false });
    await assert.rejects(ana.client.join('x'.repeat(129)).ready, { reason: 'badName' });
    ana.client.close();
    await until(() => bo.room.members?.size === 1, 'ana has left');
    bo.client.close();
});

test('a key is stored once, whoever repeats it', options, async () => {
    const name = fresh('keys');
    const one = enter(at(0), 'ana', name);
    const other = enter(at(1), 'ana', name);
    await Promise.all([one.room.ready, other.room.ready]);
    const first = await one.room.send({ text: 'once', key: 'k', again: false });
    const again = await other.room.send({ text: 'once', key: 'k', again: true, since: first.position });
    assert.deepEqual(again, { ...first, repeated: true });
    await other.room.send('last');
    await until(() => one.shown.length === 2, 'both are shown');
    assert.deepEqual(one.shown.map((message) => message.text), ['once', 'last']);
    const page = await other.room.history();
    assert.equal(page.messages[0].key, 'k', 'the sender sees the key in the history');
    const [later, bo] = [enter(at(1), 'ana', name), enter(at(0), 'bo', name)];
    await Promise.all([later.room.ready, bo.room.ready]);
    assert.deepEqual([later, bo].map((each) => each.shown[0].key), ['k', undefined], 'and in joined; others do not');
    for (const each of [one, other, later, bo]) each.client.close();
});

test('errors come with their reasons', options, async () => {
    const { client, room } = enter(at(0), 'ana', fresh('errors'));
    await room.ready;
    await assert.rejects(room.send('x'.repeat(client.limits.frameBytes)), { reason: 'frameTooLarge', stored: false });
    await assert.rejects(room.history({ before: 'yesterday' }), { reason: 'badField', retry: false });
    await assert.rejects(client.join('x'.repeat(129)).ready, { reason: 'badName' });
    await assert.rejects(room.send({ text: 'x', key: '~mine' }), { reason: 'badField', stored: false });
    client.close();
});

test('a long text, and a thousand sends at once, arrive whole and in order', options, async () => {
    const name = fresh('many');
    const ana = enter(at(0), 'ana', name, { maxUnsent: 1_000 });
    const bo = enter(at(1), 'bo', name);
    await Promise.all([ana.room.ready, bo.room.ready]);
    const long = '가나다 🎉 '.repeat(3_000);
    await ana.room.send(long);
    const texts = Array.from({ length: 600 }, (_, index) => `m${index}`);
    await Promise.all(texts.map((text) => ana.room.send(text)));
    await until(() => bo.shown.length === 601, 'bo has all');
    assert.deepEqual(bo.shown.map((message) => message.text), [long, ...texts]);
    for (const one of [ana, bo]) one.client.close();
});

for (const transport of /** @type {const} */ (['websocket', 'events'])) test(`200 cuts at random over ${transport} while two others talk: once, in order, all settled (seed ${seed})`, options, async () => {
    const random = seeded(seed);
    const name = fresh('cuts');
    const wire = await relay(at(0));
    const ana = enter(wire.url, 'ana', name, { transports: [transport] });
    const others = [enter(at(0), 'bo', name, { transports: [transport] }), enter(at(1), 'che', name)];
    const all = [ana, ...others];
    await Promise.all(all.map((one) => one.room.ready));
    const sends = [];
    const say = (one) => {
        const text = `${one.user} ${sends.length}`;
        sends.push({ text, user: one.user, result: one.room.send(text).then((sent) => ({ sent }), (error) => ({ error })) });
    };
    let returns = 0;
    ana.room.on('joined', () => { returns += 1; });
    for (let cuts = 0; cuts < 200;) {
        for (const one of all) if (random() < 0.6) say(one);
        await sleep(random() * 120);
        if (ana.client.state === 'online') {
            cuts += 1;
            wire.cut();
        }
    }
    const results = await Promise.all(sends.map((send) => send.result));
    assert.deepEqual(results.flatMap((result) => result.error?.message ?? []), [], 'every send was stored');
    await until(() => all.every((one) => one.shown.length === sends.length), 'all are shown all');
    const positions = ana.shown.map((message) => message.position);
    positions.forEach((position, index) => assert.equal(parsePosition(position).seq, index + 1, 'each once, in order'));
    for (const one of all) {
        assert.deepEqual(one.shown.map((message) => message.position), positions, `${one.user} was shown the same`);
        assert.deepEqual(one.told, [], `${one.user} was told of no gap or reset`);
    }
    const texts = new Map(ana.shown.map((message) => [message.position, message.text]));
    sends.forEach((send, index) => assert.equal(texts.get(results[index].sent.position), send.text, 'each is where its answer said'));
    console.log(`# ${sends.length} messages, ${returns} returns, ${results.filter((result) => result.sent.repeated).length} repeated`);
    for (const one of all) one.client.close();
    wire.close();
});
