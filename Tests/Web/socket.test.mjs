// The WebSocket that martlet.js brings for Node before 22, against a peer that writes RFC 6455 frames by hand.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { MartletError, NodeSocket, connect } from '../../Sources/ChatGateway/Web/martlet.js';

const ACCEPT = (head) => createHash('sha1')
    .update(`${/^sec-websocket-key: (\S+)/im.exec(head)[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const SWITCH = (head) => `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT(head)}\r\n\r\n`;

/** A server of one connection: the handshake's head, then the frames that arrive, unmasked. */
async function peer(context, answer = SWITCH) {
    const server = net.createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const side = { frames: [], head: '', url: `ws://127.0.0.1:${server.address().port}` };
    side.connected = once(server, 'connection').then(async ([tcp]) => {
        side.tcp = tcp;
        tcp.on('error', () => {});
        let bytes = Buffer.alloc(0);
        await new Promise((resolve) => {
            tcp.on('data', (chunk) => {
                bytes = Buffer.concat([bytes, chunk]);
                if (side.head === '') {
                    const end = bytes.indexOf('\r\n\r\n');
                    if (end < 0) return;
                    side.head = bytes.subarray(0, end).toString();
                    bytes = bytes.subarray(end + 4);
                    tcp.write(answer(side.head));
                    resolve();
                }
                for (let frame; (frame = readFrame(bytes)) !== null; bytes = bytes.subarray(frame.length)) side.frames.push(frame);
            });
        });
    });
    side.write = (opcode, body, { fin = true, mask = false } = {}) => side.tcp.write(makeFrame(opcode, Buffer.from(body), fin, mask));
    context.after(() => { side.tcp?.destroy(); server.close(); });
    return side;
}

function readFrame(bytes) {
    if (bytes.length < 2) return null;
    const short = bytes[1] & 0x7f;
    const start = short === 127 ? 10 : short === 126 ? 4 : 2;
    if (bytes.length < start) return null;
    const size = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
    if (bytes.length < start + 4 + size) return null;
    const mask = bytes.subarray(start, start + 4);
    const body = Buffer.from(bytes.subarray(start + 4, start + 4 + size).map((byte, index) => byte ^ mask[index & 3]));
    return { opcode: bytes[0] & 0x0f, masked: (bytes[1] & 0x80) !== 0, body, length: start + 4 + size };
}

function makeFrame(opcode, body, fin, mask) {
    const size = body.length > 0xffff ? 127 : body.length > 125 ? 126 : body.length;
    const head = Buffer.alloc(size === 127 ? 10 : size === 126 ? 4 : 2);
    head[0] = (fin ? 0x80 : 0) | opcode;
    head[1] = (mask ? 0x80 : 0) | size;
    if (size === 126) head.writeUInt16BE(body.length, 2);
    if (size === 127) head.writeBigUInt64BE(BigInt(body.length), 2);
    return Buffer.concat([head, body]);
}

/** Opens a socket; `heard` has its messages, `closed` settles with its close event. */
async function opened(side, path = '/ws?user=%C3%A9') {
    const socket = new NodeSocket(side.url + path, ['martlet.v1']);
    const heard = [];
    const waiting = [];
    socket.onmessage = (event) => { heard.push(event.data); waiting.shift()?.(); };
    const closed = new Promise((resolve) => { socket.onclose = resolve; });
    await side.connected;
    return { socket, heard, closed, next: () => new Promise((resolve) => { waiting.push(resolve); }) };
}

async function framesOf(side, number) {
    while (side.frames.length < number) await once(side.tcp, 'data');
    return side.frames;
}

test('the handshake names path, host, version and subprotocol', async (context) => {
    const side = await peer(context);
    await opened(side);
    assert.match(side.head, /^GET \/ws\?user=%C3%A9 HTTP\/1\.1\r\n/);
    assert.match(side.head, new RegExp(`^Host: ${side.url.slice(5)}\r$`, 'm'));
    for (const line of ['Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Protocol: martlet.v1']) {
        assert.ok(side.head.includes(`\r\n${line}`), line);
    }
});

test('texts of every length class go both ways, masked from the client', async (context) => {
    const side = await peer(context);
    const { socket, heard, next } = await opened(side);
    for (const length of [0, 1, 125, 126, 0xffff, 0x10000, 300_000]) {
        const text = '가'.repeat(length / 3) + 'x'.repeat(length % 3);
        const arrived = next();
        side.write(1, text);
        await arrived;
        socket.send(text);
        const frame = (await framesOf(side, heard.length)).at(-1);
        assert.deepEqual([heard.at(-1) === text, frame.body.toString() === text, frame.masked, frame.opcode], [true, true, true, 1]);
    }
});

test('fragments are joined, control frames may come between, pings are answered', async (context) => {
    const side = await peer(context);
    const { heard, next } = await opened(side);
    const arrived = next();
    const syllable = Buffer.from('한');
    side.write(1, syllable.subarray(0, 1), { fin: false });
    side.write(9, 'are you there');
    side.write(0, syllable.subarray(1, 2), { fin: false });
    side.write(0, syllable.subarray(2));
    await arrived;
    const [pong] = await framesOf(side, 1);
    assert.deepEqual([heard, pong.opcode, pong.body.toString()], [['한'], 10, 'are you there']);
});

test('frames that arrive byte by byte are read', async (context) => {
    const side = await peer(context);
    const { heard, next } = await opened(side);
    const arrived = next();
    for (const byte of makeFrame(1, Buffer.from('slow'), true, false)) {
        side.tcp.write(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
    }
    await arrived;
    assert.deepEqual(heard, ['slow']);
});

test('the close code and reason arrive and are echoed', async (context) => {
    const side = await peer(context);
    const { closed } = await opened(side);
    side.write(8, Buffer.concat([Buffer.from([0x0f, 0xa3]), Buffer.from('nodeFull')]));
    const { code, reason } = await closed;
    assert.deepEqual([code, reason], [4003, 'nodeFull']);
    const [echo] = await framesOf(side, 1);
    assert.deepEqual([echo.opcode, echo.body.readUInt16BE(0)], [8, 4003]);
});

test('a lost connection, a masked frame and a wrong handshake close it', async (context) => {
    const lost = await peer(context);
    const one = await opened(lost);
    lost.tcp.resetAndDestroy();
    assert.equal((await one.closed).code, 1006);
    const masking = await peer(context);
    const two = await opened(masking);
    masking.write(1, 'abcd1234', { mask: true });
    assert.equal((await two.closed).code, 1002);
    const wrong = await peer(context, () => 'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: nonsense\r\n\r\n');
    assert.match((await (await opened(wrong)).closed).reason, /handshake/);
});

test('nobody there: closed with the reason', async () => {
    const socket = new NodeSocket('ws://127.0.0.1:9/ws', ['martlet.v1']);
    const { code, reason } = await new Promise((resolve) => { socket.onclose = resolve; });
    assert.equal(code, 1006);
    assert.match(reason, /ECONNREFUSED/);
});

test('a handshake that will be refused again ends the client with the node\'s reason', async (context) => {
    const why = '{"error":{"code":106,"name":"badName","message":"user is empty","retry":false}}';
    for (const [answer, reason, code, message] of [
        ['401 Unauthorized\r\nContent-Length: 0\r\n\r\n', 'unauthenticated', 0, 'HTTP 401'],
        [`400 Bad Request\r\nContent-Length: ${why.length}\r\n\r\n${why}`, 'badName', 106, 'user is empty'],
    ]) {
        const side = await peer(context, () => `HTTP/1.1 ${answer}`);
        const client = connect(`${side.url}/ws`, { WebSocket: NodeSocket });
        const error = await new Promise((resolve) => { client.on('closed', resolve); });
        assert.ok(error instanceof MartletError);
        const words = `the node at ${new URL(side.url).host} refused the connection: ${message}`;
        assert.deepEqual([error.reason, error.code, error.message, client.state], [reason, code, words, 'closed']);
        await assert.rejects(client.ready, { reason });
    }
});

test('a node that is not ready is tried again', async (context) => {
    const side = await peer(context, () => 'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n');
    const client = connect(`${side.url}/ws`, { WebSocket: NodeSocket });
    const event = await new Promise((resolve) => { client.on('state', (state) => { if (state.error) resolve(state); }); });
    assert.deepEqual([event.state, event.error.reason, event.error.retry], ['offline', 'unreachable', true]);
    client.close();
});
