import { checkInteger, checkObject, KindError, ValueError } from '@megamoe/core';

/** What a {@link StopChecker} looks for. */
export interface StopCheckerOptions {
  /** Ids that end the output: every turn-ending id of the checkpoint and those of the request. */
  readonly stopIds: readonly number[];
  /** Texts that end the output, wherever token boundaries fall. */
  readonly stopStrings?: readonly string[];
  /** Do not stop on the end-of-turn ids: those of `eosIds`, or all of `stopIds` when that is not given. Default false. */
  readonly ignoreEos?: boolean;
  /** The model's own turn-ending ids. They stop too, unless `ignoreEos`; ids that stand in `stopIds` stop in any case. */
  readonly eosIds?: readonly number[];
  /** Show what stopped: the stop token's text, or the stop string. Default false. */
  readonly includeStop?: boolean;
  /** Nothing stops before this many tokens; a stop string must end in a later one. Default 0. */
  readonly minTokens?: number;
}

/** Why the output ended. */
export interface StopReason {
  readonly reason: 'stop';
  /** The stop id, when one ended it. */
  readonly tokenId?: number;
  /** The stop string, when one ended it. */
  readonly stopString?: string;
}

/** What {@link StopChecker.push} answers. */
export interface StopResult {
  /** Text that may be shown now, after what was shown before. */
  readonly text: string;
  readonly stop?: StopReason;
}

/**
 * Decides after each token whether the output ends, and which text may be shown: text that could still become a stop string is held back,
 * at most (longest stop string - 1) UTF-16 units, and so is half of a surrogate pair.
 *
 * The stop string that completes first wins; of several that complete at the same place, the longest. So the result does not depend on
 * how the text is cut into tokens. A stop id wins over a stop string in the same token.
 */
export class StopChecker {
  readonly #stopIds: ReadonlySet<number>;
  readonly #stopStrings: readonly string[];
  readonly #longest: number;
  readonly #includeStop: boolean;
  readonly #minTokens: number;
  #held = '';
  #nTokens = 0;
  #stopped = false;

  /** @throws ValueError or KindError for an id that is no token id, a stop string that is empty or holds half a surrogate pair */
  constructor(options: StopCheckerOptions) {
    const fn = 'StopChecker';
    checkObject(fn, 'options', options);
    const { stopIds, stopStrings = [], ignoreEos = false, eosIds, includeStop = false, minTokens = 0 } = options;
    checkList(fn, 'stopIds', stopIds);
    if (eosIds !== undefined) checkList(fn, 'eosIds', eosIds);
    checkList(fn, 'stopStrings', stopStrings);
    for (const id of stopIds) checkInteger(fn, 'stopIds', id, 0);
    for (const id of eosIds ?? []) checkInteger(fn, 'eosIds', id, 0);
    for (const stop of stopStrings) checkStopString(fn, stop);
    checkBoolean(fn, 'ignoreEos', ignoreEos);
    checkBoolean(fn, 'includeStop', includeStop);
    checkInteger(fn, 'minTokens', minTokens, 0);
    const ids = new Set(ignoreEos && eosIds === undefined ? [] : stopIds);
    if (!ignoreEos) for (const id of eosIds ?? []) ids.add(id);
    this.#stopIds = ids;
    this.#stopStrings = [...stopStrings];
    this.#longest = this.#stopStrings.reduce((most, stop) => Math.max(most, stop.length), 0);
    this.#includeStop = includeStop;
    this.#minTokens = minTokens;
  }

  /**
   * Takes the next token.
   *
   * @param text what the token adds to the decoded text; empty while a character is not complete
   * @returns the text that may be shown, and why to stop if so; nothing follows after a stop
   * @throws ValueError when the output has stopped before
   */
  push(tokenId: number, text: string): StopResult {
    if (this.#stopped) throw new ValueError('StopChecker.push: the output has stopped; make a new StopChecker');
    checkInteger('StopChecker.push', 'tokenId', tokenId, 0);
    if (typeof text !== 'string') throw new KindError(`StopChecker.push: "text" must be a string, got ${typeof text}`);
    const mayStop = ++this.#nTokens > this.#minTokens;
    if (mayStop && this.#stopIds.has(tokenId)) {
      const shown = this.#includeStop ? this.#held + text : this.#held;
      return this.#stop(shown, { reason: 'stop', tokenId });
    }
    const seen = this.#held.length;
    const all = this.#held + text;
    if (mayStop) {
      // A match must end in the new text: what is held was searched before.
      let end = Infinity;
      let found = '';
      for (const stop of this.#stopStrings) {
        const at = all.indexOf(stop, Math.max(0, seen - stop.length + 1));
        if (at < 0 || at + stop.length > end) continue;
        if (at + stop.length === end && stop.length <= found.length) continue;
        end = at + stop.length;
        found = stop;
      }
      if (found !== '') {
        const shown = all.slice(0, this.#includeStop ? end : end - found.length);
        return this.#stop(shown, { reason: 'stop', stopString: found });
      }
    }
    const show = all.length - this.#holdBack(all);
    this.#held = all.slice(show);
    return { text: all.slice(0, show) };
  }

  /** The text still held back, for an output that ends without a stop (length, abort); empty after a stop. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  #stop(text: string, stop: StopReason): StopResult {
    this.#stopped = true;
    this.#held = '';
    return { text, stop };
  }

  /** Length of the longest suffix that begins a stop string, or of half a surrogate pair at the end. */
  #holdBack(text: string): number {
    for (let n = Math.min(this.#longest - 1, text.length); n > 0; n--) {
      const from = text.length - n;
      for (const stop of this.#stopStrings) {
        if (stop.length > n && stop.startsWith(text.slice(from))) return n;
      }
    }
    return isHighSurrogate(text.charCodeAt(text.length - 1)) ? 1 : 0;
  }
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}

function checkList(fn: string, arg: string, v: unknown): void {
  if (typeof v === 'object' && v !== null && Symbol.iterator in v) return;
  throw new KindError(`${fn}: "${arg}" must be a list, got ${v === null ? 'null' : typeof v}`);
}

function checkBoolean(fn: string, arg: string, v: unknown): void {
  if (typeof v !== 'boolean') throw new KindError(`${fn}: "${arg}" must be a boolean, got ${typeof v}`);
}

function checkStopString(fn: string, stop: unknown): void {
  if (typeof stop !== 'string') throw new KindError(`${fn}: "stopStrings" must hold strings, got ${typeof stop}`);
  if (stop === '') throw new ValueError(`${fn}: "stopStrings" must not hold an empty string`);
  if (/\p{Surrogate}/u.test(stop)) {
    throw new ValueError(`${fn}: "stopStrings" must not hold half a surrogate pair, got ${JSON.stringify(stop)}`);
  }
}
