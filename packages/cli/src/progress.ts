import type { CliIo } from './io';
import { bytesText, durationText } from './units';

const WIDTH = 24;

/** How amounts of work are written. */
export type AmountText = (amount: number) => string;

/** A line on a terminal that shows how far a piece of work is, how fast it goes and how long it will take; elsewhere `io.progress` is told. */
export class ProgressLine {
  private readonly started = performance.now();
  private drawnAt = 0;
  private shown = 0;

  constructor(
    private readonly io: Pick<CliIo, 'err' | 'isTerminal' | 'progress'>,
    private readonly amount: AmountText = bytesText,
  ) {}

  /** Draws at most ten times a second, and nothing in the first half second: a bar that flashes by helps nobody. */
  update(done: number, total: number, what: string): void {
    const now = performance.now();
    if (now - this.started < 500 || now - this.drawnAt < 100) return;
    this.drawnAt = now;
    const text = progressText(done, total, now - this.started, what, this.amount);
    if (this.io.isTerminal) this.draw(text);
    else this.io.progress?.(text.replace(/^[#.]+ +/, ''));
  }

  /** Takes the line away. */
  clear(): void {
    if (this.shown > 0) this.io.err(`\r${' '.repeat(this.shown)}\r`);
    this.shown = 0;
  }

  private draw(text: string): void {
    this.io.err(`\r${text.padEnd(this.shown)}`);
    this.shown = text.length;
  }
}

/** `#####.....  42%  1.2 GB of 2.9 GB  310 MB/s  6 s left  layers.3` */
export function progressText(
  done: number,
  total: number,
  elapsedMs: number,
  what: string,
  amount: AmountText = bytesText,
): string {
  const share = total > 0 ? Math.min(1, done / total) : 1;
  const full = Math.round(WIDTH * share);
  const perMs = elapsedMs > 0 ? done / elapsedMs : 0;
  const left = perMs > 0 ? durationText((total - done) / perMs) : '?';
  const percent = `${Math.floor(100 * share)}%`.padStart(4);
  const bar = '#'.repeat(full) + '.'.repeat(WIDTH - full);
  return `${bar} ${percent}  ${amount(done)} of ${amount(total)}  ${amount(perMs * 1e3)}/s  ${left} left  ${what}`;
}

/** Milliseconds of silence after which a command says that it is at work: the first time, the second, and from then on. */
const SILENCES = [2_000, 10_000, 30_000];

/** Says that a command is at work, and how far, when it has been silent for long. */
export class Pulse {
  private readonly started = performance.now();
  private readonly timer: NodeJS.Timeout;
  private heardAt = this.started;
  private said = 0;
  private noted = 'at work';
  private drawn = 0;

  /** @param isTerminal draw a line that goes away; else each time a line */
  constructor(
    private readonly name: string,
    private readonly isTerminal: boolean,
    private readonly write: (text: string) => void,
  ) {
    this.timer = setInterval(() => this.look(), 100);
  }

  /** The command has written something, or is about to: what is drawn goes away. */
  beat(): void {
    this.heardAt = performance.now();
    this.wipe();
  }

  /** How far it is. */
  note(text: string): void {
    this.noted = text;
  }

  /** Ends it. */
  stop(): void {
    clearInterval(this.timer);
    this.wipe();
  }

  private wipe(): void {
    if (this.drawn > 0) this.write(`\r${' '.repeat(this.drawn)}\r`);
    this.drawn = 0;
  }

  private look(): void {
    const now = performance.now();
    // On a terminal the line is kept up to date, elsewhere lines come ever less often.
    const silence = this.isTerminal ? SILENCES[0]! : SILENCES[Math.min(this.said, SILENCES.length - 1)]!;
    if (now - this.heardAt < (this.drawn > 0 ? 500 : silence)) return;
    this.heardAt = now;
    this.said++;
    const text = `megamoe: ${this.name}: ${this.noted}, ${durationText(now - this.started)}`;
    if (!this.isTerminal) return this.write(`${text}\n`);
    this.write(`\r${text.padEnd(this.drawn)}`);
    this.drawn = text.length;
  }
}
