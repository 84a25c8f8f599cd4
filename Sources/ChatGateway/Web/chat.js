/** The chat page. It makes its parts, and says which of them hears of what. It uses only martlet.js to talk to the node. */
import { connect } from './martlet.js';
import { Announcer, avatar, badge, byId, deviceName, memory, nameProblem, plural } from './chat-parts.js';
import { MessageActions } from './chat-actions.js';
import { Composer } from './chat-compose.js';
import { ConversationView } from './chat-conversation.js';
import { BeginDialog, ConfirmDialog, DateDialog } from './chat-dialogs.js';
import { FrameView } from './chat-frame.js';
import { LinkView } from './chat-link.js';
import { Menu } from './chat-menu.js';
import { ModerationDialogs } from './chat-moderation.js';
import { Past, lookBack } from './chat-past.js';
import { PeopleView } from './chat-people.js';
import { Session } from './chat-session.js';
import { Stars } from './chat-stars.js';
import { TalkView } from './chat-talk.js';

const announcer = new Announcer(byId('announcer'));
/**
 * @param {string} text
 * @param {string} [kind]
 */
const say = (text, kind) => announcer.say(text, kind);
/**
 * The stay of the user; null while nobody has entered.
 * @type {Session | null}
 */
let session = null;
/**
 * Earlier messages that are shown in place of the newest ones of the room in view; null: the newest ones are.
 * @type {import('./chat-past.js').Past | null}
 */
let past = null;
/** The room in view. */
const current = () => session?.current ?? null;
/** Whether the node knows of conversations and changes; an older one does not. */
const isKnown = () => session?.inbox.isKnown === true;
/** @param {any} error An error, or words. */
const problem = (error) => composer.problem(error);

const dialogs = new ModerationDialogs();
const confirmation = new ConfirmDialog();
const beginning = new BeginDialog(() => write());
const dates = new DateDialog(findTime);
const people = new PeopleView(
    { list: byId('members'), more: byId('more-members'), total: byId('people-total') },
    (user) => { if (current()) dialogs.sanction(current(), user); },
);
const talk = new TalkView(
    { scroller: byId('log'), rows: byId('rows'), waiting: byId('waiting'), top: byId('top') }, () => seen(),
    (message) => stars.has(message),
);
const frame = new FrameView((name) => session?.open(name), () => talk.following && !document.hidden);
const link = new LinkView(say);
const menu = new Menu(byId('menu'));
const stars = new Stars({
    changed: () => talk.update(),
    jump: (room, position) => {
        session?.enter(room);
        jump(position);
    },
    problem, say,
});
const composer = new Composer({ model: current, isKnown, say, sent: toNewest });
const conversation = new ConversationView(menu, {
    problem, say, confirm: (question, action, act) => confirmation.ask(question, action, act),
    direct: (user) => session?.beginDirect(user).catch(problem), left: (model) => session?.leave(model),
    level: (model) => session?.inbox.conversations.get(model.name)?.notify ?? 'all', changed: () => session?.inbox.read(),
});
new MessageActions(byId('log'), menu, talk, {
    model: current, isKnown, isStarred: (message) => stars.has(message), canStar: () => stars.isKnown, problem, say,
    compose: () => byId('text').focus(), reply: (item) => composer.reply(item), edit: (item) => composer.edit(item),
    star: (item) => stars.toggle(item.message), jump, remove, report,
});

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
    const wrong = nameProblem('Your name', user, 128) ?? nameProblem('The room\'s name', name, 128)
        ?? nameProblem('The device\'s name', device, 64);
    if (wrong) {
        showWelcome(wrong);
        return;
    }
    memory.write('page', { ...memory.read('page'), user, device, open: true });
    const client = connect('/ws', { user, device, ...(token ? { token } : {}) });
    const entered = new Session(client, {
        opened, changed, inboxChanged, redraw: () => frame.update(), say, problem, over: (why) => signOut(why),
        draft: () => byId('text').value, isAway: () => document.hidden || !document.hasFocus(), listed: () => frame.names,
    });
    session = entered;
    client.on('state', (event) => {
        if (session !== entered) return;
        link.changed(event);
        frame.update();
        talk.update();
    });
    client.on('welcome', () => { byId('me-name').textContent = client.user; });
    client.on('closed', (error) => { if (session === entered) signOut(words(error)); });
    const asked = new URLSearchParams(location.search).get('user') ?? user;
    if (asked !== user) history.replaceState(null, '', location.pathname + location.hash);
    byId('welcome').hidden = true;
    byId('app').hidden = false;
    byId('me-avatar').replaceChildren(avatar(user));
    byId('me-name').textContent = user;
    byId('me-name').title = `${user}, ${device}`;
    frame.open(entered);
    link.open(client, () => [...entered.rooms.values()].flatMap((model) => model.pending).filter(({ error }) => error === null).length);
    entered.restore(name, roomInAddress());
}

/** @param {string} [error] Why the stay is over, if it is not what the user wanted. */
function signOut(error = '') {
    const left = session;
    session = null;
    left?.end();
    document.body.dataset.conversations = 'no';
    menu.close(false);
    for (const dialog of document.querySelectorAll('dialog[open]')) /** @type {any} */ (dialog).close();
    link.open(null);
    frame.open(null);
    stars.open(null);
    conversation.open(null);
    people.open(null);
    showIn(null);
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

// ---- what the session tells

/**
 * Another room is in view.
 * @param {import('./chat-room.js').RoomModel} model
 */
function opened(model) {
    menu.close(false);
    composer.open(model);
    showScreen('talk');
    const address = `#${encodeURIComponent(model.name)}`;
    if (location.hash !== address) history.replaceState(null, '', address);
    showIn(model);
    people.open(model);
    conversation.open(model);
    write();
}

/** The room in view changed; or the log of any room was set back. */
function changed(what, model) {
    switch (what) {
        case 'people':
            people.update();
            break;
        case 'entered':
            talk.enter();
            conversation.open(model);
            break;
        case 'participants':
        case 'receipts':
            conversation.update();
            break;
        case 'reset':
            composer.giveUp(model);
            if (past && model === current()) showIn(model);
            break;
    }
    talk.update();
}

/** The list of conversations, or what is newest in one, has changed. */
function inboxChanged(what, detail) {
    if (what === 'known') {
        document.body.dataset.conversations = isKnown() ? 'yes' : 'no';
        if (isKnown()) stars.open(session.client);
        talk.update();
    }
    if (what === 'notice' && detail.kind === 'invited' && detail.room === current()?.name) conversation.load();
    conversation.update();
}

/** The newest is in sight, or not any more. */
function seen() {
    const model = current();
    const isAll = talk.following && talk.below === 0;
    if (model && !past && !document.hidden && !talk.isEntering && (isAll || model.unread > 0)) {
        session.read(isAll ? undefined : talk.lastInSight);
    }
    model?.trim(!talk.following);
    const button = byId('to-newest');
    button.hidden = talk.following || !model;
    const unread = model?.unread ?? 0;
    const text = unread > 0 ? `${badge(unread)} new` : '';
    if (byId('to-newest-text').textContent !== text) byId('to-newest-text').textContent = text;
    const label = unread > 0 ? `Go to the newest: ${plural(unread, 'new message')}` : 'Go to the newest';
    if (button.getAttribute('aria-label') !== label) button.setAttribute('aria-label', label);
}

// ---- what one does about messages

/** Deletes a message, after a question. */
function remove(item) {
    const { room } = current();
    const { position, text } = item.message;
    const act = () => room.delete(position).then(() => say('Deleted'), problem);
    confirmation.ask('Delete this message for everybody?', 'Delete', act, text);
}

/** Tells the moderators of a message, after a question. */
function report(item) {
    const { room } = current();
    const { position, text } = item.message;
    const act = () => room.report(position).then(() => say('Reported'), problem);
    confirmation.ask('Report this message to the moderators?', 'Report', act, text);
}

/**
 * Brings a message of the open room into sight.
 * @param {string} position
 */
async function jump(position) {
    const model = current();
    if (!model) return;
    // A room that was opened just now has to show its newest messages first.
    await model.room.ready.catch(() => {});
    if (model !== current()) return;
    const inPast = past?.items.find((one) => one.message.position === position);
    const item = inPast ?? model.itemOf(position);
    if (item) {
        reveal(inPast ? past : model, item);
        return;
    }
    try {
        const found = await lookBack(model, { around: position }, (message) => message.position === position, shownPast(model));
        if (model !== current()) return;
        if (found) reveal(found.shown, found.item);
        else problem('The room\'s log does not hold that message any more.');
    } catch (error) {
        if (model === current()) problem(error);
    }
}

/**
 * Looks for the first message of the open room that was said at that time or later, else for the newest one.
 * @param {number} time Ms since 1970.
 */
async function findTime(time) {
    const model = current();
    await model.room.ready;
    const found = await lookBack(model, { time }, ({ at }) => Date.parse(at) >= time, shownPast(model));
    return () => {
        if (model !== current()) return;
        const newest = model.items.filter((item) => item.kind === 'message').at(-1);
        if (found) reveal(found.shown, found.item);
        else if (newest) reveal(model, newest);
        else toNewest();
    };
}

/** What is heard of earlier messages of a room while they are shown. */
function shownPast(model) {
    return {
        changed: () => talk.update(),
        met: () => {
            past = null;
            talk.goOn(model);
        },
    };
}

/**
 * Shows the newest messages of a room, or earlier ones of the room in view.
 * @param {import('./chat-room.js').RoomModel | import('./chat-past.js').Past | null} shown
 */
function showIn(shown) {
    past?.close();
    past = shown instanceof Past ? shown : null;
    past?.open();
    talk.open(shown);
}

/** Brings an item into sight, where it is. */
function reveal(shown, item) {
    if (shown !== (past ?? current())) showIn(shown);
    talk.reveal(item);
}

/** Shows the newest message of the room in view, and those that come. */
function toNewest() {
    if (past) showIn(current());
    talk.follow();
}

// ---- screens, focus and theme

/** Moves the focus to where one writes, unless that would bring up the keyboard of a phone. */
function write() {
    if (!matchMedia('(hover: none)').matches) byId('text').focus();
}

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
byId('add-room').addEventListener('click', () => beginning.show(session));
byId('show-stars').addEventListener('click', () => stars.show());
byId('go-to-date').addEventListener('click', () => { if (current()) dates.show(); });
byId('show-help').addEventListener('click', () => byId('help-dialog').showModal());
byId('help-close').addEventListener('click', () => byId('help-dialog').close());
byId('room-rules').addEventListener('click', () => { if (current()) dialogs.rules(current()); });
byId('leave-room').addEventListener('click', () => { if (current()) session.leave(current()); });
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
    toNewest();
    byId('text').focus();
});
document.addEventListener('visibilitychange', () => {
    if (document.hidden) session?.save();
    else talk.update();
});
addEventListener('pagehide', () => session?.save());
addEventListener('resize', () => showScreen(document.body.dataset.screen));
addEventListener('hashchange', () => {
    // A token is for the next time that somebody enters; it is no room's name.
    takeToken();
    const name = roomInAddress();
    if (name !== current()?.name && nameProblem('The room\'s name', name, 128) === null) session?.enter(name);
});
addEventListener('keydown', (event) => {
    if (!session || document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape' && document.body.dataset.screen === 'people') {
        byId('people-close').click();
    } else if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
        event.preventDefault();
        const { names } = frame;
        const step = event.key === 'ArrowUp' ? -1 : 1;
        session.open(names[(names.indexOf(current()?.name) + step + names.length) % names.length]);
        say(session.title(current().name));
    } else if ((event.key === '?' && !isWriting(event.target)) || (event.key === '/' && event.ctrlKey)) {
        event.preventDefault();
        byId('help-dialog').showModal();
    } else if (event.key === 'k' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        beginning.show(session);
    }
});

const isWriting = (target) => target.matches?.('input, textarea, select') ?? false;

start();
