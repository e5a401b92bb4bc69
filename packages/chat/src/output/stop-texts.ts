import { KindError, takeList, ValueError } from '@megamoe/core';

/** The length of the longest end of a text that could become one of the given texts. */
export function heldLength(text: string, wanted: readonly string[]): number {
  let held = 0;
  for (const w of wanted) {
    const from = Math.max(0, text.length - w.length + 1);
    for (let at = text.indexOf(w[0]!, from); at >= 0 && text.length - at > held; at = text.indexOf(w[0]!, at + 1)) {
      if (w.startsWith(text.slice(at))) held = text.length - at;
    }
  }
  return held;
}

/** Stop texts of a request: one text or several. */
export function checkStopTexts(fn: string, stop: unknown): readonly string[] {
  const texts = stop === undefined || stop === null ? [] : Array.isArray(stop) ? stop : [stop];
  return takeList(fn, 'stop', texts, 65536, (text) => {
    if (typeof text !== 'string')
      throw new KindError(`${fn}: "stop" must be a text or a list of texts, got ${typeof text}`);
    if (text === '') throw new ValueError(`${fn}: "stop" must not have an empty text`);
    return text;
  });
}

/** Lets text through until a stop text is complete; the one that is complete first counts, of several at one place the longest. */
export class StopTexts {
  readonly #stops: readonly string[];
  #held = '';
  /** The stop text that was met. */
  met: string | null = null;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** The text that may be shown now. */
  push(text: string): string {
    if (this.met !== null) return '';
    if (this.#stops.length === 0) return text;
    const all = this.#held + text;
    let end = Infinity;
    for (const stop of this.#stops) {
      const at = all.indexOf(stop);
      const to = at + stop.length;
      if (at < 0 || to > end || (to === end && stop.length < this.met!.length)) continue;
      end = to;
      this.met = stop;
    }
    if (this.met !== null) {
      this.#held = '';
      return all.slice(0, end - this.met.length);
    }
    const shown = all.length - heldLength(all, this.#stops);
    this.#held = all.slice(shown);
    return all.slice(0, shown);
  }

  /** What is held back, when no more comes. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }
}
