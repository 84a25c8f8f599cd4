/** The chat page. It uses only martlet.js to talk to the node. */
import { connect } from './martlet.js';
import {
    Announcer, avatar, badge, byId, count, deviceName, el, memory, nameProblem, plural, reasonOf,
} from './chat-parts.js';
import { MessageActions } from './chat-actions.js';
import { Composer } from './chat-compose.js';
import { ConversationView, namesIn } from './chat-conversation.js';
import { Inbox } from './chat-inbox.js';
import { Menu } from './chat-menu.js';
import { ModerationDialogs, NoticeView } from './chat-moderation.js';
import { PeopleView } from './chat-people.js';
import { RoomModel, titleOf } from './chat-room.js';
import { RoomList } from './chat-rooms.js';
import { Stars } from './chat-stars.js';
import { TalkView } from './chat-talk.js';

/** Conversations that stay joined, so that they open at once. */
const KEPT_OPEN = 20;

const announcer = new Announcer(byId('announcer'));
/** @type {import('./martlet.js').Client | null} */
let client = null;
/** @type {Map<string, RoomModel>} In the order in which they are listed. */
const rooms = new Map();
/** @type {Inbox | null} */
let inbox = null;
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
    (message) => stars.has(message),
);
const menu = new Menu(byId('menu'));
const stars = new Stars({
    changed: () => { talk.update(); },
    jump: (room, position) => {
        if (!rooms.has(room)) addRoom(room);
        open(room);
        jump(position);
    },
    problem, say: (text) => announcer.say(text),
});
const composer = new Composer({
    model: () => current, isKnown, say: (text) => announcer.say(text), changed: () => resizeText(),
});
const conversation = new ConversationView(menu, {
    confirm, problem, say: (text) => announcer.say(text), direct: (user) => beginDirect(user).catch(problem),
    left: (model) => leave(model), level: (model) => inbox?.conversations.get(model.name)?.notify ?? 'all',
    changed: () => inbox?.read(),
});
new MessageActions(byId('log'), menu, talk, {
    model: () => current, isKnown, isStarred: (message) => stars.has(message), canStar: () => stars.isKnown, problem,
    say: (text) => announcer.say(text), compose: () => byId('text').focus(),
    reply: (item) => composer.reply(item), edit: (item) => composer.edit(item),
    star: (item) => stars.toggle(item.message), jump, remove, report,
});

/** Whether the node knows of conversations and changes; an older one does not. */
function isKnown() {
    return inbox?.isKnown === true;
}

/** Something that was asked for did not come about. @param {any} error An error, or words. */
function problem(error) {
    composerError(typeof error === 'string' ? error : reasonOf(error));
}

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
    inbox = new Inbox(client, inboxChanged);
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
    // Conversations are in the inbox; the one that was open is open again.
    const known = Object.keys(saved).filter((room) => !saved[room].conversation || room === roomInAddress());
    for (const room of known) addRoom(room, saved[room]);
    addRoom(name, saved[name], Date.now());
    open(known.includes(roomInAddress()) ? roomInAddress() : name);
    linkChanged({ state: client.state });
}

function signOut(error = '') {
    const closing = client;
    client = null;
    inbox?.end();
    inbox = null;
    closing?.close();
    rooms.clear();
    current = null;
    document.body.dataset.conversations = 'no';
    menu.close(false);
    stars.open(null);
    conversation.open(null);
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

function addRoom(name, saved = {}, openedAt = 0) {
    if (rooms.has(name)) return;
    const model = new RoomModel(client, name, saved, changed);
    model.openedAt = openedAt;
    rooms.set(name, model);
    save();
    refresh();
}

function open(name) {
    if (!rooms.has(name) && inbox?.conversations.has(name)) addRoom(name);
    const model = rooms.get(name);
    if (!model) return;
    if (current) {
        current.draft = byId('text').value;
        current.divider = null;
    }
    current = model;
    // The most recently opened ones are at the end.
    rooms.delete(name);
    rooms.set(name, model);
    closeOldest();
    if (model.unread > 0) model.divider = model.read;
    byId('text').value = model.draft;
    composerError('');
    menu.close(false);
    composer.opened();
    showScreen('talk');
    resizeText();
    const address = `#${encodeURIComponent(name)}`;
    if (location.hash !== address) history.replaceState(null, '', address);
    talk.open(model);
    people.open(model);
    conversation.open(model);
    refresh();
    if (!matchMedia('(hover: none)').matches) byId('text').focus();
}

/** Of many open conversations the least recently opened ones are closed: their heads are watched anyway. */
function closeOldest() {
    const mayClose = (model) => model.isConversation && model !== current && model.pending.length === 0;
    const open = [...rooms.values()].filter(mayClose);
    for (const model of open.slice(0, Math.max(0, open.length - KEPT_OPEN))) {
        model.room.leave();
        rooms.delete(model.name);
    }
}

/** Opens the conversation with one other user. */
async function beginDirect(user) {
    const { room } = await client.direct(user);
    begun(room);
}

/** A conversation was begun: it is opened, and the inbox read again. */
function begun(room) {
    inbox.read();
    addRoom(room, {}, Date.now());
    open(room);
}

function leave(model) {
    announcer.say(`You left ${titleOf(model.name, client.user)}`);
    drop(model);
}

/** The room is not in the list any more; the next one is opened. */
function drop(model) {
    model.room.leave();
    rooms.delete(model.name);
    save();
    inbox?.conversations.delete(model.name);
    const next = roomList.names.find((name) => name !== model.name && (rooms.has(name) || inbox?.conversations.has(name)));
    if (next === undefined) signOut();
    else if (model === current) open(next);
    refresh();
}

function save() {
    if (!client) return;
    const saved = {};
    for (const model of rooms.values()) {
        saved[model.name] = { read: model.read, ...(model.isConversation ? { conversation: true } : {}) };
    }
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
        case 'entered':
            if (model !== current) break;
            if (model.unread > 0 && model.divider === null) model.divider = model.read;
            talk.enter();
            conversation.open(model);
            break;
        case 'participants':
        case 'receipts':
            if (model === current) conversation.update();
            break;
    }
    if (model === current) talk.update();
    refresh();
}

/** The list of conversations, or what is newest in one, has changed. */
function inboxChanged(what, detail) {
    if (!inbox) return;
    switch (what) {
        case 'known':
            document.body.dataset.conversations = inbox.isKnown ? 'yes' : 'no';
            if (inbox.isKnown) stars.open(client);
            if (current) talk.update();
            break;
        case 'head':
            headChanged(detail);
            break;
        case 'notice':
            noticed(detail);
            break;
    }
    conversation.update();
    refresh();
}

function headChanged({ room, user, text = 'data', unread = 0 }) {
    // What is said in open rooms is told by themselves.
    if (rooms.has(room) || unread === 0 || user === client.user || isMuted(inbox.conversations.get(room))) return;
    announcer.say(`${user} in ${titleOf(room, client.user)}: ${text.slice(0, 200)}`, 'message');
}

/** @param {import('./martlet.js').Notice} notice */
function noticed(notice) {
    const title = titleOf(notice.room, client.user);
    rooms.get(notice.room)?.noticed(notice);
    if (notice.kind === 'invited' && notice.by !== client.user) announcer.say(`${notice.by ?? 'Somebody'} invited you: ${title}`);
    if (notice.kind === 'removed') announcer.say(`You do not belong to ${title} any more`);
    if (notice.kind === 'removed' && rooms.get(notice.room)?.isConversation) drop(rooms.get(notice.room));
    if (notice.kind === 'mentioned') announcer.say(`${notice.by ?? 'Somebody'} mentioned you in ${title}`);
    if (notice.room === current?.name && notice.kind === 'invited') conversation.load();
}

const isMuted = (entry) => entry?.notify === 'none' || (entry?.notify === 'mentions' && !entry.mentioned);

/** Somebody said something. */
function heard(model, message) {
    if (message.mine) return;
    const isFor = message.mentions?.includes(client.user) ?? false;
    if (!isFor && model !== current && isMuted(inbox?.conversations.get(model.name))) return;
    const away = document.hidden || !document.hasFocus();
    if (model === current && model.divider === null && away && model.unread === 1) model.divider = model.read;
    const place = model === current ? '' : ` in ${titleOf(model.name, client.user)}`;
    announcer.say(`${message.user}${place}: ${(message.text ?? 'data').slice(0, 200)}`, 'message');
}

function failed(model) {
    rooms.delete(model.name);
    save();
    if (!client) return;
    const text = `${titleOf(model.name, client.user)}: ${reasonOf(model.error)}`;
    const next = roomList.names.find((name) => name !== model.name && rooms.has(name)) ?? [...rooms.keys()][0];
    if (next === undefined) signOut(text);
    else {
        if (model === current) open(next);
        composerError(`You could not enter ${text}`);
    }
    refresh();
}

/** The newest is in sight, or not any more. */
function seen() {
    const isAll = talk.following && talk.below === 0;
    if (current && !document.hidden && !talk.isEntering && (isAll || current.unread > 0)) {
        if (isAll ? current.markRead() : current.markRead(talk.lastInSight)) {
            if (current.unread === 0) inbox?.markRead(current.name);
            saveSoon();
            refresh();
        }
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
    const entries = [...rooms.values()].map((model) => entryOf(model.name, model, model === seen));
    for (const name of inbox?.conversations.keys() ?? []) if (!rooms.has(name)) entries.push(entryOf(name, null, false));
    // Whatever was opened last stands last in `rooms`; rooms without an order keep the order of their names.
    entries.sort((a, b) => a.title.localeCompare(b.title));
    roomList.draw(entries, current?.name ?? '', client.user);
    const counted = entries.filter((entry) => !entry.muted || entry.mentioned);
    const unread = counted.reduce((sum, entry) => sum + entry.unread, 0);
    const others = counted.reduce((sum, entry) => sum + (entry.name === current?.name ? 0 : entry.unread), 0);
    byId('other-unread').hidden = others === 0;
    byId('other-unread').textContent = badge(others);
    document.title = `${unread > 0 ? `(${badge(unread)}) ` : ''}${current ? titleOf(current.name, client.user) : ''} · Martlet`;
    if (byId('heading').textContent !== document.title) byId('heading').textContent = document.title;
}

/** A room as the list shows it. @returns {import('./chat-rooms.js').Entry} */
function entryOf(name, model, isSeen) {
    const known = inbox?.conversations.get(name);
    const last = newest(model?.preview, known?.last);
    const kind = known?.kind ?? model?.kind ?? 'room';
    const unread = isSeen ? 0 : model?.room.state === 'joined' ? model.unread : known?.unread ?? model?.unread ?? 0;
    return {
        name, kind, last, unread, title: titleOf(name, client.user, known?.users),
        mentioned: unread > 0 && ((model?.mentioned ?? false) || (known?.mentioned ?? false)),
        muted: isMuted(known), online: kind === 'direct' && (known?.users ?? []).some((user) => inbox.online.has(user)),
        order: Math.max(last ? Date.parse(last.at) || 0 : 0, model?.openedAt ?? 0),
    };
}

function newest(one, other) {
    if (!one || !other) return one ?? other ?? null;
    return Date.parse(other.at) > Date.parse(one.at) ? other : one;
}

function drawHead() {
    if (!current) return;
    const { room, name } = current;
    const known = inbox?.conversations.get(name);
    const other = current.kind === 'direct' ? (inbox?.online.has(known?.users[0]) || room.count > 1 ? 'online' : 'offline') : null;
    const here = other ?? `${plural(room.count, 'person', 'people')} here`;
    const state = room.state === 'offline' ? 'not connected' : client.state === 'unsure' ? `${client.node} does not answer`
        : room.state === 'removed' ? 'you were sent out' : room.state === 'joined' ? `${here} · on ${client.node}` : 'entering…';
    const title = titleOf(name, client.user, known?.users);
    byId('leave-room').hidden = current.isConversation;
    if (byId('title').textContent !== title) byId('title').textContent = title;
    if (byId('subtitle').textContent !== state) byId('subtitle').textContent = state;
    byId('people-count').textContent = room.state === 'joined' ? count(room.count) : '';
    const placeholder = `Message ${title}`;
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
    const mentions = isKnown() ? composer.mentionsIn(text) : [];
    const { composing } = current;
    if (composing?.kind === 'edit') {
        saveEdit(current, composing, text);
        composer.cancel();
        return;
    }
    current.send(text, {
        ...(composing ? { thread: rootOf(composing.item) } : {}), ...(mentions.length > 0 ? { mentions } : {}),
    });
    current.composing = null;
    composer.draw();
    composer.sent();
    field.value = '';
    resizeText();
    talk.follow();
    field.focus();
}

/** Replies to a reply belong to the same message. */
const rootOf = ({ message }) => message.thread ?? message.position;

async function saveEdit(model, composing, text) {
    if (text === composing.item.message.text) return;
    try {
        await model.edit(composing.item, text);
        announcer.say('Edited');
    } catch (error) {
        problem(error);
        // What was written is not lost.
        if (model !== current || byId('text').value !== '') return;
        composer.edit(composing.item);
        byId('text').value = text;
        resizeText();
    }
}

/** Deletes a message, after a question. */
function remove(item) {
    const { room } = current;
    const { position, text } = item.message;
    const act = () => room.delete(position).then(() => announcer.say('Deleted'), problem);
    confirm('Delete this message for everybody?', 'Delete', act, text);
}

/** Tells the moderators of a message, after a question. */
function report(item) {
    const { room } = current;
    const { position, text } = item.message;
    const act = () => room.report(position).then(() => announcer.say('Reported'), problem);
    confirm('Report this message to the moderators?', 'Report', act, text);
}

/** Brings a message of the open room into sight. @param {string} position */
async function jump(position) {
    const model = current;
    const seq = Number(position.split('-')[1]);
    // A room that was opened just now has to show its newest messages first.
    await model.room.ready.catch(() => {});
    const item = await model.find(seq);
    if (model !== current) return;
    if (item) talk.reveal(item);
    else problem('That message is too far back, or the room\'s log does not hold it any more.');
}

/** Edits the newest of one's own messages that still has a text. */
function editLast() {
    const own = current?.items.filter((one) => one.message?.mine && one.message.text !== undefined && !one.message.deleted);
    const item = own?.at(-1);
    if (item) composer.edit(item);
    return item !== undefined;
}

let confirmed = null;

/** Asks before something that cannot be undone. */
function confirm(question, action, act, about = '') {
    confirmed = act;
    byId('confirm-question').textContent = question;
    byId('confirm-about').textContent = about;
    byId('confirm-about').hidden = about === '';
    byId('confirm-act').textContent = action;
    byId('confirm-dialog').showModal();
    byId('confirm-cancel').focus();
}

// ---- beginning a conversation, joining a room

const KINDS = {
    room: ['Room', 'Join', 'A room is open to everybody who knows its name.'],
    direct: ['Who', 'Begin', 'Only you two will see what is said.'],
    group: ['Name of the group', 'Create', 'Only those who belong to it see what is said. You may invite more at any time.'],
};

const chosenKind = () => byId('join-form').elements.kind.value;

function showJoin() {
    byId('join-name').value = '';
    byId('join-users').value = '';
    joinError('');
    const known = [...inbox?.conversations.values() ?? []].flatMap((entry) => entry.users);
    const users = new Set([...current?.room.members ?? [], ...known]);
    users.delete(client.user);
    byId('known-people').replaceChildren(...[...users].slice(0, 200).map((user) => el('option', { value: user })));
    drawJoin();
    byId('join-dialog').showModal();
    byId('join-name').focus();
}

function drawJoin() {
    const [label, action, lead] = KINDS[chosenKind()];
    byId('join-label').textContent = label;
    byId('join-submit').textContent = action;
    byId('join-lead').textContent = isKnown() ? lead : '';
    byId('join-more').hidden = chosenKind() !== 'group';
    byId('join-name').setAttribute('list', chosenKind() === 'direct' ? 'known-people' : '');
}

function joinError(text) {
    byId('join-error').textContent = text;
    byId('join-error').hidden = text === '';
}

async function begin() {
    const kind = isKnown() ? chosenKind() : 'room';
    const name = byId('join-name').value.trim();
    const wrong = nameProblem(kind === 'direct' ? 'The name' : 'The room\'s name', name, 128);
    joinError(wrong ?? '');
    if (wrong) return;
    if (kind === 'direct') {
        await beginDirect(name);
    } else if (kind === 'group') {
        const { room } = await client.createGroup(name, namesIn(byId('join-users').value));
        begun(room);
    } else {
        addRoom(name, {}, Date.now());
        open(name);
    }
    byId('join-dialog').close();
    if (!matchMedia('(hover: none)').matches) byId('text').focus();
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
    if (composer.takesKey(event)) return;
    if (event.key === 'Escape' && composer.cancel()) {
        event.preventDefault();
        return;
    }
    if (event.key === 'ArrowUp' && !event.altKey && byId('text').value === '' && isKnown() && editLast()) {
        event.preventDefault();
        return;
    }
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
byId('add-room').addEventListener('click', () => showJoin());
byId('join-cancel').addEventListener('click', () => byId('join-dialog').close());
byId('join-kinds').addEventListener('change', drawJoin);
byId('join-form').addEventListener('submit', (event) => {
    event.preventDefault();
    begin().catch((error) => joinError(reasonOf(error)));
});
byId('confirm-cancel').addEventListener('click', () => byId('confirm-dialog').close());
byId('confirm-form').addEventListener('submit', () => confirmed?.());
byId('show-stars').addEventListener('click', () => stars.show());
byId('show-help').addEventListener('click', () => byId('help-dialog').showModal());
byId('help-close').addEventListener('click', () => byId('help-dialog').close());
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
    addRoom(name, {}, Date.now());
    open(name);
});
addEventListener('keydown', (event) => {
    if (!client || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && document.body.dataset.screen === 'people') {
        byId('people-close').click();
    } else if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
        event.preventDefault();
        const { names } = roomList;
        const step = event.key === 'ArrowUp' ? -1 : 1;
        open(names[(names.indexOf(current?.name) + step + names.length) % names.length]);
        announcer.say(titleOf(current.name, client.user));
    } else if ((event.key === '?' && !isWriting(event.target)) || (event.key === '/' && event.ctrlKey)) {
        event.preventDefault();
        byId('help-dialog').showModal();
    } else if (event.key === 'k' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        showJoin();
    }
});

const isWriting = (target) => target.matches?.('input, textarea, select') ?? false;

start();
