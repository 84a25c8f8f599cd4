// The types of martlet.js. Made from its comments by Tests/Web/types/declare.mjs: change those.
/**
 * Reads `<epoch>-<seq>`. Null for anything else, numbers that no node makes (over 2⁵³) included.
 * @param {unknown} text
 * @returns {{ epoch: number, seq: number } | null}
 */
export function parsePosition(text: unknown): {
    epoch: number;
    seq: number;
} | null;
/**
 * Makes a message what it is after a change, in place, and returns it.
 * @param {Message} message
 * @param {Partial<Change>} change
 */
export function applyChange(message: Message, change: Partial<Change>): Message;
/** A new key for a send: 128 random bits. */
export function newKey(): string;
/**
 * Connects to a node and stays connected until `close`.
 * @param {string | URL} [url] `ws://host/ws`, `wss:`, or the `http(s):` address of the node (then `/ws`). In a
 *     browser the default is the page's own node.
 * @param {ConnectOptions} [options]
 * @returns {Client}
 */
export function connect(url?: string | URL | undefined, options?: ConnectOptions | undefined): Client;
/** The close codes of Martlet nodes, and whether to come back by oneself. Other codes: come back. */
export const CLOSE_CODES: Readonly<Record<number, {
    name: string;
    reconnect: boolean;
    why: string;
}>>;
/** Why something failed: what every promise of this module rejects with. */
export class MartletError extends Error {
    /**
     * @param {string} reason The stable name: the node's (`notJoined`, `rateLimited`, `unavailable`,
     *     `outcomeUnknown`, `notStored`, …), a close code's, or one of this module's: `timeout`, `closed`,
     *     `queueFull`, `left`, `aborted`, `badArgument`, `unreadable`, `unreachable`.
     * @param {string} message A sentence for a developer.
     * @param {{ code?: number, retry?: boolean, room?: string, key?: string, since?: string | null,
     *     stored?: boolean, until?: string }} [more]
     */
    constructor(reason: string, message: string, more?: {
        code?: number | undefined;
        retry?: boolean | undefined;
        room?: string | undefined;
        key?: string | undefined;
        since?: string | null | undefined;
        stored?: boolean | undefined;
        until?: string | undefined;
    } | undefined);
    reason: string;
    /** @type {number} The number that goes with the reason. */
    code: number;
    /** Whether the same request may succeed later (a send: with the same key). */
    retry: boolean;
    room: string | undefined;
    /** The key of the send that failed. */
    key: string | undefined;
    /** With the key: what to give to `send` to try again. */
    since: string | undefined;
    /**
     * Of a send: false if it certainly was not stored, undefined if that is not known, true if it was, but (as
     * `notReplicated` says) on fewer replicas than the operator wants.
     */
    stored: boolean | undefined;
    /** Before that time (RFC 3339) the same would be refused again. Of a ban or a mute without it: there is no end. */
    until: string | undefined;
}
/**
 * One session, kept up over any number of connections. Its events: {@link ClientEvents}.
 * @extends {Emitter<ClientEvents>}
 */
export class Client extends Emitter<ClientEvents> {
    /** @param {string | URL | undefined} url @param {ConnectOptions} options */
    constructor(url: string | URL | undefined, options: ConnectOptions);
    /** @type {ClientState} */
    state: ClientState;
    /** The session's, user's and device's name as the node gave them, and the node's own. */
    session: string;
    user: string;
    device: string;
    node: string;
    /** @type {Record<string, number>} What the node allows; see its protocol. */
    limits: Record<string, number>;
    /** @type {Map<string, Room>} The rooms that you are in or on the way into. */
    rooms: Map<string, Room>;
    /** @type {Transport} How this client is connected, or tries to. */
    transport: Transport;
    /**
     * Resolves at the node's first welcome. Rejects after `requestTimeout` (it goes on trying) or when it is closed.
     * @returns {Promise<Client>}
     */
    get ready(): Promise<Client>;
    /**
     * Enters a room and stays in it, over reconnects too, until `leave`. Returns at once: await `room.ready` if you
     * need to know. A room that you are in already is returned as it is.
     * @param {string} name
     * @param {{ after?: string, history?: number }} [options] `after`: the last position that you have, of an earlier
     *     time; what came since is shown, or `reset` is told if the room does not know it. `history`: without `after`, and
     *     after a `reset`, how many recent messages to show first: 0 if you do not say, one page at most.
     * @returns {Room}
     */
    join(name: string, options?: {
        after?: string | undefined;
        history?: number | undefined;
    } | undefined): Room;
    /**
     * Begins, or finds, the conversation of you and one other user: it is one room, whoever begins it. Join its `room`.
     * @param {string} user @returns {Promise<Conversation>}
     */
    direct(user: string): Promise<Conversation>;
    /**
     * Makes a room a group: you are its owner, and `users` are its first members.
     * @param {string} room
     * @param {string[]} [users]
     * @returns {Promise<Conversation>}
     */
    createGroup(room: string, users?: string[] | undefined): Promise<Conversation>;
    /**
     * Nothing comes to you from this user in direct conversations any more.
     * @param {string} user
     */
    block(user: string): Promise<Conversation>;
    /**
     * Takes back a block: what this user says in direct conversations comes to you again.
     * @param {string} user
     */
    unblock(user: string): Promise<Conversation>;
    /**
     * Whom you have blocked.
     * @returns {Promise<string[]>}
     */
    blocked(): Promise<string[]>;
    /**
     * Changes who belongs to a conversation, whether you have joined its room or not. A room object has a method for each
     * operation on its own conversation.
     * @param {'direct' | 'create' | 'invite' | 'leave' | 'remove' | 'role' | 'notify' | 'block' | 'unblock'} operation
     * @param {{ room?: string, user?: string, users?: string[], kind?: ConversationKind, role?: Role,
     *     level?: NotificationLevel }} [fields]
     * @returns {Promise<Conversation>}
     */
    conversation(operation: 'direct' | 'create' | 'invite' | 'leave' | 'remove' | 'role' | 'notify' | 'block' | 'unblock', fields?: {
        room?: string | undefined;
        user?: string | undefined;
        users?: string[] | undefined;
        kind?: ConversationKind | undefined;
        role?: Role | undefined;
        level?: NotificationLevel | undefined;
    } | undefined): Promise<Conversation>;
    /**
     * Your conversations, newest first: one page.
     * @param {{ limit?: number, cursor?: string }} [options] `cursor`: what a page before gave. That of the last page (`more`
     *     is false) reads what has changed since then.
     * @returns {Promise<{ conversations: InboxEntry[], cursor: string | null, more: boolean }>}
     */
    inbox(options?: {
        limit?: number | undefined;
        cursor?: string | undefined;
    } | undefined): Promise<{
        conversations: InboxEntry[];
        cursor: string | null;
        more: boolean;
    }>;
    /**
     * Tells `head` of these rooms from now on, over reconnects too, without joining them.
     * @param {string[]} rooms @returns {Promise<void>}
     */
    watch(rooms: string[]): Promise<void>;
    /**
     * Ends what `watch` began, for these rooms.
     * @param {string[]} rooms @returns {Promise<void>}
     */
    unwatch(rooms: string[]): Promise<void>;
    /**
     * Which of these users have a session on any node.
     * @param {string[]} users @returns {Promise<string[]>}
     */
    online(users: string[]): Promise<string[]>;
    /**
     * The same, and when others were last here (ISO 8601), as far as they let you see it.
     * @param {string[]} users @returns {Promise<{ online: string[], seen: Record<string, string> }>}
     */
    lastSeen(users: string[]): Promise<{
        online: string[];
        seen: Record<string, string>;
    }>;
    /**
     * Lets others see when you were last here, or not any more (at first they may not). Without an argument nothing is changed.
     * @param {boolean} [isShown] @returns {Promise<boolean>} Whether they may.
     */
    showLastSeen(isShown?: boolean | undefined): Promise<boolean>;
    /**
     * Keeps a message for you, with a copy of it.
     * @param {string} room @param {string} position @returns {Promise<boolean>} Whether it is starred now.
     */
    star(room: string, position: string): Promise<boolean>;
    /**
     * Takes a star away.
     * @param {string} room @param {string} position @returns {Promise<boolean>} Whether it is starred now.
     */
    unstar(room: string, position: string): Promise<boolean>;
    /**
     * What you starred, newest first: one page.
     * @param {{ limit?: number, cursor?: string }} [options]
     * @returns {Promise<{ stars: Star[], cursor: string | null }>}
     */
    stars(options?: {
        limit?: number | undefined;
        cursor?: string | undefined;
    } | undefined): Promise<{
        stars: Star[];
        cursor: string | null;
    }>;
    /** Ends the session. What is pending fails as `closed`. */
    close(): void;
    /**
     * Tries at once instead of waiting, or checks the connection. Called by itself when a browser comes online or the
     * page is looked at again; call it when you know better.
     */
    wake(): void;
    #private;
}
/**
 * One room, as this client knows it. Its events: {@link RoomEvents}.
 * @extends {Emitter<RoomEvents>}
 */
export class Room extends Emitter<RoomEvents> {
    /** @type {RoomState} */
    state: RoomState;
    /** @type {string | null} The last position shown; null before the first join. */
    position: string | null;
    /**
     * The users who are here; null when the room is so large that the node tells only the count. Nodes tell who comes and
     * goes, not each of their devices: `roster` reads those.
     * @type {Set<string> | null}
     */
    members: Set<string> | null;
    /** How many users are here: the size of `members`, if they are known. */
    count: number;
    /** @type {Rules} */
    rules: Rules;
    /**
     * What your token lets you do here, as the node said when you joined: `read`, `send`, `signal`, `amend`, `amend-any`,
     * `moderate`. Null where nodes ask for no tokens: then you may do everything.
     * @type {string[] | null}
     */
    rights: string[] | null;
    /** @type {{ until?: string, reason: string } | null} Why you may not send messages here, as far as you were told. */
    mute: {
        until?: string;
        reason: string;
    } | null;
    /** @type {ConversationKind | null} Null: a room without participants. */
    kind: ConversationKind | null;
    /**
     * Up to where each participant has read: user to position. Null if the room has no participants, or so many that nodes
     * do not tell.
     * @type {Map<string, string> | null}
     */
    receipts: Map<string, string> | null;
    /** @type {string | null} Up to where you have read, on whatever device. Null if the room has no participants. */
    lastRead: string | null;
    /** @type {number | null} How many messages you have not read. Null if the room has no participants. */
    unread: number | null;
    name: string;
    /**
     * Resolves when the room is joined the first time. Rejects if it cannot be, or not in time (then it goes on
     * trying).
     * @returns {Promise<Room>}
     */
    get ready(): Promise<Room>;
    /** Sends that have no answer yet. */
    get pending(): number;
    /**
     * Says something. Resolves when it is stored. Kept over lost connections and repeated with the same key, so it is
     * stored once at most. Rejects with a MartletError: `stored` is false if it certainly was not stored, undefined
     * if unknown.
     *
     * With a `key` of your own say `again: false` if it certainly was never used before; and `again: true` with the
     * error's `since` to try again what failed with `stored` undefined.
     *
     * `thread`: the position of the message that this one replies to. `mentions`: users to be told of it.
     * @param {string | { text?: string, data?: any, thread?: string, mentions?: string[], key?: string, again?: boolean,
     *     since?: string }} content
     * @param {{ timeout?: number, signal?: AbortSignal }} [options]
     * @returns {Promise<Sent>}
     */
    send(content: string | {
        text?: string | undefined;
        data?: any;
        thread?: string | undefined;
        mentions?: string[] | undefined;
        key?: string | undefined;
        again?: boolean | undefined;
        since?: string | undefined;
    }, options?: {
        timeout?: number | undefined;
        signal?: AbortSignal | undefined;
    } | undefined): Promise<Sent>;
    /**
     * Reads a page of the room's log, oldest first.
     * @param {{ before?: string, after?: string, around?: string, time?: number, limit?: number }} [query] Positions, or ms
     *     since 1970: around what was said then; none: the newest page. `limit`: 50 if you do not say; more than the node's
     *     `limits.historyPage` is refused. A page of large messages may be shorter: see `older` and `newer`.
     * @returns {Promise<{ messages: Message[], newest: string | null, older: boolean, newer: boolean, first: string | null,
     *     last: string | null }>} `older`, `newer`: whether the log holds more on that side. `first`, `last`: the ends of the
     *     page, from which to read on; they may be changes, which are no messages. Null: there is nothing.
     */
    history(query?: {
        before?: string | undefined;
        after?: string | undefined;
        around?: string | undefined;
        time?: number | undefined;
        limit?: number | undefined;
    } | undefined): Promise<{
        messages: Message[];
        newest: string | null;
        older: boolean;
        newer: boolean;
        first: string | null;
        last: string | null;
    }>;
    /**
     * Who is here with which devices: one page.
     * @param {{ cursor?: string }} [options] What the page before gave.
     * @returns {Promise<{ members: Member[], count: number, cursor: string | null }>}
     */
    roster(options?: {
        cursor?: string | undefined;
    } | undefined): Promise<{
        members: Member[];
        count: number;
        cursor: string | null;
    }>;
    /**
     * Changes the rules of the room or the sanctions of a user, if your token lets you moderate it. When it resolves,
     * nothing that it forbids is stored any more.
     * @param {Operation} operation
     * @param {{ user?: string, value?: 'open' | 'moderators' | 'everybody' | 'participants', time?: number,
     *     reason?: string }} [options] `user`: for sanctions. `value`: for `posting` and `members`. `time`: ms that a sanction lasts (for ever, if it is missing; a kick: a
     *     minute), or the time of `slow` and `unique` (0: none). `reason`: for everybody in the room to see.
     * @returns {Promise<{ version: string, changed: boolean }>} `changed`: false if everything was as wanted before.
     */
    moderate(operation: Operation, options?: {
        user?: string | undefined;
        value?: "open" | "moderators" | "participants" | "everybody" | undefined;
        time?: number | undefined;
        reason?: string | undefined;
    } | undefined): Promise<{
        version: string;
        changed: boolean;
    }>;
    /**
     * Replaces the text (and data) of a message. Resolves when it is stored.
     * @param {string} position Of the message.
     * @param {string | { text?: string, data?: any }} content
     * @param {{ timeout?: number, key?: string }} [options] `key`: by which a repetition is known; one is made up otherwise.
     * @returns {Promise<Amended>}
     */
    edit(position: string, content: string | {
        text?: string | undefined;
        data?: any;
    }, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Erases a message. Its place stays, with who erased it.
     * @param {string} position @param {{ timeout?: number, key?: string }} [options] @returns {Promise<Amended>}
     */
    delete(position: string, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Gives a reaction to a message, once for each emoji.
     * @param {string} position @param {string} reaction An emoji. @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    react(position: string, reaction: string, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Takes your reaction back.
     * @param {string} position @param {string} reaction @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    unreact(position: string, reaction: string, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Pins a message.
     * @param {string} position
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    pin(position: string, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Unpins a message.
     * @param {string} position
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    unpin(position: string, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Tells the room's moderators of a message, and nobody else.
     * @param {string} position @param {string} [reason] At most 200 bytes.
     * @param {{ timeout?: number, key?: string }} [options]
     * @returns {Promise<Amended>}
     */
    report(position: string, reason?: string | undefined, options?: {
        timeout?: number | undefined;
        key?: string | undefined;
    } | undefined): Promise<Amended>;
    /**
     * Erases many messages, if your token lets you moderate the room: those of a `user`, or those `from` one position `to`
     * another one. Resolves when all of it is done.
     * @param {{ user?: string, from?: string, to?: string }} what @returns {Promise<{ erased: number }>}
     */
    erase({ user, from, to }: {
        user?: string;
        from?: string;
        to?: string;
    }): Promise<{
        erased: number;
    }>;
    /**
     * Who belongs to the conversation, with roles and read positions, whether they are here or not.
     * @returns {Promise<{ kind: ConversationKind | null, participants: Participant[] }>}
     */
    participants(): Promise<{
        kind: ConversationKind | null;
        participants: Participant[];
    }>;
    /**
     * Adds members to the conversation.
     * @param {string[]} users @returns {Promise<Conversation>}
     */
    invite(users: string[]): Promise<Conversation>;
    /**
     * Ends your part in the conversation; `leave` only ends this session's stay.
     * @returns {Promise<Conversation>}
     */
    leaveConversation(): Promise<Conversation>;
    /**
     * Takes somebody out of the conversation.
     * @param {string} user @returns {Promise<Conversation>}
     */
    remove(user: string): Promise<Conversation>;
    /**
     * Gives a participant another role.
     * @param {string} user
     * @param {Role} role @returns {Promise<Conversation>}
     */
    setRole(user: string, role: Role): Promise<Conversation>;
    /**
     * What you want to be told of the conversation.
     * @param {NotificationLevel} level @returns {Promise<Conversation>}
     */
    notify(level: NotificationLevel): Promise<Conversation>;
    /**
     * Says that you have read up to there. Goes forwards only; told at most once a second, and again after a lost
     * connection.
     * @param {string | null} [position] The newest shown, if you do not say.
     */
    read(position?: string | null | undefined): void;
    /**
     * The participants but you who have read up to there or further, as far as nodes tell.
     * @param {string} position @returns {string[]}
     */
    readBy(position: string): string[];
    /**
     * Something for the moment (`typing`): to those who are here now, stored nowhere. False if it could not be said
     * now; over an event stream it never can. What the node refuses is told by the client's `error`.
     * @param {string} name
     * @param {any} [data]
     */
    signal(name: string, data?: any): boolean;
    /** Leaves for good; what is pending fails as `left`. Resolves when the node knows, or the connection has gone. */
    leave(): Promise<void>;
    #private;
}
/**
 * The part of a WebSocket that this module needs, over node:net, for Node before 22, which brings no WebSocket class.
 * RFC 6455: masked frames (5.3), fragments (5.4), control frames (5.5), the closing handshake (7.1).
 */
export class NodeSocket {
    /** @param {string} url @param {string[]} protocols */
    constructor(url: string, protocols: string[]);
    /** @type {((event: { data: string }) => void) | null} */
    onmessage: ((event: {
        data: string;
    }) => void) | null;
    /** @type {((event: { code: number, reason: string, status?: number, refusal?: any }) => void) | null} */
    onclose: ((event: {
        code: number;
        reason: string;
        status?: number;
        refusal?: any;
    }) => void) | null;
    /** @type {(() => void) | null} Never called: `onclose` tells all. */
    onerror: (() => void) | null;
    send(text: any): void;
    close(code?: number): void;
    #private;
}
export type ConnectOptions = {
    /**
     * Who you are, where the node takes people's word for it.
     */
    user?: string | undefined;
    /**
     * Which of your devices this is; others see it in the roster. The node makes one up
     * otherwise.
     */
    device?: string | undefined;
    /**
     * Proof of who you are. A function is asked at each
     * connection, and again before the token expires: then the session goes on with the new one.
     */
    token?: string | (() => string | Promise<string>) | undefined;
    /**
     * More query parameters for the node's URL, for instance what a proxy
     * hashes on.
     */
    query?: Record<string, string> | undefined;
    /**
     * Ms after which a send that has no answer fails. Default 60,000.
     */
    sendTimeout?: number | undefined;
    /**
     * Ms after which other requests fail, `ready` too. Default 20,000.
     */
    requestTimeout?: number | undefined;
    /**
     * Ms that a connection may take until the node's welcome. Default 10,000.
     */
    connectTimeout?: number | undefined;
    /**
     * Sends of one room that may wait; more fail at once as `queueFull`. Default 500.
     */
    maxUnsent?: number | undefined;
    /**
     * Sends of one room that may be unanswered at a time. With 1 the order of your own
     * messages holds even when the node refuses one of them for a while. Default 32.
     */
    window?: number | undefined;
    /**
     * Ms: the n-th wait is random below min(cap, base × 2ⁿ).
     * Default 500 and 20,000.
     */
    backoff?: {
        base?: number | undefined;
        cap?: number | undefined;
    } | undefined;
    /**
     * How to connect: by a WebSocket, or by an event stream and HTTP
     * requests. With both, which is the default, a stream is used when WebSockets do not come about, and the client goes back
     * to a WebSocket when one does.
     */
    transports?: ("websocket" | "events")[] | undefined;
    /**
     * Attempts in a row without a welcome after which the other way is tried. Default 3.
     */
    fallbackAfter?: number | undefined;
    /**
     * A WebSocket class to use instead of the platform's.
     */
    WebSocket?: any;
    /**
     * A function to use instead of the platform's `fetch`; needed for event streams if there is a
     * WebSocket class too.
     */
    fetch?: any;
    /**
     * For tests.
     */
    clock?: Clock | undefined;
    /**
     * For tests: 0 ≤ random() < 1.
     */
    random?: (() => number) | undefined;
};
export type Clock = {
    /**
     * Ms, never going back.
     */
    now: () => number;
    setTimeout: (action: () => void, ms: number) => any;
    clearTimeout: (timer: any) => void;
    /**
     * Ms since 1970; `Date.now` otherwise.
     */
    date?: (() => number) | undefined;
};
export type Message = {
    room: string;
    /**
     * `<epoch>-<seq>`: its place in the room's log.
     */
    position: string;
    /**
     * The second half of the position: goes up by exactly 1 over the room's life.
     */
    seq: number;
    /**
     * Who said it.
     */
    user: string;
    /**
     * When: RFC 3339, UTC, milliseconds.
     */
    at: string;
    text?: string | undefined;
    data?: any;
    /**
     * The sender's key, if you are the sender.
     */
    key?: string | undefined;
    /**
     * Whether your user said it, on whatever device.
     */
    mine: boolean;
    /**
     * Whether it was said while this client was in the room. False of what `history` and `after`
     * asked for, of what was missed while the connection was away, and of what `room.history` reads.
     */
    live: boolean;
    /**
     * The position of the message that it replies to.
     */
    thread?: string | undefined;
    /**
     * The users whom its sender named.
     */
    mentions?: string[] | undefined;
    /**
     * `version`: how often it was edited.
     */
    edited?: {
        version: number;
        by: string;
        at: string;
    } | undefined;
    /**
     * Then it has neither text nor data.
     */
    deleted?: {
        by: string;
        at: string;
    } | undefined;
    /**
     * By emoji.
     */
    reactions?: Record<string, Reaction> | undefined;
    pinned?: {
        by: string;
        at: string;
    } | undefined;
    /**
     * How many messages have it as their `thread`.
     */
    replies?: number | undefined;
};
/**
 * `users`: the first of those who reacted, not always all.
 */
export type Reaction = {
    count: number;
    users: string[];
};
/**
 * What somebody did about an earlier message, and what the message is after it.
 */
export type Change = {
    room: string;
    /**
     * The place of the change itself in the room's log.
     */
    position: string;
    /**
     * The position of the message.
     */
    of: string;
    /**
     * `edit`, `delete`, `react`, `unreact`, `pin`, `unpin`, or what newer nodes add.
     */
    operation: string;
    /**
     * Who did it.
     */
    user: string;
    at: string;
    /**
     * Of an edited message.
     */
    text?: string | undefined;
    data?: any;
    edited?: Message['edited'];
    deleted?: Message['deleted'];
    /**
     * The reaction that was given or taken back, by its emoji; a `count` of 0 if
     * nobody reacts so any more.
     */
    reactions?: Message['reactions'];
    pinned?: Message['pinned'] | null;
    /**
     * The message as it is now: the same object that was passed on before. Null if the room
     * object does not know it any more; then give what you have of it to `applyChange`.
     */
    message: Message | null;
};
/**
 * `position`: of the change. `unchanged`: the
 *     message was so already, and nothing was stored.
 */
export type Amended = {
    position: string;
    repeated: boolean;
    unchanged: boolean;
};
export type ConversationKind = 'direct' | 'group';
export type Role = 'owner' | 'moderator' | 'member';
export type NotificationLevel = 'all' | 'mentions' | 'none';
export type Participant = {
    user: string;
    role: Role;
    /**
     * RFC 3339.
     */
    since?: string | undefined;
    /**
     * One's own only.
     */
    notify?: NotificationLevel | undefined;
    /**
     * Up to where this participant has read.
     */
    read?: string | null | undefined;
};
/**
 * `changed`: false if it was so before.
 */
export type Conversation = {
    room: string;
    kind: ConversationKind;
    changed: boolean;
};
/**
 * One of your conversations.
 */
export type InboxEntry = {
    room: string;
    kind: ConversationKind;
    /**
     * Of a direct conversation: the other one.
     */
    users: string[];
    /**
     * Yours.
     */
    role: Role;
    notify: NotificationLevel;
    /**
     * The newest message.
     */
    last: {
        position: string;
        user: string;
        at: string;
        text?: string;
    } | null;
    unread: number;
    /**
     * Up to where you have read.
     */
    read: string | null;
};
/**
 * What is newest in a room that you watch.
 */
export type Head = {
    room: string;
    /**
     * Not of a room in which nothing was said.
     */
    position?: string | undefined;
    user?: string | undefined;
    at?: string | undefined;
    /**
     * Its beginning.
     */
    text?: string | undefined;
    unread?: number | undefined;
};
/**
 * Something for you, on whatever device and in whatever room.
 */
export type Notice = {
    /**
     * `read`: you have read on another device.
     */
    kind: 'read' | 'invited' | 'removed' | 'mentioned';
    room: string;
    position?: string | undefined;
    unread?: number | undefined;
    by?: string | undefined;
};
/**
 * A message that you starred, as it was then: it is kept when the room's log no longer holds it.
 */
export type Star = {
    room: string;
    position: string;
    user: string;
    at: string;
    text?: string | undefined;
    data?: any;
};
/**
 * `repeated`: an earlier try had stored it.
 */
export type Sent = {
    position: string;
    at: string;
    repeated: boolean;
};
export type Member = {
    user: string;
    devices: string[];
};
/**
 * Messages that the room's log no longer holds: those after `after` and before `before`.
 */
export type Gap = {
    after: string;
    before: string;
    /**
     * How many.
     */
    missing: number;
};
/**
 * All that you have of the room is void; it goes on at `position`.
 */
export type Reset = {
    position: string;
    reason: string;
};
/**
 * `role`: the new one, unless left.
 */
export type ParticipantChange = {
    user: string;
    role?: Role;
    joined?: true;
    left?: true;
};
/**
 * How a room works for everybody but its moderators.
 */
export type Rules = {
    /**
     * Ms between two messages of a user; 0: none.
     */
    slowMode: number;
    /**
     * Ms in which a user may not repeat a message; 0: none.
     */
    uniqueFor: number;
    /**
     * Who may send messages.
     */
    posting: 'open' | 'moderators';
    /**
     * Whether only moderators may send messages for now.
     */
    frozen: boolean;
    /**
     * Only participants may be in the room. Missing: everybody may.
     */
    members?: "participants" | undefined;
};
/**
 * What a moderator imposed on a user of the room, or lifted.
 */
export type Sanction = {
    kind: 'ban' | 'mute' | 'unban' | 'unmute';
    user: string;
    /**
     * RFC 3339; without it there is no end.
     */
    until?: string | undefined;
    /**
     * Not of what was lifted.
     */
    reason?: string | undefined;
};
export type Operation = 'ban' | 'kick' | 'mute' | 'unban' | 'unmute' | 'slow' | 'unique' | 'posting' | 'freeze' | 'thaw' | 'members';
export type Joined = {
    /**
     * The room's newest message.
     */
    position: string;
    /**
     * Whether it is this room object's first time, not a return after a lost connection.
     */
    first: boolean;
    /**
     * Whether nothing is missing since the last message shown.
     */
    resumed: boolean;
    /**
     * How many messages came meanwhile and are shown now (those of the first page).
     */
    missed: number;
    /**
     * How many earlier messages are shown now, because `history` asked for them: never more than
     * the node's `limits.historyPage`.
     */
    recent: number;
    gap?: Gap | undefined;
    reset?: Reset | undefined;
    /**
     * Members.
     */
    count: number;
};
/**
 * `unsure`: there is a connection, but the
 *     node has not answered for some seconds; it was asked, and is left if it does not answer that either. `offline`: the
 *     client will try again after a wait. `closed`: it will not.
 */
export type ClientState = 'connecting' | 'online' | 'unsure' | 'offline' | 'closed';
/**
 * `removed`: a moderator banned you
 *     for a while; the room is joined again when that is over.
 */
export type RoomState = 'joining' | 'joined' | 'offline' | 'removed' | 'left' | 'failed';
export type Transport = 'websocket' | 'events';
export type ClientEvents = {
    /**
     *     `delay`: ms until the next try.
     */
    state: {
        state: ClientState;
        attempt: number;
        delay: number;
        error: MartletError | null;
        transport: Transport;
    };
    /**
     * The node's frame.
     */
    welcome: any;
    /**
     * The node leaves; this client moves after so many ms.
     */
    draining: {
        reconnectAfter: number;
    };
    /**
     * What no promise tells of: a refused signal, a frame that cannot be read.
     */
    error: MartletError;
    /**
     * It will not come back: `close` was called, or the node does not want this client.
     */
    closed: MartletError;
    /**
     * The newest of a room that is watched, at most once a second.
     */
    head: Head;
    notice: Notice;
};
export type RoomEvents = {
    /**
     * At each return too.
     */
    joined: Joined;
    message: Message;
    gap: Gap;
    reset: Reset;
    /**
     * How `members` changed (of a large room only
     * `count` did), after each `joined` too.
     */
    presence: {
        joined: string[];
        left: string[];
        count: number;
    };
    signal: {
        user: string;
        name: string;
        data?: any;
    };
    /**
     * In its place among the messages.
     */
    changed: Change;
    /**
     * Whose read positions have changed: user to position.
     */
    receipts: {
        reads: Record<string, string>;
    };
    /**
     * Who belongs to the room has changed, or in
     * which role. `hasMore`: in more than is told.
     */
    participants: {
        changes: ParticipantChange[];
        hasMore: boolean;
    };
    /**
     * The room's rules have changed.
     */
    rules: Rules;
    sanction: Sanction;
    /**
     * You may not be here before its `until`; then the room is joined again.
     */
    removed: MartletError;
    state: RoomState;
    /**
     * It is over.
     */
    failed: MartletError;
};
/**
 * What happens is told by events. A listener's own error is thrown on a stack of its own and disturbs nothing here.
 * @template Events
 */
declare class Emitter<Events> {
    /**
     * Calls `listener` at each event of that type, until the returned function is called.
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener @returns {() => void}
     */
    on<Type extends keyof Events>(type: Type, listener: (event: Events[Type]) => void): () => void;
    /**
     * The same, for the next event only.
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener @returns {() => void}
     */
    once<Type_1 extends keyof Events>(type: Type_1, listener: (event: Events[Type_1]) => void): () => void;
    /**
     * @template {keyof Events} Type
     * @param {Type} type
     * @param {(event: Events[Type]) => void} listener
     */
    off<Type_2 extends keyof Events>(type: Type_2, listener: (event: Events[Type_2]) => void): void;
    #private;
}
export {};
