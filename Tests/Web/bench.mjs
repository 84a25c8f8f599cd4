// What the tests of martlet.js share: a client on a model of a node, a clock moved by hand and seeded randomness.
import { MartletError, connect } from '../../Sources/ChatGateway/Web/martlet.js';
import { FakeClock, FakeNode, seeded } from './fakes.mjs';

export const URL = 'ws://node.test/ws';

/** A client on a fake node, online. */
export async function online(options = {}, node = new FakeNode(new FakeClock())) {
    const client = connect(URL, {
        user: 'ana', device: 'laptop', WebSocket: node.WebSocket, clock: node.clock, random: seeded(7), ...options,
    });
    await node.clock.advance(5);
    return { client, node, clock: node.clock, store: node.store };
}

/** The same, joined to `lobby`, noting what is shown. */
export async function joined(options = {}, node, join = {}) {
    const all = await online(options, node);
    const room = all.client.join('lobby', join);
    const shown = [];
    for (const type of ['message', 'changed', 'receipts', 'gap', 'reset', 'joined', 'presence', 'signal', 'failed']) {
        room.on(type, (event) => shown.push({ type, ...event, ...(event instanceof MartletError ? { error: event } : {}) }));
    }
    await all.clock.advance(5);
    const messages = () => shown.filter((event) => event.type === 'message').map((event) => event.text);
    return { ...all, room, shown, messages };
}

/** What became of a promise, looked at without waiting. */
export function watch(promise) {
    const result = { state: 'pending' };
    promise.then(
        (value) => Object.assign(result, { state: 'resolved', value }),
        (error) => Object.assign(result, { state: 'rejected', error }),
    );
    return result;
}

export const says = (node, text, user = 'bo') => node.store.append('lobby', { user, text });
export const sends = (node) => node.frames.filter((frame) => frame.type === 'send');
