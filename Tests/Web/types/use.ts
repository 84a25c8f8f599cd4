// martlet.js in TypeScript, without `allowJs`: its types come from martlet.d.ts, which nodes serve beside it.
import { type Change, type Message, MartletError, type Room, applyChange, connect } from '../../../Sources/ChatGateway/Web/martlet.js';

const client = connect('ws://node.test/ws', { user: 'ana' });
const room: Room = client.join('lobby', { history: 20 });
const shown: Message[] = [];
room.on('message', (message) => { shown.push(message); });
room.on('joined', ({ recent, missed }) => { shown.length = recent + missed; });

export async function say(text: string): Promise<string | undefined> {
    try {
        return (await room.send(text, { timeout: 5_000 })).position;
    } catch (error) {
        if (error instanceof MartletError && error.stored === undefined) return error.key;
        throw error;
    }
}

room.on('changed', (change: Change) => {
    const message = shown.find((one) => one.position === change.of);
    if (message) applyChange(message, change);
});

// @ts-expect-error there is no such event
room.on('messages', () => {});
// @ts-expect-error a name is a string
room.signal(7);
