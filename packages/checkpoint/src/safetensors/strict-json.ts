import { quote } from '../fail';

/** A JSON number that is not a plain non-negative integer below 2^53 (negative, fraction, exponent, too large), as written. */
export class OtherNumber {
  constructor(readonly text: string) {}
}

/** A value of {@link parseStrictJson}: objects are Maps, so that no name is special. */
export type StrictJson = string | number | boolean | null | OtherNumber | StrictJson[] | Map<string, StrictJson>;

const MAX_DEPTH = 16;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
/** What a string may not hold, or must be decoded for: a backslash, a control character, a lone surrogate. */
const NOT_PLAIN = /[\\\p{Cc}\p{Cs}]/u;
const INTEGER = /^(?:0|[1-9][0-9]*)$/;
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

/**
 * Parses JSON as `JSON.parse` does, but rejects duplicate names (which `JSON.parse` hides), lone surrogates and nesting deeper
 * than 16, and keeps apart the numbers that are not plain integers. Throws SyntaxError with the character position.
 */
export function parseStrictJson(text: string): StrictJson {
  let at = 0;

  const fail = (message: string): never => {
    throw new SyntaxError(`${message} at character ${at}`);
  };
  const found = (): string => (at < text.length ? `found ${quote(text[at]!)}` : 'found the end');
  const space = (): void => {
    for (;;) {
      const c = text.charCodeAt(at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      at++;
    }
  };
  const expect = (char: string): void => {
    if (text[at] !== char) fail(`expected ${quote(char)}, ${found()}`);
    at++;
  };
  const word = <T>(letters: string, value: T): T => {
    if (!text.startsWith(letters, at)) fail(`expected a JSON value, ${found()}`);
    at += letters.length;
    return value;
  };

  const escape = (): string => {
    const c = text[at] ?? '';
    if (c !== 'u') {
      const plain = Object.hasOwn(ESCAPES, c) ? ESCAPES[c] : undefined;
      if (plain === undefined) fail('unknown escape in a string');
      at++;
      return plain!;
    }
    const hex = text.slice(at + 1, at + 5);
    if (!/^[0-9a-fA-F]{4}$/.test(hex)) fail('bad \\u escape in a string');
    at += 5;
    return String.fromCharCode(parseInt(hex, 16));
  };
  const string = (): string => {
    expect('"');
    const end = text.indexOf('"', at);
    const plain = end < 0 ? '\\' : text.slice(at, end);
    if (!NOT_PLAIN.test(plain)) {
      at = end + 1;
      return plain;
    }
    let value = '';
    let start = at;
    for (;;) {
      const c = text.charCodeAt(at);
      if (c === 0x22) break;
      if (Number.isNaN(c)) fail('unterminated string');
      if (c < 0x20) fail('control character in a string');
      if (c === 0x5c) {
        value += text.slice(start, at);
        at++;
        value += escape();
        start = at;
      } else at++;
    }
    value += text.slice(start, at);
    at++;
    if (/\p{Cs}/u.test(value)) fail('lone surrogate in a string');
    return value;
  };
  const number = (): number | OtherNumber => {
    NUMBER.lastIndex = at;
    const digits = NUMBER.exec(text)?.[0];
    if (digits === undefined) return fail(`expected a JSON value, ${found()}`);
    at += digits.length;
    const value = Number(digits);
    return INTEGER.test(digits) && Number.isSafeInteger(value) ? value : new OtherNumber(digits);
  };
  const value = (depth: number): StrictJson => {
    if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH}`);
    const c = text[at];
    if (c === '{') return object(depth);
    if (c === '[') return array(depth);
    if (c === '"') return string();
    if (c === 't') return word('true', true);
    if (c === 'f') return word('false', false);
    if (c === 'n') return word('null', null);
    return number();
  };
  const object = (depth: number): Map<string, StrictJson> => {
    const map = new Map<string, StrictJson>();
    expect('{');
    space();
    if (text[at] === '}') {
      at++;
      return map;
    }
    for (;;) {
      const name = string();
      if (map.has(name)) fail(`duplicate name ${quote(name)}`);
      space();
      expect(':');
      space();
      map.set(name, value(depth + 1));
      space();
      if (text[at] === '}') break;
      expect(',');
      space();
    }
    at++;
    return map;
  };
  const array = (depth: number): StrictJson[] => {
    const list: StrictJson[] = [];
    expect('[');
    space();
    if (text[at] === ']') {
      at++;
      return list;
    }
    for (;;) {
      list.push(value(depth + 1));
      space();
      if (text[at] === ']') break;
      expect(',');
      space();
    }
    at++;
    return list;
  };

  space();
  const result = value(0);
  space();
  if (at < text.length) fail(`expected the end, ${found()}`);
  return result;
}

/** A value in a message: numbers as written, containers by kind. */
export function jsonText(v: StrictJson | undefined): string {
  if (v === undefined) return 'nothing';
  if (v instanceof OtherNumber) return v.text.length > 40 ? `${v.text.slice(0, 40)}...` : v.text;
  if (v instanceof Map) return 'an object';
  if (Array.isArray(v)) return v.length > 8 ? `an array of ${v.length}` : `[${v.map(jsonText).join(', ')}]`;
  return typeof v === 'string' ? quote(v) : String(v);
}
