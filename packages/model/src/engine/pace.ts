/** Weight of a new measurement. */
const WEIGHT = 0.3;
/** Rows of the first prompt chunk beside decodes, when nothing has been measured. */
const FIRST_ROWS = 16;

/**
 * How many rows of prompts a step may take beside running decodes, from the speed of the steps so far: those that decode are held up by at
 * most `limitMs`.
 */
export class Pace {
  #promptRowMs: number | undefined;
  #decodeStepMs = 0;
  /** Most rows to try next: what has been tried, doubled. */
  #most = FIRST_ROWS;

  constructor(
    readonly limitMs: number,
    readonly maxRows: number,
  ) {}

  /** Rows of prompts for the next step with decodes; at least one. */
  get promptRows(): number {
    const fits = this.#promptRowMs === undefined ? FIRST_ROWS : Math.floor(this.limitMs / this.#promptRowMs);
    return Math.max(1, Math.min(fits, this.#most, this.maxRows));
  }

  /** A step with so many rows of prompts and of decodes took `ms`. */
  note(promptRows: number, decodeRows: number, ms: number): void {
    if (promptRows === 0) {
      this.#decodeStepMs += WEIGHT * (ms - this.#decodeStepMs);
      return;
    }
    const promptMs = Math.max(0, decodeRows > 0 ? ms - this.#decodeStepMs : ms);
    const rowMs = Math.max(1e-4, promptMs / promptRows);
    const known = this.#promptRowMs;
    // What came out too slow counts at once: nobody may be held up twice. What came out faster counts bit by bit.
    this.#promptRowMs = known === undefined || rowMs > known ? rowMs : known + WEIGHT * (rowMs - known);
    if (promptRows >= this.#most / 2) this.#most = Math.min(this.maxRows, 2 * Math.max(this.#most, promptRows));
  }
}
