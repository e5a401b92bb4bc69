/**
 * Hands out turns of the event loop, one after the other: what takes a millisecond for each of a hundred requests that come at once does not
 * hold up everybody for a hundred.
 */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves when those before have had theirs and the loop has gone on since. */
  next(): Promise<void> {
    this.#last = this.#last.then(() => new Promise((resolve) => setImmediate(resolve)));
    return this.#last;
  }
}
