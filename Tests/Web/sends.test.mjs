// martlet.js: what happens to a send.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MartletError, connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { URL, joined, says, sends, watch } from './bench.mjs';
import { FakeClock, FakeNode, failure, seeded, settled } from './fakes.mjs';

test('send resolves with the position; the first try says that it is one', async () => {
    const { room, clock, node } = await joined();
    const sent = watch(room.send('hello'));
    await clock.advance(5);
    assert.deepEqual(sent.value, { position: '1000-1', at: '2026-01-02T03:04:05.678Z', repeated: false });
    const { ref, key, ...frame } = sends(node)[0];
    assert.deepEqual(frame, { type: 'send', room: 'lobby', text: 'hello', again: false, since: '1000-0' });
    assert.match(key, /^[0-9a-f]{32}$/);
});

test('send takes text, data and a key of one\'s own', async () => {
    const { room, clock, node, shown } = await joined();
    room.send({ data: { dice: [3, 4] }, key: 'k1' });
    room.send({ text: 'x', key: 'k2', again: false });
    room.send({ text: 'y', key: 'k3', again: true, since: '1000-0' });
    await clock.advance(5);
    assert.deepEqual(sends(node).map(({ key, again, since }) => [key, again, since]), [
        ['k1', undefined, undefined], ['k2', false, '1000-0'], ['k3', true, '1000-0'],
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
        ['k', false, '1000-1'], ['k', true, '1000-1'],
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
    assert.equal(sends(node).length, 1, 'its key is among what the return shows, so it is not even repeated');
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
            name, code, `send to lobby: because ${name}`, false, 'k', stored,
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

test('a send that is shown but not on enough replicas yet waits for them, and says so if they do not come', async () => {
    const { room, clock, node, messages } = await joined();
    let replicas = false;
    node.intercept = (frame) => {
        if (frame.type !== 'send' || replicas) return undefined;
        node.store.append('lobby', { user: 'ana', text: frame.text, key: frame.key });
        return failure(frame.ref, 404, 'notReplicated', true);
    };
    const [patient, hasty] = [watch(room.send('a')), watch(room.send('b', { timeout: 400 }))];
    await clock.advance(3);
    assert.deepEqual([messages(), patient.state, hasty.state], [['a', 'b'], 'pending', 'pending']);
    await clock.until(() => hasty.state !== 'pending', 'the time of one is up');
    assert.deepEqual([hasty.error.reason, hasty.error.stored], ['notReplicated', true]);
    replicas = true;
    await clock.until(() => patient.state !== 'pending', 'the other is answered');
    assert.deepEqual([patient.value.position, patient.value.repeated], ['1000-1', true]);
    assert.equal(node.store.room('lobby').log.length, 2);
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
