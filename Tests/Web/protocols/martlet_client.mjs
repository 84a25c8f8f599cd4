// martlet.js in Node: node martlet_client.mjs URL ROOM USER. Commands come in lines of JSON, and what it is shown goes out so.
import { createInterface } from 'node:readline';
import { connect } from '../../../Sources/ChatGateway/Web/martlet.js';

const [url, name, user] = process.argv.slice(2);
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const client = connect(url, { user, device: 'node' });
client.on('state', ({ state }) => { if (state === 'offline') tell({ is: 'lost', text: state }); });
const room = client.join(name, { history: 0 });
room.on('joined', () => tell({ is: 'ready' }));
room.on('message', (message) => tell({ is: 'message', ...message }));
for (const type of ['gap', 'reset', 'failed']) room.on(type, (what) => tell({ is: type, text: String(what) }));
for await (const line of createInterface({ input: process.stdin })) {
    const { text, key } = JSON.parse(line);
    room.send({ text, key }).then(() => tell({ is: 'stored', key }), (error) => tell({ is: 'failed', text: String(error) }));
}
