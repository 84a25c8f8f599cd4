/** The chat page. It uses only martlet.js to talk to the node. */
import { connect } from './martlet.js';
import {
    Announcer, avatar, badge, byId, count, deviceName, el, memory, nameProblem, plural, reasonOf,
} from './chat-parts.js';
import { ModerationDialogs, NoticeView } from './chat-moderation.js';
import { PeopleView } from './chat-people.js';
import { RoomModel } from './chat-room.js';
import { RoomList } from './chat-rooms.js';
import { TalkView } from './chat-talk.js';

const announcer = new Announcer(byId('announcer'));
/** @type {import('./martlet.js').Client | null} */
let client = null;
/** @type {Map<string, RoomModel>} In the order in which they are listed. */
const rooms = new Map();
/** @type {RoomModel | null} */
let current = null;
let frame = 0;
let bannerTimer = null;
/** Why the connection was lost. */
let lost = null;
let retryAt = 0;

const dialogs = new ModerationDialogs();
const notice = new NoticeView();
const people = new PeopleView(
    { list: byId('members'), more: byId('more-members'), total: byId('people-total') },
    (user) => { if (current) dialogs.sanction(current, user); },
);
const roomList = new RoomList(byId('rooms'), (name) => open(name));
const talk = new TalkView(
    { scroller: byId('log'), rows: byId('rows'), waiting: byId('waiting'), top: byId('top') }, () => seen(),
);

// ---- entering and signing out

function start() {
    applyTheme(memory.read('page').theme);
    const query = new URLSearchParams(location.search);
    takeToken();
    const saved = memory.read('page');
    const user = query.get('user') ?? saved.user ?? '';
    byId('name').value = user;
    byId('device').value = query.get('device') ?? saved.device ?? deviceName();
    byId('room').value = query.get('room') ?? (roomInAddress() || 'lobby');
    if (query.get('user') && byId('room').value) enter();
    else if (saved.user && saved.open) enter();
    else showWelcome('');
}

/** Takes a token out of the address (`#token=…`), which no server is sent, so that nobody sees it there. */
function takeToken() {
    const token = new URLSearchParams(location.hash.slice(1)).get('token');
    if (!token) return;
    byId('token').value = token;
    history.replaceState(null, '', location.pathname + location.search);
}

function roomInAddress() {
    try {
        return decodeURIComponent(location.hash.slice(1));
    } catch {
        return '';
    }
}

function showWelcome(error) {
    byId('app').hidden = true;
    byId('welcome').hidden = false;
    byId('enter-error').textContent = error;
    byId('enter-error').hidden = error === '';
    document.title = 'Martlet';
    byId(byId('name').value === '' ? 'name' : 'room').focus();
}

function enter() {
    const user = byId('name').value.trim();
    const device = byId('device').value.trim() || deviceName();
    const name = byId('room').value.trim();
    const token = byId('token').value;
    const problem = nameProblem('Your name', user, 128) ?? nameProblem('The room\'s name', name, 128)
        ?? nameProblem('The device\'s name', device, 64);
    if (problem) {
        showWelcome(problem);
        return;
    }
    memory.write('page', { ...memory.read('page'), user, device, open: true });
    client = connect('/ws', { user, device, ...(token ? { token } : {}) });
    client.on('state', linkChanged);
    client.on('welcome', () => { byId('me-name').textContent = client.user; });
    client.on('closed', (error) => { if (client) signOut(error.reason === 'closed' ? '' : words(error)); });
    const asked = new URLSearchParams(location.search).get('user') ?? user;
    if (asked !== user) history.replaceState(null, '', location.pathname + location.hash);
    byId('welcome').hidden = true;
    byId('app').hidden = false;
    byId('me-avatar').replaceChildren(avatar(user));
    byId('me-name').textContent = user;
    byId('me-name').title = `${user}, ${device}`;
    const saved = memory.read(`rooms ${user}`);
    for (const known of Object.keys(saved)) addRoom(known, saved[known]);
    addRoom(name, saved[name]);
    open(roomInAddress() in saved ? roomInAddress() : name);
    linkChanged({ state: client.state });
}

function signOut(error = '') {
    const closing = client;
    client = null;
    closing?.close();
    rooms.clear();
    current = null;
    notice.draw(null);
    people.open(null);
    talk.open(null);
    memory.write('page', { ...memory.read('page'), open: false });
    history.replaceState(null, '', location.pathname);
    if (error !== '') byId('more').open = true;
    showWelcome(error);
}

/** What went wrong, for a person. */
function words(error) {
    switch (error.reason) {
        case 'unauthenticated': return 'The node does not take this name or token.';
        case 'expired': return 'The token has expired.';
        case 'revoked': return 'The token was revoked.';
        case 'banned': return 'You are banned.';
        case 'badName': return 'The node does not take this name.';
        case 'forbidden': return 'The node lets you have no session here.';
        case 'tooManySessions': return 'You are signed in too often already. Close a tab, then enter again.';
        case 'abuse': return 'The node closed the connection: too many requests.';
        case 'ended': return 'An operator ended your session.';
        default: return error.message;
    }
}

// ---- rooms

function addRoom(name, saved = {}) {
    if (rooms.has(name)) return;
    rooms.set(name, new RoomModel(client, name, saved, changed));
    save();
    refresh();
}

function open(name) {
    const model = rooms.get(name);
    if (!model) return;
    if (current) {
        current.draft = byId('text').value;
        current.divider = null;
    }
    current = model;
    if (model.unread > 0) model.divider = model.read;
    byId('text').value = model.draft;
    resizeText();
    composerError('');
    showScreen('talk');
    const address = `#${encodeURIComponent(name)}`;
    if (location.hash !== address) history.replaceState(null, '', address);
    talk.open(model);
    people.open(model);
    refresh();
    if (!matchMedia('(hover: none)').matches) byId('text').focus();
}

function leave(model) {
    model.room.leave();
    rooms.delete(model.name);
    save();
    announcer.say(`You left ${model.name}`);
    const next = [...rooms.keys()][0];
    if (next === undefined) signOut();
    else if (model === current) open(next);
    refresh();
}

function save() {
    if (!client) return;
    const saved = {};
    for (const model of rooms.values()) saved[model.name] = { read: model.read };
    memory.write(`rooms ${client.user}`, saved);
}

/** A room model changed. */
function changed(what, model, detail) {
    if (!rooms.has(model.name) && what !== 'state') return;
    switch (what) {
        case 'message':
            if (model !== current) model.trim(false);
            heard(model, detail);
            break;
        case 'line':
            announcer.say(detail);
            break;
        case 'failed':
            failed(model);
            return;
        case 'people':
            if (model === current) people.update();
            break;
    }
    if (model === current) talk.update();
    refresh();
}

/** Somebody said something. */
function heard(model, message) {
    if (message.mine) return;
    const away = document.hidden || !document.hasFocus();
    if (model === current && model.divider === null && away && model.unread === 1) model.divider = model.read;
    const place = model === current ? '' : ` in ${model.name}`;
    announcer.say(`${message.user}${place}: ${(message.text ?? 'data').slice(0, 200)}`, 'message');
}

function failed(model) {
    rooms.delete(model.name);
    save();
    if (!client) return;
    const text = `${model.name}: ${reasonOf(model.error)}`;
    const next = [...rooms.keys()][0];
    if (next === undefined) signOut(text);
    else {
        if (model === current) open(next);
        composerError(`You could not enter ${text}`);
    }
    refresh();
}

/** The newest is in sight, or not any more. */
function seen() {
    if (current && talk.following && !document.hidden && talk.below === 0 && current.markRead()) {
        saveSoon();
        refresh();
    }
    if (current) current.trim(!talk.following);
    const button = byId('to-newest');
    button.hidden = talk.following || !current;
    const unread = current?.unread ?? 0;
    const text = unread > 0 ? `${badge(unread)} new` : '';
    if (byId('to-newest-text').textContent !== text) byId('to-newest-text').textContent = text;
    const label = unread > 0 ? `Go to the newest: ${plural(unread, 'new message')}` : 'Go to the newest';
    if (button.getAttribute('aria-label') !== label) button.setAttribute('aria-label', label);
}

let saveTimer = null;
function saveSoon() {
    saveTimer ??= setTimeout(() => {
        saveTimer = null;
        save();
    }, 500);
}

// ---- what stands around the talk, redrawn at most once a frame

function refresh() {
    frame ||= requestAnimationFrame(() => {
        frame = 0;
        if (!client) return;
        drawRooms();
        drawHead();
        drawTyping();
        notice.draw(current);
    });
}

function drawRooms() {
    const seen = current && talk.following && !document.hidden ? current : null;
    const unread = roomList.draw([...rooms.values()], current, seen);
    const others = unread - (current && current !== seen ? current.unread : 0);
    byId('other-unread').hidden = others === 0;
    byId('other-unread').textContent = badge(others);
    document.title = `${unread > 0 ? `(${badge(unread)}) ` : ''}${current?.name ?? ''} · Martlet`;
    if (byId('heading').textContent !== document.title) byId('heading').textContent = document.title;
}

function drawHead() {
    if (!current) return;
    const { room, name } = current;
    const state = room.state === 'offline' ? 'not connected' : client.state === 'unsure' ? `${client.node} does not answer`
        : room.state === 'removed' ? 'you were sent out' : room.state === 'joined' ? `${plural(room.count, 'person', 'people')} here · on ${client.node}` : 'entering…';
    if (byId('title').textContent !== name) byId('title').textContent = name;
    if (byId('subtitle').textContent !== state) byId('subtitle').textContent = state;
    byId('people-count').textContent = room.state === 'joined' ? count(room.count) : '';
    const placeholder = `Message ${name}`;
    if (byId('text').placeholder !== placeholder) byId('text').placeholder = placeholder;
}

function drawTyping() {
    if (!current) return;
    const names = current.typists();
    const element = byId('typing');
    const key = names.slice(0, 4).join('\n');
    if (element.dataset.shown !== key) {
        element.dataset.shown = key;
        const dots = el('span.dots', { 'aria-hidden': 'true' }, el('i'), el('i'), el('i'));
        element.replaceChildren(...(names.length > 0 ? [dots, el('span', {}, ...typingWords(names))] : []));
    }
    if (names.length > 0) setTimeout(refresh, 1_000);
}

function typingWords(names) {
    if (names.length > 3) return ['Several people are typing'];
    const parts = names.map((name) => el('bdi', {}, name));
    if (parts.length === 1) return [parts[0], ' is typing'];
    const last = parts.pop();
    return [...parts.flatMap((part, index) => (index > 0 ? [', ', part] : [part])), ' and ', last, ' are typing'];
}

// ---- the connection

function linkChanged(event) {
    if (!client) return;
    const { state, delay = 0, error = null } = event;
    retryAt = state === 'offline' ? Date.now() + delay : 0;
    lost = error ?? lost;
    byId('link').dataset.state = state;
    const words = { online: client.node, unsure: 'no answer…', connecting: 'connecting…' };
    byId('link-text').textContent = words[state] ?? 'no connection';
    byId('link').title = state === 'online' ? `Connected to ${client.node}, session ${client.session}` : error?.message ?? '';
    clearInterval(bannerTimer);
    bannerTimer = null;
    if (state === 'online') {
        if (!byId('banner').hidden) announcer.say(`Connected again, to ${client.node}`);
        lost = null;
        byId('banner').hidden = true;
    } else {
        bannerTimer = setInterval(drawBanner, 500);
        if (event.attempt > 0 || state === 'offline' || state === 'unsure') drawBanner();
    }
    refresh();
    if (current) talk.update();
}

function drawBanner() {
    const banner = byId('banner');
    const unsure = client.state === 'unsure';
    if (banner.hidden) announcer.say(unsure ? 'The node does not answer' : 'No connection; trying again');
    banner.hidden = false;
    const wait = Math.max(0, Math.ceil((retryAt - Date.now()) / 1_000));
    const pending = [...rooms.values()].flatMap((model) => model.pending);
    const waiting = pending.filter((entry) => entry.error === null).length;
    const kept = waiting > 0 ? ` ${plural(waiting, 'message')} ${waiting === 1 ? 'waits' : 'wait'} to be sent.` : '';
    const next = unsure ? `${client.node} does not answer; another one is tried in a moment.`
        : `No connection. ${wait > 0 ? `Trying again in ${wait} s.` : 'Trying now…'}`;
    const why = !unsure && lost && lost.reason !== 'unreachable' ? ` ${lost.message[0].toUpperCase()}${lost.message.slice(1)}.` : '';
    byId('banner-text').textContent = `${next}${why}${kept}`;
    byId('retry-now').hidden = wait < 2;
}

// ---- writing

function resizeText() {
    const text = byId('text');
    text.style.height = 'auto';
    text.style.height = `${Math.min(text.scrollHeight, 180)}px`;
}

function composerError(text) {
    byId('composer-error').textContent = text;
    byId('composer-error').hidden = text === '';
}

function submit() {
    const field = byId('text');
    const text = field.value.trim();
    if (text === '' || !current) return;
    const limit = (client.limits.frameBytes ?? 65_536) - 512;
    const bytes = new TextEncoder().encode(JSON.stringify(text)).length;
    if (bytes > limit) {
        composerError(`This is ${count(bytes)} bytes long; a message may have ${count(limit)}.`);
        return;
    }
    composerError('');
    current.send(text);
    field.value = '';
    resizeText();
    talk.follow();
    field.focus();
}

// ---- screens and theme

/** On a phone one of three screens is there at a time: rooms, talk, people. */
function showScreen(name) {
    document.body.dataset.screen = name;
    byId('people-toggle').setAttribute('aria-expanded', String(name === 'people'));
    people.visible(name === 'people' || matchMedia('(min-width: 1100px)').matches);
    if (name === 'talk') talk.update();
}

function applyTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
}

function switchTheme() {
    const dark = document.documentElement.dataset.theme
        ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    memory.write('page', { ...memory.read('page'), theme: dark ? 'light' : 'dark' });
    applyTheme(dark ? 'light' : 'dark');
}

// ---- wiring

byId('enter').addEventListener('submit', (event) => {
    event.preventDefault();
    enter();
});
byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    submit();
});
byId('text').addEventListener('keydown', (event) => {
    // While an input method composes (Korean, Japanese, Chinese …), Enter belongs to it.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (matchMedia('(hover: none) and (pointer: coarse)').matches) return;
    event.preventDefault();
    submit();
});
byId('text').addEventListener('input', () => {
    resizeText();
    if (byId('text').value !== '') current?.type();
});
byId('add-room').addEventListener('click', () => {
    byId('join-name').value = '';
    byId('join-error').hidden = true;
    byId('join-dialog').showModal();
});
byId('join-cancel').addEventListener('click', () => byId('join-dialog').close());
byId('join-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const name = byId('join-name').value.trim();
    const problem = nameProblem('The room\'s name', name, 128);
    byId('join-error').textContent = problem ?? '';
    byId('join-error').hidden = problem === null;
    if (problem) return;
    byId('join-dialog').close();
    addRoom(name);
    open(name);
});
byId('room-rules').addEventListener('click', () => { if (current) dialogs.rules(current); });
byId('leave-room').addEventListener('click', () => { if (current) leave(current); });
byId('sign-out').addEventListener('click', () => signOut());
byId('theme').addEventListener('click', switchTheme);
byId('to-rooms').addEventListener('click', () => {
    showScreen('rooms');
    byId('rooms').querySelector('[aria-current]')?.focus();
});
byId('people-toggle').addEventListener('click', () => {
    showScreen(document.body.dataset.screen === 'people' ? 'talk' : 'people');
    if (document.body.dataset.screen === 'people') byId('people-close').focus();
});
byId('people-close').addEventListener('click', () => {
    showScreen('talk');
    byId('people-toggle').focus();
});
byId('to-newest').addEventListener('click', () => {
    talk.follow();
    byId('text').focus();
});
byId('retry-now').addEventListener('click', () => client?.wake());
document.addEventListener('visibilitychange', () => {
    if (!document.hidden) talk.update();
    else save();
});
addEventListener('pagehide', save);
addEventListener('resize', () => showScreen(document.body.dataset.screen));
addEventListener('hashchange', () => {
    const name = roomInAddress();
    if (!client || name === current?.name || nameProblem('The room\'s name', name, 128)) return;
    addRoom(name);
    open(name);
});
addEventListener('keydown', (event) => {
    if (!client || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && document.body.dataset.screen === 'people') {
        byId('people-close').click();
    } else if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
        event.preventDefault();
        const names = [...rooms.keys()];
        const step = event.key === 'ArrowUp' ? -1 : 1;
        open(names[(names.indexOf(current?.name) + step + names.length) % names.length]);
        announcer.say(`Room ${current.name}`);
    }
});

start();
