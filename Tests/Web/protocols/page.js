// The clients that run in a browser: each function enters the room, and tells what it is shown. `told` is the test's.
/* global io, Stomp, SockJS, told */
'use strict';

let send = null;
let last = null;

/** What the test calls: says a message, and again with its key until a node has stored it. */
async function say(text, key) {
    for (;;) {
        try {
            return await send(text, key);
        } catch {
            await new Promise((resolve) => setTimeout(resolve, 200));
        }
    }
}

function show(position, user, text) {
    last = position;
    told({ is: 'message', position, user, text });
}

/** Socket.IO's own client. `transports`: undefined for its default, polling first and then a WebSocket. */
function socketIO(room, user, transports) {
    const socket = io({
        auth: { user, device: 'page' }, ...(transports && { transports }), reconnectionDelay: 200, reconnectionDelayMax: 1000,
    });
    socket.on('connect', () => {
        told({ is: 'connected', recovered: socket.recovered });
        if (socket.recovered) return;
        const join = { room, history: 0, ...(last && { after: last }) };
        socket.emit('join', join, (answer) => {
            if (answer.error) return told({ is: 'failed', text: JSON.stringify(answer) });
            last ??= answer.position;
            told({ is: 'ready' });
        });
    });
    socket.on('disconnect', (reason) => told({ is: 'lost', text: reason }));
    socket.on('connect_error', (error) => told({ is: 'refused', text: error.message }));
    socket.on('message', (message) => show(message.position, message.user, message.text));
    for (const event of ['gap', 'reset']) socket.on(event, (what) => told({ is: event, text: JSON.stringify(what) }));
    socket.io.engine.on('upgrade', () => told({ is: 'upgraded' }));
    send = async (text, key) => {
        const answer = await socket.timeout(5000).emitWithAck('send', { room, text, key });
        if (answer.error) throw new Error(answer.error.message);
    };
}

/** EventSource, with sends by fetch. */
function eventSource(room, user) {
    const source = new EventSource(`/api/events?${new URLSearchParams({ room, user, device: 'page', history: '0' })}`);
    const on = (type, body) => source.addEventListener(type, (event) => body(JSON.parse(event.data)));
    on('joined', () => told({ is: 'ready' }));
    on('message', (message) => show(message.position, message.user, message.text));
    for (const type of ['gap', 'reset', 'failure']) on(type, (what) => told({ is: type, text: JSON.stringify(what) }));
    source.onerror = () => told({ is: source.readyState === EventSource.CLOSED ? 'failed' : 'lost', text: 'EventSource' });
    send = async (text, key) => {
        const answer = await fetch(`/api/rooms/${encodeURIComponent(room)}/messages`, {
            method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ user, text, key }),
            signal: AbortSignal.timeout(5000),
        });
        if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    };
}

/** stomp.js over sockjs-client. */
function stompOverSockJS(room, user) {
    const destination = `/topic/${room}`;
    const receipts = new Map();
    let client = null;
    const open = () => {
        client = Stomp.over(new SockJS('/stomp'));
        client.debug = null;
        client.onreceipt = (frame) => {
            const id = frame.headers['receipt-id'];
            if (id === 'joined') told({ is: 'ready' });
            receipts.get(id)?.();
        };
        client.connect({ login: user, passcode: '', device: 'page' }, () => {
            told({ is: 'connected' });
            client.subscribe(destination, (frame) => show(frame.headers['message-id'], frame.headers.user, frame.body),
                { receipt: 'joined', ...(last && { 'martlet-after': last }) });
        }, (error) => {
            told({ is: 'lost', text: String(error) });
            for (const [, , fail] of receipts) fail?.();
            setTimeout(open, 300);
        });
    };
    open();
    send = (text, key) => new Promise((resolve, reject) => {
        const end = setTimeout(() => { receipts.delete(key); reject(new Error('no receipt')); }, 5000);
        receipts.set(key, () => { clearTimeout(end); receipts.delete(key); resolve(); });
        client.send(destination, { receipt: key, 'martlet-key': key }, text);
    });
}
