/**
 * Small parts of the chat page: elements, icons, avatars, times, text with links, and what is said to a screen
 * reader. Colours of names: chat-colours.js.
 */

import { tint } from './chat-colours.js';

/**
 * @param {string} id
 * @returns {any} The element of that name, whatever its kind.
 */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. A property that the element does not have becomes an attribute; null and false leave it out.
 * @param {string} tag `div.bubble.mine`: a tag with classes.
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined | false)} children
 */
export function el(tag, properties = {}, ...children) {
    const [name, ...classes] = tag.split('.');
    const element = document.createElement(name);
    if (classes.length > 0) element.className = classes.join(' ');
    for (const [key, value] of Object.entries(properties)) {
        if (value === null || value === undefined || value === false) continue;
        if (key in element && key !== 'role') element[key] = value;
        else element.setAttribute(key, value === true ? '' : value);
    }
    for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
    return element;
}

/** @param {string} name */
export function icon(name, extra = '') {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
    svg.setAttribute('class', `icon ${extra}`);
    svg.setAttribute('aria-hidden', 'true');
    use.setAttribute('href', `#i-${name}`);
    svg.append(use);
    return svg;
}

const graphemes = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: 'grapheme' }) : null;

/** The first letter of a name as a person sees it: a whole Hangul syllable, a whole emoji. */
export function initial(name) {
    const text = name.replace(/^[\s#@_.~-]+/u, '') || name;
    const first = graphemes ? graphemes.segment(text)[Symbol.iterator]().next().value?.segment : [...text][0];
    return (first ?? '?').toLocaleUpperCase();
}

export function avatar(name, extra = '') {
    return el(`span.avatar.tinted${extra}`, { 'aria-hidden': 'true', style: tint(name) }, initial(name));
}

// (`hour12: false` would call midnight 24:00 in some languages.)
const clockFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const shortFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const yearFormat = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });

export const clockTime = (date) => clockFormat.format(date);
export const fullTime = (date) => fullFormat.format(date);
export const shortDay = (date) => shortFormat.format(date);
/** One number per local day. */
export const dayOf = (date) => date.getFullYear() * 400 + date.getMonth() * 32 + date.getDate();

/**
 * @param {Date} date
 * @param {Date} [now]
 */
export function dayName(date, now = new Date()) {
    const yesterday = new Date(now);
    yesterday.setDate(now.getDate() - 1);
    if (dayOf(date) === dayOf(now)) return 'Today';
    if (dayOf(date) === dayOf(yesterday)) return 'Yesterday';
    return (date.getFullYear() === now.getFullYear() ? dayFormat : yearFormat).format(date);
}

/** 1,234 → "1,234"; more than 99 unread are as bad as 99. */
export const count = (number) => number.toLocaleString();
export const badge = (number) => (number > 99 ? '99+' : String(number));
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** What went wrong, for whoever sees what an error is about: without "send to lobby: ". */
export function reasonOf({ message, room }) {
    const request = /^(?:send to|join of|history of|roster of|moderate of|amend of|participants of|read of|star in|unstar in|the room) /;
    const subject = `${request.exec(message)?.[0]}${room}: `;
    if (message.startsWith(subject)) return message.slice(subject.length);
    // Requests that belong to no room that was joined.
    return message.replace(/^(?:conversation \w+|inbox|stars|online|watch): /, '');
}

/** A duration for people: "12 s", "3 min", "2 h". */
export function span(ms) {
    const seconds = Math.round(ms / 1_000);
    if (seconds < 90) return `${Math.max(1, seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/**
 * When somebody was last here, for people; null if that is not known.
 * @param {string | undefined} at
 * @param {Date} [now]
 */
export function seenWords(at, now = new Date()) {
    const date = new Date(at ?? '');
    if (Number.isNaN(date.getTime())) return null;
    const ms = Math.max(0, now.getTime() - date.getTime());
    if (ms < 3_600_000) return `last seen ${span(ms)} ago`;
    return dayOf(date) === dayOf(now) ? `last seen at ${clockTime(date)}` : `last seen ${shortDay(date)}`;
}

const LINK = /https?:\/\/[^\s<>"'`\u3000-\u303f]+[^\s<>"'`.,:;!?)\]}\u3000-\u303f]/g;

/** Text, with what looks like a web address as a link. Never more than that: what others wrote is only ever text. */
function withLinks(text) {
    const parts = [];
    let from = 0;
    for (const match of text.matchAll(LINK)) {
        parts.push(text.slice(from, match.index));
        parts.push(el('a', { href: match[0], target: '_blank', rel: 'noopener noreferrer nofollow' }, match[0]));
        from = match.index + match[0].length;
    }
    parts.push(text.slice(from));
    return parts.filter((part) => part !== '');
}

/**
 * The same, with the names of people who were mentioned standing out.
 * @param {string} text @param {string[]} names @param {string} me
 */
export function withMentions(text, names, me) {
    const sorted = [...names].sort((a, b) => b.length - a.length);
    const parts = withLinks(text);
    if (sorted.length === 0) return parts;
    const pattern = new RegExp(sorted.map((name) => `@${name.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')}`).join('|'), 'g');
    return parts.flatMap((part) => {
        if (typeof part !== 'string') return [part];
        const pieces = [];
        let from = 0;
        for (const match of part.matchAll(pattern)) {
            const isMe = match[0].slice(1) === me;
            pieces.push(part.slice(from, match.index), el(`span.at${isMe ? '.self' : ''}`, {}, match[0]));
            from = match.index + match[0].length;
        }
        return [...pieces, part.slice(from)].filter((piece) => piece !== '');
    });
}

/**
 * Shows other entries in a list. A button that had the focus was made anew: the one of the same name has it again.
 * @param {HTMLElement} list @param {HTMLElement[]} entries
 */
export function replaceEntries(list, entries) {
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    list.replaceChildren(...entries);
    if (!focused) return;
    const name = focused.getAttribute('aria-label');
    const buttons = [...list.querySelectorAll('button')];
    (buttons.find((button) => button.getAttribute('aria-label') === name) ?? buttons[0])?.focus({ preventScroll: true });
}

/** Whether a text is one to three emoji and nothing else: such a text is shown large. */
export function isEmojiOnly(text) {
    if (text.length > 40 || !/\p{Extended_Pictographic}|\p{Regional_Indicator}/u.test(text)) return false;
    const parts = graphemes ? [...graphemes.segment(text.trim())].map((part) => part.segment) : [...text.trim()];
    const emoji = /^(\p{Extended_Pictographic}|\p{Regional_Indicator}{2})/u;
    return parts.length <= 3 && parts.every((part) => emoji.test(part));
}

/**
 * Why a node would not take a name; null if it would. A browser is not told why a handshake was refused, so the page asks
 * this first.
 */
export function nameProblem(noun, text, most) {
    const bytes = new TextEncoder().encode(text).length;
    if (text.trim() === '') return `${noun} is empty.`;
    if (bytes > most) return `${noun} is too long: ${bytes} bytes, ${most} are allowed.`;
    if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(text)) return `${noun} holds a control character.`;
    return noun.includes('room') && /[{}]/.test(text) ? `${noun} may not hold { or }.` : null;
}

/**
 * What a person calls a room: a direct conversation is called by the other one.
 * @param {string} name @param {string} me @param {string[]} [users] The other ones, if they are known.
 */
export function titleOf(name, me, users = undefined) {
    const isDirect = name.startsWith('dm:');
    if (isDirect && users?.length === 1) return users[0];
    const parts = isDirect ? name.slice(3).split(':') : [];
    if (parts.length !== 2) return name;
    try {
        const names = parts.map(decodeURIComponent);
        return names.find((one) => one !== me) ?? me;
    } catch {
        return name;
    }
}

/** A word for this device, for others to see. */
export function deviceName() {
    const agent = navigator.userAgent;
    if (/iPhone|Android.*Mobile/.test(agent)) return 'phone';
    if (/iPad|Android/.test(agent)) return 'tablet';
    if (/Mac OS/.test(agent)) return 'Mac';
    if (/Windows/.test(agent)) return 'Windows PC';
    return /CrOS/.test(agent) ? 'Chromebook' : 'Linux PC';
}

/** Tells a screen reader what happens, at most once in so many ms, so that a busy room does not flood it. */
export class Announcer {
    #element;
    #waiting = [];
    #timer = null;

    constructor(element, pause = 2_500) {
        this.#element = element;
        this.pause = pause;
    }

    /**
     * @param {string} text
     * @param {string} [kind] What is counted when there is too much to say.
     */
    say(text, kind = '') {
        if (this.#waiting.length < 500) this.#waiting.push({ text, kind });
        this.#timer ??= setTimeout(() => this.#speak(), this.#element.textContent === '' ? 150 : this.pause);
    }

    #speak() {
        const waiting = this.#waiting;
        this.#waiting = [];
        this.#timer = setTimeout(() => {
            this.#timer = null;
            if (this.#waiting.length > 0) this.#speak();
            else this.#element.textContent = '';
        }, this.pause);
        const messages = waiting.filter((one) => one.kind === 'message');
        const others = waiting.filter((one) => one.kind !== 'message');
        const told = messages.length > 3 ? [{ text: `${messages.length} new messages` }] : messages;
        this.#element.textContent = [...others.slice(-3), ...told].map((one) => one.text).join('. ');
    }
}

/** Keeps small things in the browser; a browser that forbids it forgets them. */
export const memory = {
    read(key) {
        try {
            return JSON.parse(localStorage.getItem(`martlet.${key}`)) ?? {};
        } catch {
            return {};
        }
    },
    write(key, value) {
        try {
            localStorage.setItem(`martlet.${key}`, JSON.stringify(value));
        } catch { /* Private mode, or full. */ }
    },
};

/**
 * The position after this one: `before` it is this one too.
 * @param {string} position
 */
export function nextOf(position) {
    const [epoch, seq] = position.split('-');
    return `${epoch}-${Number(seq) + 1}`;
}

/** @param {string} position */
export function seqOf(position) {
    return Number(position.split('-')[1] ?? 0);
}
