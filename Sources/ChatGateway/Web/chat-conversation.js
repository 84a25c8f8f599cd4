/** Who belongs to the open conversation, and what can be done about that: a part of the list of people. */
import { avatar, byId, el, icon, plural, reasonOf, replaceEntries, seenWords } from './chat-parts.js';

/** Ms after which it is asked again who is online. */
const ONLINE_EVERY = 30_000;
const ROLES = { owner: 'owner', moderator: 'moderator', member: '' };
const RANK = { owner: 0, moderator: 1, member: 2 };
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

export class ConversationView {
    #model = null;
    #menu;
    #on;
    /** @type {Set<string>} */
    #online = new Set();
    /**
     * When others were last here, as far as they let this user see it.
     * @type {Record<string, string>}
     */
    #seen = {};
    /**
     * Users whom this user has blocked.
     * @type {Set<string>}
     */
    #blocked = new Set();
    #timer = null;
    #shown = '';

    /**
     * @param {import('./chat-menu.js').Menu} menu
     * @param {{ confirm: (question: string, action: string, act: () => Promise<any>) => void, direct: (user: string) => void,
     *     left: (model: any) => void, problem: (error: any) => void, say: (text: string) => void,
     *     level: (model: any) => string, changed: () => void }} handlers
     */
    constructor(menu, handlers) {
        this.#menu = menu;
        this.#on = handlers;
        byId('invite').addEventListener('click', () => this.#openInvite());
        byId('invite-cancel').addEventListener('click', () => byId('invite-dialog').close());
        byId('invite-form').addEventListener('submit', (event) => {
            event.preventDefault();
            this.#invite();
        });
        byId('leave-conversation').addEventListener('click', () => this.#leave());
        byId('level').addEventListener('change', (event) => this.#setLevel(event.target.value));
        byId('show-last-seen').addEventListener('change', (event) => this.#showLastSeen(event.target.checked));
    }

    /** @param {import('./chat-room.js').RoomModel | null} model */
    open(model) {
        this.#model = model;
        this.#online = new Set();
        this.#seen = {};
        clearTimeout(this.#timer);
        this.#timer = null;
        this.#shown = '';
        this.update();
        this.load();
    }

    /** Reads who belongs to the conversation, and who of them is online. */
    async load() {
        const model = this.#model;
        if (!model?.isConversation || model.room.state !== 'joined') return;
        try {
            await model.loadParticipants();
            if (model.kind === 'direct') this.#blocked = new Set(await model.client.blocked());
            byId('show-last-seen').checked = await model.client.showLastSeen();
        } catch {
            // The next change asks again; until then the list stays as it is.
        }
        if (model === this.#model) await this.#askOnline();
    }

    /** Asks who is online, now and then again, until another room is in view. */
    async #askOnline() {
        const model = this.#model;
        const users = model.participants.map(({ user }) => user);
        try {
            if (!document.hidden && users.length > 0) {
                const { online, seen } = await model.client.lastSeen(users);
                if (model === this.#model) [this.#online, this.#seen] = [new Set(online), seen];
            }
        } catch {
            // A later round asks again.
        }
        if (model !== this.#model) return;
        // Two rounds may have been under way: one goes on.
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#askOnline(), ONLINE_EVERY);
        this.update();
    }

    update() {
        const model = this.#model;
        const section = byId('conversation');
        section.hidden = !model?.isConversation;
        if (section.hidden) return;
        const isGroup = model.kind === 'group';
        const mayManage = isGroup && (model.role === 'owner' || model.role === 'moderator');
        const level = this.#on.level(model);
        const sorted = [...model.participants].sort((a, b) => RANK[a.role] - RANK[b.role] || collator.compare(a.user, b.user));
        const people = sorted.map(({ user, role }) => [user, role, this.#online.has(user), seenWords(this.#seen[user])]);
        const shown = JSON.stringify([model.name, people, level, mayManage]);
        if (shown === this.#shown) return;
        this.#shown = shown;
        byId('participants-total').textContent = sorted.length > 0 ? String(sorted.length) : '';
        byId('invite').hidden = !mayManage;
        byId('leave-conversation').hidden = !isGroup;
        byId('level').value = level;
        replaceEntries(byId('participants'), sorted.map((one) => this.#entry(one, mayManage)));
    }

    #entry({ user, role }, mayManage) {
        const isMe = user === this.#model.client.user;
        const isOnline = isMe || this.#online.has(user);
        const button = isMe ? null : el('button.ghost.member-more', {
            type: 'button', title: `About ${user}`, 'aria-label': `About ${user}`, 'aria-haspopup': 'menu',
            onclick: (event) => this.#openMenu(user, role, mayManage, event.currentTarget),
        }, icon('more'));
        return el('li.member', {},
            el('span.with-online', {}, avatar(user), isOnline ? el('span.online') : null),
            el('span.member-text', {},
                el('span.member-name', {}, el('bdi', { title: user }, user), isMe ? el('span.you', {}, 'you') : null),
                el('span.devices', {}, [ROLES[role], isOnline ? 'online' : seenWords(this.#seen[user]) ?? 'offline'].filter(Boolean).join(', ')),
            ),
            button,
        );
    }

    async #showLastSeen(isShown) {
        try {
            byId('show-last-seen').checked = await this.#model.client.showLastSeen(isShown);
        } catch (error) {
            byId('show-last-seen').checked = !isShown;
            this.#on.problem(error);
        }
    }

    #openMenu(user, role, mayManage, opener) {
        const { room, client, kind } = this.#model;
        const isOwner = this.#model.role === 'owner';
        const act = (said, ask) => () => this.#do(ask, said);
        this.#menu.open({
            at: opener.getBoundingClientRect(), opener, label: user,
            choices: [
                ...(kind === 'group' ? [{ label: `Write to ${user}`, icon: 'reply', act: () => this.#on.direct(user) }] : []),
                ...(isOwner && role === 'member' ? [{
                    label: 'Make moderator', icon: 'shield', act: act(`${user} is a moderator`, () => room.setRole(user, 'moderator')),
                }] : []),
                ...(isOwner && role === 'moderator' ? [{
                    label: 'Make member', icon: 'shield', act: act(`${user} is a member`, () => room.setRole(user, 'member')),
                }] : []),
                ...(mayManage && role !== 'owner' ? [{
                    label: 'Remove from the group', icon: 'leave', danger: true,
                    act: () => this.#on.confirm(
                        `Remove ${user} from this group?`, 'Remove', act(`${user} was removed`, () => room.remove(user)),
                    ),
                }] : []),
                ...(kind !== 'direct' ? [] : this.#blocked.has(user) ? [{
                    label: 'Unblock', icon: 'check', act: act(`${user} is not blocked any more`, () => client.unblock(user)),
                }] : [{
                    label: 'Block', icon: 'mute', danger: true, act: act(`${user} is blocked`, () => client.block(user)),
                }]),
            ],
        });
    }

    async #do(ask, said) {
        try {
            await ask();
            this.#on.say(said);
            await this.load();
        } catch (error) {
            this.#on.problem(error);
        }
    }

    #leave() {
        const model = this.#model;
        this.#on.confirm('Leave this group? You will not receive its messages any more.', 'Leave', async () => {
            try {
                await model.room.leaveConversation();
                this.#on.left(model);
            } catch (error) {
                this.#on.problem(error);
            }
        });
    }

    #setLevel(level) {
        const model = this.#model;
        model.room.notify(level).then(() => this.#on.changed(), (error) => {
            this.#shown = '';
            this.#on.problem(error);
            this.update();
        });
    }

    #openInvite() {
        byId('invite-users').value = '';
        byId('invite-error').hidden = true;
        byId('invite-dialog').showModal();
    }

    async #invite() {
        const users = namesIn(byId('invite-users').value);
        if (users.length === 0) return;
        try {
            await this.#model.room.invite(users);
            byId('invite-dialog').close();
            this.#on.say(`${plural(users.length, 'person', 'people')} invited`);
            await this.load();
        } catch (error) {
            byId('invite-error').textContent = reasonOf(/** @type {any} */ (error));
            byId('invite-error').hidden = false;
        }
    }
}

/**
 * Names that are separated by commas or lines.
 * @param {string} text
 */
export function namesIn(text) {
    return [...new Set(text.split(/[,\n]/).map((name) => name.trim()).filter((name) => name !== ''))];
}
