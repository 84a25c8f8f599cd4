// The stay of a user on the page, without a browser: which rooms are open, what is announced, what is remembered.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPage } from './dom.mjs';
import { FakeClock, FakeNode, seeded } from './fakes.mjs';
import { connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { memory } from '../../Sources/ChatGateway/Web/chat-parts.js';
import { Session } from '../../Sources/ChatGateway/Web/chat-session.js';

/** ana's stay on a fake node, with what it told. `groups`: those to which she belongs. */
async function entered(t, { groups = [], before = () => {} } = {}) {
    openPage();
    const clock = new FakeClock();
    const node = new FakeNode(clock);
    for (const name of groups) {
        const participants = ['ana', 'bo'].map((user) => [user, { role: 'member', notify: 'all' }]);
        Object.assign(node.store.room(name), { kind: name.startsWith('dm:') ? 'direct' : 'group', participants: new Map(participants) });
    }
    before(node);
    const client = connect('ws://node.test/ws', { user: 'ana', WebSocket: node.WebSocket, clock, random: seeded(5) });
    const told = { said: [], problems: [], over: [], changed: [], draft: '' };
    const session = new Session(client, {
        opened: (model) => { told.draft = model.draft; }, changed: (what) => told.changed.push(what), inboxChanged() {}, redraw() {},
        say: (text) => told.said.push(text), problem: (text) => told.problems.push(text), over: (why) => told.over.push(why),
        draft: () => told.draft, isAway: () => false, listed: () => [...session.rooms.keys(), ...session.inbox.conversations.keys()],
    });
    t.after(() => session.end());
    session.restore('lobby', '');
    await clock.advance(30);
    return { clock, node, client, session, told };
}

const remembered = () => Object.keys(memory.read('rooms ana')).sort();

test('when the client is closed for good, all rooms stay remembered, and it is told once, not by each room', async (t) => {
    const { node, clock, session, told } = await entered(t);
    session.enter('den');
    await clock.advance(10);
    node.socket.drop(4012, 'revoked');
    assert.deepEqual([remembered(), told.over, told.problems], [['den', 'lobby'], [], []]);
    session.end();
    assert.deepEqual(remembered(), ['den', 'lobby']);
});

test('what was said before is not announced; what is said now is', async (t) => {
    const { node, clock, session, told } = await entered(t, { before: (fake) => { fake.store.append('lobby', { user: 'bo', text: 'old' }); } });
    assert.deepEqual(told.said, []);
    node.store.append('lobby', { user: 'bo', text: 'new' });
    await clock.advance(5);
    assert.deepEqual(told.said, ['bo: new']);
});

test('of many open conversations the oldest are closed, but none in which something is written', async (t) => {
    const groups = Array.from({ length: 24 }, (_, index) => `c${index}`);
    const { clock, session, told } = await entered(t, { groups });
    for (const name of groups) {
        session.open(name);
        await clock.advance(5);
        told.draft = name === 'c0' ? 'half a sentence' : '';
    }
    assert.deepEqual(['c0', 'c2', 'c3', 'c23'].map((name) => session.rooms.has(name)), [true, false, true, true]);
    session.open('c0');
    assert.equal(told.draft, 'half a sentence');
});

test('whoever is sent out of the only room goes on in a conversation, and is told why', async (t) => {
    const { node, clock, session, told } = await entered(t, { groups: ['crew'] });
    node.socket.emit({ type: 'left', room: 'lobby', reason: 'forbidden' });
    await clock.advance(10);
    assert.deepEqual([session.current.name, told.over], ['crew', []]);
    assert.deepEqual(told.problems, ['You are no longer in lobby: your token no longer gives you a right to be here']);
});

test('who is removed from the only conversation is told so; a room that cannot be entered says why', async (t) => {
    const { node, clock, session, told } = await entered(t, { groups: ['crew'] });
    session.open('crew');
    await clock.advance(10);
    session.leave(session.rooms.get('lobby'));
    node.store.room('crew').participants.clear();
    node.socket.emit({ type: 'notice', kind: 'removed', room: 'crew', by: 'bo' });
    await clock.advance(10);
    assert.deepEqual(told.over, ['You do not belong to crew any more.']);
});

test('a direct conversation whose name does not hold its users is called by the other one', async (t) => {
    const name = `dm:${'0'.repeat(64)}`;
    const { node, clock, session, told } = await entered(t, { groups: [name] });
    node.store.append(name, { user: 'bo', text: 'psst' });
    await clock.advance(5);
    assert.deepEqual(told.said, ['bo in bo: psst']);
});

test('a log that was set back is told of every room, so that replies and edits in it are given up', async (t) => {
    const { node, clock, session, told } = await entered(t);
    session.enter('den');
    await clock.advance(10);
    node.store.append('lobby', { user: 'bo', text: 'void soon' });
    await clock.advance(10);
    node.socket.drop();
    Object.assign(node.store.room('lobby'), { epoch: 2_000, began: 2_000, seq: 0, log: [] });
    await clock.until(() => session.rooms.get('lobby').room.state === 'joined', 'it is back');
    assert.ok(told.changed.includes('reset'));
});
