/** A constant of a Python module that is a literal: text, or texts by name. */
export type PythonLiteral = string | ReadonlyMap<string, PythonLiteral>;

/** What a module assigns at its top level. */
export interface PythonModule {
  /** Constants whose right-hand side is a literal of strings; the last assignment of a name counts. */
  readonly constants: ReadonlyMap<string, PythonLiteral>;
  /** Every name that is assigned, literal or not. */
  readonly assigned: ReadonlySet<string>;
}

const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const PREFIX = /[A-Za-z]{0,2}(?='|")/y;
const BLANKS = /(?:[ \t\f]|\\\n)*/y;
const BLANKS_AND_LINES = /(?:[ \t\f\n]|\\\n|#[^\n]*)*/y;
const END_OF_STATEMENT = /(?:[ \t\f]|\\\n)*(?:#[^\n]*)?(?:\n|$)/y;
const MAX_DEPTH = 64;

const SIMPLE: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  v: '\v',
  '\n': '',
};

/** What is no literal of strings ends the reading of a statement, not of the module. */
class NotLiteral extends Error {}

class Scanner {
  at = 0;
  constructor(readonly text: string) {}

  match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return undefined;
    this.at = pattern.lastIndex;
    return found[0];
  }

  get char(): string {
    return this.text[this.at] ?? '';
  }

  /** Where the string that begins here (at its quote) ends, exclusive; its quote; -1 for one without an end. */
  stringEnd(): { readonly end: number; readonly quote: string } {
    const one = this.char;
    const quote = this.text.startsWith(one.repeat(3), this.at) ? one.repeat(3) : one;
    for (let i = this.at + quote.length; i < this.text.length; i++) {
      if (this.text[i] === '\\') i++;
      else if (this.text.startsWith(quote, i)) return { end: i + quote.length, quote };
      else if (quote.length === 1 && this.text[i] === '\n') break;
    }
    return { end: -1, quote };
  }

  /** Skips to the start of the next logical line: the end of a line outside brackets and strings. */
  skipStatement(): void {
    let depth = 0;
    while (this.at < this.text.length) {
      const c = this.char;
      if (c === '"' || c === "'") {
        const { end, quote } = this.stringEnd();
        const line = quote.length === 1 ? this.text.indexOf('\n', this.at) : -1; // where a short string breaks off
        this.at = end >= 0 ? end : line >= 0 ? line : this.text.length;
        continue;
      }
      if (c === '#') this.at = (this.text.indexOf('\n', this.at) + 1 || this.text.length + 1) - 1;
      else if (c === '\\') this.at += 2;
      else {
        this.at++;
        if ('([{'.includes(c)) depth++;
        else if (')]}'.includes(c)) depth = Math.max(0, depth - 1);
        else if (c === '\n' && depth === 0) return;
      }
    }
  }

  string(): string {
    const prefix = this.match(PREFIX);
    if (prefix === undefined || !/^[rRuU]?$/.test(prefix)) throw new NotLiteral();
    const { end, quote } = this.stringEnd();
    if (end < 0) throw new NotLiteral();
    const body = this.text.slice(this.at + quote.length, end - quote.length);
    this.at = end;
    return /[rR]/.test(prefix) ? body : unescape(body);
  }

  /** Strings side by side, which join. */
  strings(blanks: RegExp): string {
    let text = this.string();
    for (;;) {
      const before = this.at;
      this.match(blanks);
      PREFIX.lastIndex = this.at;
      if (!PREFIX.test(this.text)) {
        this.at = before;
        return text;
      }
      text += this.string();
    }
  }

  value(blanks: RegExp, depth = 0): PythonLiteral {
    if (depth > MAX_DEPTH) throw new NotLiteral();
    this.match(blanks);
    if (this.char === '(') {
      this.at++;
      const value = this.value(BLANKS_AND_LINES, depth + 1);
      this.close(')');
      return value;
    }
    if (this.char === '{') return this.dictionary(depth);
    return this.strings(blanks);
  }

  dictionary(depth: number): ReadonlyMap<string, PythonLiteral> {
    this.at++;
    const entries = new Map<string, PythonLiteral>();
    for (;;) {
      this.match(BLANKS_AND_LINES);
      if (this.char === '}') break;
      const key = this.strings(BLANKS_AND_LINES);
      this.close(':');
      entries.set(key, this.value(BLANKS_AND_LINES, depth + 1));
      this.match(BLANKS_AND_LINES);
      if (this.char === ',') this.at++;
      else break;
    }
    this.close('}');
    return entries;
  }

  close(c: string): void {
    this.match(BLANKS_AND_LINES);
    if (this.char !== c) throw new NotLiteral();
    this.at++;
  }

  /** Skips an annotation, up to the `=` after it. */
  annotation(): boolean {
    for (let depth = 0; this.at < this.text.length; this.at++) {
      const c = this.char;
      if (c === '"' || c === "'") {
        const { end } = this.stringEnd();
        if (end < 0) return false;
        this.at = end - 1;
      } else if ('([{'.includes(c)) depth++;
      else if (')]}'.includes(c)) depth--;
      else if (depth === 0 && c === '=') return true;
      else if (depth === 0 && (c === '\n' || c === '#')) return false;
    }
    return false;
  }
}

/** A string's body with Python's escapes resolved; an unknown one keeps its backslash. */
function unescape(body: string): string {
  return body.replace(
    /\\(?:([0-7]{1,3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([\s\S]))/g,
    (whole, octal?: string, x?: string, u?: string, long?: string, one?: string) => {
      if (octal !== undefined) return String.fromCharCode(parseInt(octal, 8));
      const hex = x ?? u;
      if (hex !== undefined) return String.fromCharCode(parseInt(hex, 16));
      if (long !== undefined) {
        const code = parseInt(long, 16);
        if (code > 0x10ffff) throw new NotLiteral();
        return String.fromCodePoint(code);
      }
      if ('xuUN'.includes(one!)) throw new NotLiteral(); // an error in Python, or a name of Unicode's tables
      return Object.hasOwn(SIMPLE, one!) ? SIMPLE[one!]! : whole;
    },
  );
}

/**
 * The constants of a Python module whose right-hand side is a literal: strings (joined where they stand side by side), parentheses around
 * them, and dictionaries of strings. Everything else is skipped, f-strings and bytes too. Nothing is run.
 */
export function readPythonLiterals(source: string): PythonModule {
  const scanner = new Scanner(source.replace(/^\ufeff/, '').replace(/\r\n?/g, '\n'));
  const constants = new Map<string, PythonLiteral>();
  const assigned = new Set<string>();
  while (scanner.at < scanner.text.length) {
    const start = scanner.at;
    const name = scanner.match(NAME);
    if (name !== undefined && assigns(scanner)) {
      assigned.add(name);
      constants.delete(name);
      try {
        const value = scanner.value(BLANKS);
        if (scanner.match(END_OF_STATEMENT) !== undefined) {
          constants.set(name, value);
          continue;
        }
      } catch (e) {
        if (!(e instanceof NotLiteral)) throw e;
      }
    }
    scanner.at = start;
    scanner.skipStatement();
  }
  return { constants, assigned };
}

/** Whether `=` comes after a name, with or without an annotation or an operator (`+=`); the position is then after it. */
function assigns(scanner: Scanner): boolean {
  scanner.match(BLANKS);
  if (scanner.char === ':' && !scanner.annotation()) return false;
  const operator = scanner.match(/(?:[-+*/%&|^@]|\*\*|\/\/|<<|>>)?=(?!=)/y);
  if (operator !== undefined && operator !== '=') scanner.at = scanner.text.length; // what it gives is no literal
  return operator !== undefined;
}
