// Rules and sanctions as martlet.js and the page know them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noticeOf, sanctionText } from '../../Sources/ChatGateway/Web/chat-moderation.js';
import { connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, failure, seeded } from './fakes.mjs';

const DATE = Date.parse('2026-01-02T00:00:00Z');
const later = (clock, ms) => new Date(clock.date() + ms).toISOString();

async function joined(more = {}) {
    const clock = Object.assign(new FakeClock(), { date: () => DATE + clock.now() });
    const node = new FakeNode(clock);
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    node.intercept = (frame) => (frame.type !== 'join' ? undefined : {
        type: 'joined', room: 'lobby', position: '1000-0', messages: [], count: 1, roster: [{ user: 'ana', devices: [] }], ...more,
    });
    const room = client.join('lobby');
    const told = [];
    for (const type of ['rules', 'sanction', 'removed', 'failed', 'state']) room.on(type, (event) => told.push([type, event]));
    await clock.until(() => room.state === 'joined', 'the room is joined');
    return { clock, node, client, room, told, of: (type) => told.filter(([name]) => name === type).map(([, event]) => event) };
}

test('a room knows its rules, the rights of the token and one\'s own mute', async () => {
    const plain = await joined();
    assert.deepEqual([plain.room.rights, plain.room.mute, plain.room.rules.posting], [null, null, 'open']);
    assert.equal(plain.of('rules').length, 0);
    const rules = { slowMode: 5_000, uniqueFor: 0, posting: 'open', frozen: false };
    const { room, node, clock, of } = await joined({
        rules, rights: ['read', 'moderate'], sanction: { kind: 'mute', until: '2026-01-02T01:00:00.000Z', reason: 'spam' },
    });
    assert.deepEqual([room.rules, room.rights], [rules, ['read', 'moderate']]);
    assert.deepEqual(room.mute, { until: '2026-01-02T01:00:00.000Z', reason: 'spam' });
    node.socket.emit({ type: 'rules', room: 'lobby', version: '7', rules: { ...rules, frozen: true } });
    node.socket.emit({ type: 'rules', room: 'lobby', version: '8', rules: { ...rules, frozen: true } });
    node.socket.emit({ type: 'sanction', room: 'lobby', kind: 'unmute', user: 'ana' });
    node.socket.emit({ type: 'sanction', room: 'lobby', kind: 'ban', user: 'bo', until: '2026-01-02T01:00:00.000Z', reason: 'x' });
    await clock.advance(5);
    assert.deepEqual([of('rules').map((one) => one.frozen), room.mute], [[false, true], null]);
    assert.deepEqual(of('sanction').map(({ kind, user }) => [kind, user]), [['unmute', 'ana'], ['ban', 'bo']]);
});

test('moderate resolves when it is in force, and says why not otherwise', async () => {
    const { room, node, clock } = await joined();
    const asked = [];
    node.intercept = (frame) => {
        asked.push(frame);
        if (asked.length === 1) return failure(frame.ref, 400, 'unavailable', true);
        return frame.user === 'bo' ? { type: 'moderated', room: 'lobby', version: '9', changed: true }
            : failure(frame.ref, 301, 'forbidden', false);
    };
    const done = room.moderate('mute', { user: 'bo', time: 60_000, reason: 'spam' });
    await clock.advance(5_000);
    assert.deepEqual(await done, { version: '9', changed: true });
    const { ref, ...said } = asked[1];
    assert.deepEqual(said, { type: 'moderate', room: 'lobby', operation: 'mute', user: 'bo', time: 60_000, reason: 'spam' });
    const refused = assert.rejects(room.moderate('freeze'), { reason: 'forbidden', room: 'lobby' });
    await clock.advance(5);
    await refused;
});

test('who is banned for a while comes back when that is over, and not before', async () => {
    const { room, node, clock, client, of } = await joined();
    const lost = assert.rejects(room.send('on its way'), { reason: 'banned' });
    node.intercept = (frame) => (frame.type === 'send' ? null : undefined);
    const until = later(clock, 60_000);
    node.socket.emit({ type: 'left', room: 'lobby', reason: 'banned', until, message: 'enough' });
    await clock.advance(5);
    await lost;
    assert.deepEqual([room.state, of('removed')[0].until], ['removed', until]);
    assert.match(of('removed')[0].message, /enough/);
    await assert.rejects(room.send('hi'), { reason: 'banned', until, stored: false });
    await assert.rejects(room.moderate('freeze'), { reason: 'banned' });
    // A lost connection does not bring it back either.
    node.socket.drop();
    await clock.until(() => client.state === 'online', 'the client is back');
    await clock.advance(30_000);
    const before = node.frames.filter((frame) => frame.type === 'join').length;
    assert.deepEqual([before, room.state], [1, 'removed']);
    await clock.advance(40_000);
    assert.deepEqual([room.state, of('failed').length], ['joined', 0]);
});

test('a ban without an end, or for longer than a day, ends the room', async () => {
    for (const time of [undefined, 2 * 86_400_000]) {
        const { room, node, clock, of } = await joined();
        const until = time === undefined ? undefined : later(clock, time);
        node.socket.emit({ type: 'left', room: 'lobby', reason: 'banned', until });
        await clock.advance(5);
        assert.deepEqual([room.state, of('failed')[0].until], ['failed', until]);
    }
});

test('a join that a ban refuses waits in the same way', async () => {
    const clock = Object.assign(new FakeClock(), { date: () => DATE + clock.now() });
    const node = new FakeNode(clock);
    const until = new Date(DATE + 30_000).toISOString();
    let refuse = true;
    node.intercept = (frame) => (frame.type === 'join' && refuse ? { ...failure(frame.ref, 302, 'banned', false), until } : undefined);
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    const room = client.join('lobby');
    const ready = assert.rejects(room.ready, { reason: 'banned', until });
    await clock.advance(100);
    await ready;
    assert.equal(room.state, 'removed');
    refuse = false;
    await clock.advance(40_000);
    assert.equal(room.state, 'joined');
    client.close();
});

test('a send that slow mode refuses goes out when it may, unless that is too late', async () => {
    const { room, node, clock } = await joined();
    let slow = 10_000;
    const tries = [];
    node.intercept = (frame) => {
        if (frame.type !== 'send') return undefined;
        tries.push(clock.now());
        if (tries.length > 1 && slow === 10_000) {
            return { type: 'sent', room: 'lobby', position: '1000-1', at: '2026-01-02T00:00:10.000Z' };
        }
        return { ...failure(frame.ref, 304, 'slowMode', true), until: later(clock, slow) };
    };
    const sent = room.send('patient');
    await clock.advance(12_000);
    assert.equal((await sent).repeated, false);
    assert.ok(tries.length === 2 && tries[1] - tries[0] >= 9_990);
    slow = 3_600_000;
    const refused = assert.rejects(room.send('in an hour'), { reason: 'slowMode', stored: false });
    await clock.advance(10);
    await refused;
});

test('people are told what holds for them, and for how long', () => {
    const room = { state: 'joined', rules: { slowMode: 0, uniqueFor: 0, posting: 'open', frozen: false }, mute: null, rights: ['read', 'send'] };
    const now = Date.parse('2026-01-02T00:00:00Z');
    assert.deepEqual(noticeOf(room, now), null);
    const muted = { ...room, mute: { until: '2026-01-02T00:10:00Z', reason: 'spam' } };
    assert.deepEqual(noticeOf(muted, now), { text: 'You are muted for another 10 min: spam', closed: true });
    assert.deepEqual(noticeOf({ ...room, mute: { reason: '' } }, now), { text: 'You are muted', closed: true });
    assert.equal(noticeOf(muted, now + 600_001), null, 'it ends by itself');
    assert.deepEqual(noticeOf({ ...room, rules: { ...room.rules, frozen: true } }, now)?.closed, true);
    assert.match(noticeOf({ ...room, rules: { ...room.rules, slowMode: 5_000 } }, now).text, /one message in 5 s/);
    const moderator = { ...room, rights: ['read', 'send', 'moderate'], rules: { ...room.rules, posting: 'moderators' } };
    assert.deepEqual(noticeOf(moderator, now), { text: 'Only moderators may send messages', closed: false });
    const until = new Date(now + 60_000).toISOString();
    assert.match(sanctionText({ kind: 'mute', user: 'bo', until, reason: 'spam' }, 'ana', now), /^bo was muted for 60 s: spam$/);
    assert.equal(sanctionText({ kind: 'ban', user: 'ana' }, 'ana', now), 'You were banned');
    assert.equal(sanctionText({ kind: 'unmute', user: 'ana' }, 'ana', now), 'You are no longer muted');
});
