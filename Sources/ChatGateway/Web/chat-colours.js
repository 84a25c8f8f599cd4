/**
 * The colours of names: the same name has the same ones everywhere, and two names hardly ever look alike. Hues are spread by
 * the golden ratio, in three strengths, in OKLCH, where equal steps look equally large (Björn Ottosson: "A perceptual color
 * space for image processing", 2020). The lightness is what the contrast asks for (WCAG 2.2).
 */

/** Chroma, and the contrast with white text and with a dark bubble. */
const STRENGTHS = [[0.19, 4.7, 7.5], [0.065, 5.6, 9.5], [0.13, 9, 5.2]];
/** The dark theme's bubble. */
const DARK = [0x1e, 0x24, 0x30];
const WHITE = [255, 255, 255];
const GOLDEN = 0.618_033_988_749_895;
/** @type {Map<string, string>} */
const known = new Map();

/**
 * The custom properties of a name's colours, as an element's style.
 * @param {string} name
 */
export function tint(name) {
    let style = known.get(name);
    if (style === undefined) {
        const { back, dark } = colours(name);
        style = `--tint: rgb(${back.join(' ')}); --tint-dark: rgb(${dark.join(' ')})`;
        if (known.size >= 2_000) known.clear();
        known.set(name, style);
    }
    return style;
}

/** What white text stands on, which is also the name's colour on a light bubble; and its colour on a dark one. */
export function colours(name) {
    const hash = hashed(name);
    const hue = ((hash * GOLDEN) % 1) * 2 * Math.PI;
    const [chroma, onWhite, onDark] = STRENGTHS[hash % STRENGTHS.length];
    return { back: darkest(hue, chroma, onWhite), dark: lightest(hue, Math.min(chroma, 0.14), onDark) };
}

/** The contrast of two colours, from 1 to 21. */
export function contrast(one, other) {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}

/** FNV-1a, and then mixed so that all bits of it depend on all bits of the name (MurmurHash3's end). */
function hashed(name) {
    let hash = 2_166_136_261;
    for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 16_777_619);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
}

/** The lightest colour of that hue on which white text has the contrast. */
function darkest(hue, chroma, wanted) {
    return search((light) => contrast(colour(light, chroma, hue), WHITE) >= wanted, hue, chroma, 0);
}

/** The darkest colour of that hue that has the contrast on a dark bubble. */
function lightest(hue, chroma, wanted) {
    return search((light) => contrast(colour(light, chroma, hue), DARK) >= wanted, hue, chroma, 1);
}

/** Halves the way from a lightness that is right to one that is not. */
function search(isRight, hue, chroma, right) {
    let wrong = 1 - right;
    for (let step = 0; step < 12; step += 1) {
        const middle = (right + wrong) / 2;
        if (isRight(middle)) right = middle;
        else wrong = middle;
    }
    return colour(right, chroma, hue);
}

/** OKLCH as sRGB; of a colour that a screen cannot show the strongest one that it can. */
function colour(light, chroma, hue) {
    for (let strength = chroma; ; strength *= 0.94) {
        const linear = toLinear(light, strength * Math.cos(hue), strength * Math.sin(hue));
        if (strength < 0.004 || linear.every((part) => part > -0.001 && part < 1.001)) {
            return linear.map((part) => Math.round(255 * encoded(Math.min(1, Math.max(0, part)))));
        }
    }
}

function toLinear(light, a, b) {
    const long = (light + 0.396_337_777_4 * a + 0.215_803_757_3 * b) ** 3;
    const medium = (light - 0.105_561_345_8 * a - 0.063_854_172_8 * b) ** 3;
    const short = (light - 0.089_484_177_5 * a - 1.291_485_548 * b) ** 3;
    return [
        4.076_741_662_1 * long - 3.307_711_591_3 * medium + 0.230_969_929_2 * short,
        -1.268_438_004_6 * long + 2.609_757_401_1 * medium - 0.341_319_396_5 * short,
        -0.004_196_086_3 * long - 0.703_418_614_7 * medium + 1.707_614_701 * short,
    ];
}

const encoded = (part) => (part <= 0.003_130_8 ? 12.92 * part : 1.055 * part ** (1 / 2.4) - 0.055);

function luminance(rgb) {
    const [red, green, blue] = rgb.map((part) => part / 255)
        .map((part) => (part <= 0.040_45 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
