// A document of straw: as much of one as the page's parts need to be made and looked at without a browser. Elements are found
// by their id, and are made when they are first asked for.

class StrawElement {
    children = [];
    parent = null;
    dataset = {};
    style = {};
    hidden = false;
    value = '';
    scrollHeight = 0;
    selectionStart = 0;
    className = '';
    #text = '';
    #attributes = new Map();
    #listeners = new Map();

    constructor(document, tag) {
        this.ownerDocument = document;
        this.tag = tag;
    }

    get textContent() { return this.#text + this.children.map((child) => child.textContent ?? child).join(''); }
    set textContent(text) {
        this.#text = text;
        this.children = [];
    }

    setAttribute(name, value) { this.#attributes.set(name, String(value)); }
    getAttribute(name) { return this.#attributes.get(name) ?? null; }
    removeAttribute(name) { this.#attributes.delete(name); }
    append(...children) {
        for (const child of children) if (typeof child === 'object') child.parent = this;
        this.children.push(...children);
    }
    replaceChildren(...children) {
        const { ownerDocument } = this;
        if (this.contains(ownerDocument.activeElement)) ownerDocument.activeElement = ownerDocument.body;
        this.#text = '';
        this.children = [];
        this.append(...children);
    }
    contains(element) {
        for (let one = element; one; one = one.parent) if (one === this) return true;
        return false;
    }
    closest() { return null; }
    querySelectorAll(tag) {
        return this.children.flatMap((child) => (child.tag ? [...(child.tag === tag ? [child] : []), ...child.querySelectorAll(tag)] : []));
    }
    focus() { this.ownerDocument.activeElement = this; }
    showModal() { this.open = true; }
    close() { this.open = false; }
    addEventListener(type, listener) { this.#listeners.set(type, [...this.#listeners.get(type) ?? [], listener]); }
    removeEventListener() {}

    /** Something happens to it. Returns the event. */
    emit(type, fields = {}) {
        const event = {
            type, target: this, currentTarget: this, prevented: false, preventDefault() { this.prevented = true; }, stopPropagation() {}, ...fields,
        };
        for (const listener of this.#listeners.get(type) ?? []) listener(event);
        return event;
    }
}

/** Makes the globals of a page. Returns its document. */
export function openPage() {
    const elements = new Map();
    const document = {
        hidden: false,
        body: null,
        activeElement: null,
        createElement: (tag) => new StrawElement(document, tag),
        createElementNS: (_, tag) => new StrawElement(document, tag),
        getElementById(id) {
            if (!elements.has(id)) elements.set(id, new StrawElement(document, 'div'));
            return elements.get(id);
        },
        addEventListener() {},
        removeEventListener() {},
    };
    document.body = document.activeElement = document.createElement('body');
    const stored = new Map();
    Object.assign(globalThis, {
        document,
        localStorage: { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => { stored.set(key, value); } },
        matchMedia: () => ({ matches: false }),
        requestAnimationFrame: (action) => setTimeout(action, 0),
    });
    return document;
}
