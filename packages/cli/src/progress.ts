import type { CliIo } from './io';
import { bytesText, durationText } from './units';

const WIDTH = 24;

/** A line on a terminal that shows how far a piece of work is, how fast it goes and how long it will take; nothing elsewhere. */
export class ProgressLine {
  private readonly started = performance.now();
  private drawnAt = 0;
  private shown = 0;

  constructor(private readonly io: Pick<CliIo, 'err' | 'isTerminal'>) {}

  /** Draws at most ten times a second, and nothing in the first half second: a bar that flashes by helps nobody. */
  update(done: number, total: number, what: string): void {
    const now = performance.now();
    if (!this.io.isTerminal || now - this.started < 500 || now - this.drawnAt < 100) return;
    this.drawnAt = now;
    this.draw(progressText(done, total, now - this.started, what));
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
export function progressText(done: number, total: number, elapsedMs: number, what: string): string {
  const share = total > 0 ? Math.min(1, done / total) : 1;
  const full = Math.round(WIDTH * share);
  const perMs = elapsedMs > 0 ? done / elapsedMs : 0;
  const left = perMs > 0 ? durationText((total - done) / perMs) : '?';
  const percent = `${Math.floor(100 * share)}%`.padStart(4);
  const bar = '#'.repeat(full) + '.'.repeat(WIDTH - full);
  return `${bar} ${percent}  ${bytesText(done)} of ${bytesText(total)}  ${bytesText(perMs * 1e3)}/s  ${left} left  ${what}`;
}
