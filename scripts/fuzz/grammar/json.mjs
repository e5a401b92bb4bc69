/** JSON written in all the ways that it may be, and changed one value at a time. */

/** An object whose keys may come twice: `[key, value]` pairs. */
export class Pairs {
  constructor(list) {
    this.list = list;
  }

  /** How many there are. */
  get length() {
    return this.list.length;
  }
}

const space = (r) => (r.below(12) === 0 ? r.pick([' ', '\n', '\t', '\r\n', '   ']) : '');

/** Text in quotes; now and then with escapes that need not be there. */
function textOf(text, r) {
  const json = JSON.stringify(text);
  if (r.below(20) > 0) return json;
  return json.replace(/[a-z]/g, (c) => (r.below(3) === 0 ? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}` : c));
}

/** A value as JSON, with blanks here and there. */
export function written(value, r) {
  const s = () => space(r);
  if (value instanceof Pairs)
    return `{${value.list.map(([k, v]) => `${s()}${textOf(k, r)}${s()}:${s()}${written(v, r)}${s()}`).join(',')}}`;
  if (Array.isArray(value)) return `[${value.map((v) => `${s()}${written(v, r)}${s()}`).join(',')}]`;
  if (typeof value === 'string') return textOf(value, r);
  if (typeof value === 'object' && value !== null) return written(new Pairs(Object.entries(value)), r);
  return JSON.stringify(value) ?? 'null';
}

const NEAR = [(n) => n + 1, (n) => n - 1, (n) => n * 2, (n) => n / 2, (n) => -n, () => 0, () => 1, () => 128];
const FAR = [2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e308, 1e-320, 0.5, -1, -0];
const OTHERS = [null, true, false, '', 'x', [], {}, [0], ['x'], { a: 0 }, '\ud800', '__proto__', 'a'.repeat(300)];

function changed(value, r) {
  if (r.below(6) === 0) return r.pick(OTHERS);
  if (typeof value === 'number') return r.below(4) === 0 ? r.pick(FAR) : r.pick(NEAR)(value);
  if (typeof value === 'string')
    return r.pick([`${value}x`, value.slice(1), value.toUpperCase(), value.replace('_', '.'), `${value}.${value}`]);
  if (typeof value === 'boolean') return !value;
  return r.pick(OTHERS);
}

/** Changes one place of a parsed value: another number or text, a missing or an added or a doubled member. */
export function changeJson(root, r, words = []) {
  let at = root;
  let steps = 8;
  while (steps-- > 0 && typeof at === 'object' && at !== null) {
    const keys = Object.keys(at);
    if (keys.length === 0) break;
    const key = r.pick(keys);
    const child = at[key];
    if (typeof child === 'object' && child !== null && r.below(3) > 0) {
      at = child;
      continue;
    }
    if (Array.isArray(at)) {
      const i = Number(key);
      const way = r.below(5);
      if (way === 0) at.splice(i, 1);
      else if (way === 1) at.splice(i, 0, child);
      else if (way === 2) [at[i], at[0]] = [at[0], at[i]];
      else at[i] = changed(child, r);
    } else {
      const way = r.below(6);
      if (way === 0) Reflect.deleteProperty(at, key);
      else if (way === 1 && words.length > 0) at[r.pick(words)] = child;
      else if (way === 2) at[key] = at[r.pick(keys)];
      else at[key] = changed(child, r);
    }
    return root;
  }
  return root;
}
