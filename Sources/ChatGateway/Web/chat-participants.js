/** Who belongs to a conversation, as far as the page has read it, and what nodes tell of it since. */

export class Participants {
    /** @type {import('./martlet.js').Participant[]} Empty for rooms that are no conversations. */
    list = [];
    #room;
    #on;

    /**
     * @param {import('./martlet.js').Room} room
     * @param {{ changed: () => void, say: (text: string) => void }} handlers `say`: what to show of a change.
     */
    constructor(room, handlers) {
        this.#room = room;
        this.#on = handlers;
        room.on('participants', (news) => this.#changed(news));
    }

    /** Reads all of them. */
    async load() {
        this.list = (await this.#room.participants()).participants;
        this.#on.changed();
    }

    #changed({ changes, hasMore }) {
        // Of a direct conversation there is nothing to tell: its two users are always the same.
        const text = this.#room.kind === 'direct' ? '' : participantsText(changes);
        if (text !== '') this.#on.say(text);
        this.list = withChanges(this.list, changes);
        this.#on.changed();
        // Who opens the conversation reads all of them again, so it does no harm if this fails.
        if (hasMore) this.load().catch(() => {});
    }
}

/**
 * @param {import('./martlet.js').Participant[]} list
 * @param {import('./martlet.js').ParticipantChange[]} changes
 */
export function withChanges(list, changes) {
    const all = new Map(list.map((one) => [one.user, one]));
    for (const { user, role } of changes) {
        if (role === undefined) all.delete(user);
        else all.set(user, { since: new Date().toISOString(), ...all.get(user), user, role });
    }
    return [...all.values()];
}

/**
 * What everybody in the conversation is shown of changes.
 * @param {import('./martlet.js').ParticipantChange[]} changes
 */
export function participantsText(changes) {
    const came = changes.filter(({ joined }) => joined);
    const left = changes.filter(({ left }) => left);
    const others = changes.filter((change) => !came.includes(change) && !left.includes(change));
    return [
        came.length === 0 ? '' : `${names(came)} joined the group`,
        ...others.map(({ user, role }) => `${user} is ${role} now`),
        left.length === 0 ? '' : `${names(left)} left the group`,
    ].filter((text) => text !== '').join(', ');
}

function names(changes) {
    const users = changes.map(({ user }) => user);
    if (users.length === 1) return users[0];
    const shown = users.slice(0, 5);
    const rest = users.length - shown.length;
    return rest > 0 ? `${shown.join(', ')} and ${rest} more` : `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}`;
}
