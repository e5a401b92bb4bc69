import { checkObject, checkString, describe, KindError, ValueError } from '@megamoe/core';

/** A number of a JSON text, as it was written: no digit is lost. */
export class JsonNumber {
  /** The number as it stood in the text, as in `1.50`, or `NaN`, `Infinity`, `-Infinity`. */
  readonly source: string;

  constructor(source: string) {
    checkString('JsonNumber', 'source', source);
    this.source = source;
  }

  /** The nearest double, for arithmetic and comparison. */
  valueOf(): number {
    return Number(this.source);
  }

  /** For JSON.stringify, which knows doubles only. */
  toJSON(): number {
    return Number(this.source);
  }
}

/** A JSON object: a Map, so that keys like `10` keep their place and `__proto__` is a key like others. */
export type JsonObject = Map<string, JsonValue>;

/** What {@link readJson} gives. */
export type JsonValue = null | boolean | string | JsonNumber | JsonValue[] | JsonObject;

/** How {@link readJson} reads. */
export interface ReadJsonOptions {
  /** Take `NaN`, `Infinity` and `-Infinity` for numbers, as Python does. Default true. */
  readonly nan?: boolean;
  /** What a message of an error calls the text. Default `readJson`. */
  readonly name?: string;
}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const NAN = /NaN|-?Infinity/y;
// eslint-disable-next-line no-control-regex -- control characters are what JSON forbids in a string
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const HEX = /[0-9a-fA-F]{4}/y;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** Reads one text; positions are UTF-16 units. */
class Reader {
  at = 0;
  constructor(
    readonly text: string,
    readonly options: ReadJsonOptions,
  ) {}

  fail(what: string): ValueError {
    const before = this.text.slice(0, this.at);
    const line = before.split('\n').length;
    const column = this.at - before.lastIndexOf('\n');
    const found = this.at < this.text.length ? JSON.stringify(this.text.slice(this.at, this.at + 12)) : 'the end';
    return new ValueError(
      `${this.options.name ?? 'readJson'}: not JSON at line ${line}, column ${column}: expected ${what}, found ${found}`,
    );
  }

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return undefined;
    this.at = pattern.lastIndex;
    return found[0];
  }

  /** The character after white space, not consumed; empty at the end. */
  next(): string {
    this.match(SPACE);
    return this.text[this.at] ?? '';
  }

  string(): string {
    this.at++; // the quote
    let out = '';
    for (;;) {
      out += this.match(PLAIN)!;
      const c = this.text[this.at];
      if (c === '"') {
        this.at++;
        return out;
      }
      if (c !== '\\') throw this.fail(c === undefined ? 'the end of the string' : 'an escape such as \\n');
      const escape = this.text[this.at + 1] ?? '';
      if (escape === 'u') {
        this.at += 2;
        const hex = this.match(HEX);
        if (hex === undefined) throw this.fail('four hexadecimal digits');
        out += String.fromCharCode(parseInt(hex, 16)); // halves of a pair join by standing side by side
      } else {
        if (!Object.hasOwn(ESCAPES, escape)) throw this.fail('an escape of JSON');
        out += ESCAPES[escape]!;
        this.at += 2;
      }
    }
  }

  /** A key and its colon. */
  key(): string {
    if (this.next() !== '"') throw this.fail('a key in double quotes');
    const key = this.string();
    if (this.next() !== ':') throw this.fail('":"');
    this.at++;
    return key;
  }

  scalar(): null | boolean | string | JsonNumber {
    if (this.text[this.at] === '"') return this.string();
    for (const [word, value] of [
      ['null', null],
      ['true', true],
      ['false', false],
    ] as const) {
      if (this.text.startsWith(word, this.at)) {
        this.at += word.length;
        return value;
      }
    }
    const number = this.match(NUMBER) ?? (this.options.nan === false ? undefined : this.match(NAN));
    if (number === undefined) throw this.fail('a value');
    return new JsonNumber(number);
  }
}

/**
 * Reads a JSON text as Python's `json.loads` does and loses nothing: numbers as written, keys in their order, of equal keys the last value
 * at the first place. Nesting may be as deep as memory allows.
 * @throws ValueError with line and column
 */
export function readJson(text: string, options: ReadJsonOptions = {}): JsonValue {
  if (typeof text !== 'string') throw new KindError(`readJson: "text" must be a string, got ${describe(text)}`);
  checkObject('readJson', 'options', options);
  const { nan = true, name = 'readJson' } = options;
  if (typeof nan !== 'boolean') throw new KindError(`readJson: "nan" must be a boolean, got ${describe(nan)}`);
  checkString('readJson', 'name', name);
  const reader = new Reader(text, { nan, name });
  const open: { readonly into: JsonValue[] | JsonObject; key: string }[] = [];
  for (;;) {
    let value: JsonValue;
    const c = reader.next();
    if (c === '{' || c === '[') {
      reader.at++;
      const object = c === '{';
      const into: JsonValue[] | JsonObject = object ? new Map<string, JsonValue>() : [];
      if (reader.next() !== (object ? '}' : ']')) {
        open.push({ into, key: object ? reader.key() : '' });
        continue;
      }
      reader.at++;
      value = into;
    } else value = reader.scalar();
    for (;;) {
      const top = open.at(-1);
      if (!top) {
        if (reader.next() !== '') throw reader.fail('nothing more');
        return value;
      }
      const { into } = top;
      const object = into instanceof Map;
      if (object) into.set(top.key, value);
      else into.push(value);
      const after = reader.next();
      if (after === ',') {
        reader.at++;
        if (object) top.key = reader.key();
        break;
      }
      if (after !== (object ? '}' : ']')) throw reader.fail(object ? '"," or "}"' : '"," or "]"');
      reader.at++;
      open.pop();
      value = into;
    }
  }
}

/** The value of a text that is JSON by the letter (RFC 8259: no NaN), else undefined. */
export function tryReadJson(text: string): JsonValue | undefined {
  try {
    return readJson(text, { nan: false });
  } catch {
    return undefined;
  }
}

/** How {@link writeJson} writes. */
export interface WriteJsonOptions {
  /** For comparison instead of for the model: keys sorted, numbers as their double prints. Default false. */
  readonly canonical?: boolean;
  /** What a message of an error begins with. Default `writeJson`. */
  readonly name?: string;
}

/** Options of what is written into prompts. */
export const NAMED: WriteJsonOptions = { name: 'encodeConversation' };

// eslint-disable-next-line no-control-regex -- what Python's json escapes with ensure_ascii=False
const ESCAPED = /["\\\u0000-\u001f]/g;
const SHORT: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};

/** A text with JSON's escapes and without its quotes, as Python writes it with `ensure_ascii=False`: all from U+0020 but `"` and `\` stays. */
export function escapeJson(text: string): string {
  return text.replace(ESCAPED, (c) => SHORT[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A number as Python prints it after reading it: integers exact, floats by `repr`. */
export function pythonNumber(source: string): string {
  if (/^-?[0-9]+$/.test(source)) return source === '-0' ? '0' : source;
  const x = Number(source);
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'NaN' : x > 0 ? 'Infinity' : '-Infinity';
  const sign = x < 0 || Object.is(x, -0) ? '-' : '';
  const [mantissa, exponent] = Math.abs(x).toExponential().split('e') as [string, string];
  const digits = mantissa.replace('.', ''); // the shortest that give the double back: the same in Python and JavaScript
  const e = Number(exponent);
  if (e < -4 || e >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    return `${sign}${digits[0]}${fraction}e${e < 0 ? '-' : '+'}${String(Math.abs(e)).padStart(2, '0')}`;
  }
  if (e < 0) return `${sign}0.${'0'.repeat(-e - 1)}${digits}`;
  return `${sign}${digits.slice(0, e + 1).padEnd(e + 1, '0')}.${digits.slice(e + 1) || '0'}`;
}

function scalarText(value: unknown, canonical: boolean, name: string): string | undefined {
  if (value === null) return 'null';
  if (typeof value === 'string') return `"${escapeJson(value)}"`;
  if (value instanceof JsonNumber) return canonical ? String(Number(value.source)) : pythonNumber(value.source);
  switch (typeof value) {
    case 'boolean':
      return String(value);
    case 'number':
      return canonical ? String(value) : pythonNumber(Object.is(value, -0) ? '0' : String(value));
    case 'bigint':
      return String(value);
    case 'object':
      return undefined;
    default:
      throw new ValueError(`${name}: JSON has no ${typeof value}`);
  }
}

/** The keys and values of an object in their order; those that are undefined are not there, as in JSON.stringify. */
function entriesOf(value: object, canonical: boolean): [string, unknown][] {
  const entries: [string, unknown][] = value instanceof Map ? [...(value as JsonObject)] : Object.entries(value);
  const there = entries.filter(([, v]) => v !== undefined);
  return canonical ? there.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)) : there;
}

/**
 * JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it, `", "` and `": "` between. Takes what {@link readJson} gives, plain
 * objects and arrays, and any mixture. A plain object has its integer-like keys first, because JavaScript has; only a Map keeps their place.
 * @throws ValueError for what JSON has not (functions, symbols, an object within itself)
 */
export function writeJson(value: unknown, options: WriteJsonOptions = {}): string {
  checkObject('writeJson', 'options', options);
  const { canonical = false, name = 'writeJson' } = options;
  if (typeof canonical !== 'boolean')
    throw new KindError(`writeJson: "canonical" must be a boolean, got ${describe(canonical)}`);
  checkString('writeJson', 'name', name);
  interface Frame {
    readonly value: object;
    readonly items: [string, unknown][] | readonly unknown[];
    at: number;
  }
  const open: Frame[] = [];
  const within = new Set<object>();
  const out: string[] = [];
  const begin = (v: unknown): void => {
    const text = scalarText(v, canonical, name);
    if (text !== undefined) {
      out.push(text);
      return;
    }
    const object = v as object;
    if (within.has(object)) throw new ValueError(`${name}: an object contains itself`);
    within.add(object);
    out.push(Array.isArray(object) ? '[' : '{');
    open.push({ value: object, items: Array.isArray(object) ? object : entriesOf(object, canonical), at: 0 });
  };
  begin(value);
  for (let top = open.at(-1); top; top = open.at(-1)) {
    const array = Array.isArray(top.value);
    if (top.at === top.items.length) {
      out.push(array ? ']' : '}');
      within.delete(top.value);
      open.pop();
      continue;
    }
    if (top.at > 0) out.push(', ');
    const item = top.items[top.at++];
    if (array) begin(item === undefined ? null : item);
    else {
      const [key, v] = item as [string, unknown];
      out.push(`"${escapeJson(key)}": `);
      begin(v);
    }
  }
  return out.join('');
}
