/** How a value of JSON begins: an object, or a list of what lists hold. A bracket in prose does not look like that. */
const BEGIN = /^(?:\{[ \t\n\r]{0,256}["}]|\[[ \t\n\r]{0,256}(?:[[{"\]0-9-]|true|false|null))/;
/** What may still become one. */
const MAY_BEGIN = /^(?:\{[ \t\n\r]{0,256}|\[[ \t\n\r]{0,256}(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)?)$/;
const FENCED = /^\s*```[^\n`]*\n([\s\S]*?)\n?```\s*$/;

/**
 * Lets the first JSON object or list of a text through as it comes and drops what stands around it: fences, words. A text without one is given out
 * whole at the end, without its fence.
 */
export class JsonOnly {
  /** Text before the JSON, in case there is none; and what may be its beginning. */
  #before = '';
  #candidate = '';
  #depth = 0;
  #inString = false;
  #escaped = false;
  #state: 'before' | 'within' | 'after' = 'before';

  /** Whether the JSON is complete. */
  get complete(): boolean {
    return this.#state === 'after';
  }

  push(text: string): string {
    if (this.#state === 'after') return '';
    if (this.#state === 'within') return this.#within(text);
    let rest = this.#candidate + text;
    this.#candidate = '';
    for (;;) {
      const at = rest.search(/[[{]/);
      if (at < 0) {
        this.#before += rest;
        return '';
      }
      this.#before += rest.slice(0, at);
      rest = rest.slice(at);
      if (BEGIN.test(rest)) {
        this.#state = 'within';
        return this.#within(rest);
      }
      if (MAY_BEGIN.test(rest)) {
        this.#candidate = rest;
        return '';
      }
      this.#before += rest[0]!;
      rest = rest.slice(1);
    }
  }

  /** Up to the bracket that closes the first. */
  #within(text: string): string {
    for (let i = 0; i < text.length; i++) {
      const c = text[i]!;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (c === '\\') this.#escaped = true;
        else if (c === '"') this.#inString = false;
      } else if (c === '"') this.#inString = true;
      else if (c === '{' || c === '[') this.#depth++;
      else if ((c === '}' || c === ']') && --this.#depth === 0) {
        this.#state = 'after';
        return text.slice(0, i + 1);
      }
    }
    return text;
  }

  flush(): string {
    if (this.#state !== 'before') return '';
    const all = this.#before + this.#candidate;
    this.#before = this.#candidate = '';
    return FENCED.exec(all)?.[1] ?? all;
  }
}
