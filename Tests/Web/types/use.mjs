// What others write with martlet.js, held against its types: right use passes, and each wrong use is refused.
import { MartletError, connect, parsePosition } from '../../../Sources/ChatGateway/Web/martlet.js';

const client = connect('ws://node.test/ws', { user: 'ana', token: async () => 'secret', backoff: { base: 100 } });
const room = client.join('lobby', { after: '1-2' });

room.on('message', (message) => {
    /** @type {[string, number, boolean, string | undefined]} */
    const parts = [message.position, message.seq, message.mine, message.text];
    // @ts-expect-error a message has no such field
    parts.push(message.author);
});
room.on('message', ({ live, text }) => { if (live) room.signal('typing', text); });
/** @type {Set<string> | null} */
export const here = room.members;
// @ts-expect-error the members are names; `roster` reads their devices
room.members?.get('ana');
// @ts-expect-error there is no such state
export const odd = client.state === 'asleep';
export const doubtful = client.state === 'unsure';
// @ts-expect-error what the module uses inside is no part of its types
client._options.clock.now();
const off = room.once('presence', ({ joined, count }) => { joined.map((user) => user.length + count); });
off();
client.on('closed', (error) => { if (error instanceof MartletError && error.reason === 'abuse') client.close(); });

/** @returns {Promise<number>} */
export async function talk() {
    const { position, repeated } = await room.send({ text: 'hi', data: { n: 1 }, key: 'k' }, { timeout: 1_000 });
    const { messages, newest } = await room.history({ before: newest_(position), limit: 10 });
    const { members, cursor } = await room.roster();
    const known = [...client.rooms.keys(), ...members.map((member) => member.devices[0]), cursor ?? ''];
    return (parsePosition(newest)?.seq ?? 0) + messages.length + known.length + Number(repeated) + client.limits.frameBytes;
}

room.on('changed', ({ of, operation, message }) => {
    /** @type {[string, string, number | undefined, number | undefined]} */
    const parts = [of, operation, message?.edited?.version, message?.reactions?.['👍']?.count];
    // @ts-expect-error what is not known is null
    parts.push(message.position);
});
client.on('notice', ({ kind, room: name }) => { if (kind === 'invited') client.join(name); });
// @ts-expect-error there is no such notice
client.on('notice', ({ kind }) => kind === 'promoted');

/** @returns {Promise<string[]>} */
export async function converse() {
    const { room: name } = await client.direct('bo');
    await client.createGroup('crew', ['bo', 'che']);
    const { position, repeated } = await room.edit('1-2', 'better', { timeout: 1_000 });
    room.read(repeated ? position : undefined);
    const { conversations, cursor } = await client.inbox({ limit: 20 });
    const { participants } = await room.participants();
    await room.setRole('bo', 'moderator');
    // @ts-expect-error there is no such role
    await room.setRole('bo', 'king');
    const unread = conversations.reduce((sum, entry) => sum + entry.unread, 0);
    return [name, cursor ?? '', `${unread}`, ...participants.map((one) => one.role), ...room.readBy(position)];
}

/** @param {string} position */
const newest_ = (position) => position;

// @ts-expect-error there is no such event
room.on('messages', () => {});
// @ts-expect-error a room has a name
client.join(7);
// @ts-expect-error a position is a string
client.join('lobby', { after: 7 });
// @ts-expect-error something has to be said
room.send();
// @ts-expect-error text is a string
room.send({ text: 7 });
// @ts-expect-error there is no such option
connect('ws://node.test/ws', { name: 'ana' });
