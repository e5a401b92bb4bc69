import type { Outlet } from './outlet';

/** When a stream is given up whose client does not read. */
export interface SseLimits {
  /** Most bytes that wait for the client. */
  readonly maxUnsentBytes: number;
  /** Most milliseconds that they wait without any being taken. */
  readonly stallMs: number;
}

const NOT_READ = 'the client does not read';

/** Server-sent events to one client, who may read slowly, stop reading, or go away. */
export class SseWriter {
  #closed = false;
  /** What waited after the last write, and when some of it was taken last. */
  #waited = 0;
  #taken = performance.now();
  #written = this.#taken;

  /** @param onGivenUp called once with the reason when nobody reads any more */
  constructor(
    private readonly outlet: Outlet,
    private readonly limits: SseLimits,
    private readonly onGivenUp: (reason: Error) => void,
  ) {}

  /** Milliseconds since something was written. */
  get idleMs(): number {
    return performance.now() - this.#written;
  }

  /** An event: `data: ` and one line, JSON as a rule. */
  event(line: string): void {
    this.#write(`data: ${line}\n\n`);
  }

  /** A comment, which clients ignore. */
  comment(text: string): void {
    this.#write(`: ${text}\n\n`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.outlet.end();
  }

  /** Nothing more is written: the client is gone. */
  abandon(): void {
    this.#closed = true;
  }

  #write(text: string): void {
    if (this.#closed) return;
    const { outlet, limits } = this;
    const { waiting } = outlet;
    this.#written = performance.now();
    if (waiting === 0 || waiting < this.#waited) this.#taken = this.#written;
    if (waiting > limits.maxUnsentBytes || this.#written - this.#taken > limits.stallMs) {
      this.abandon();
      this.onGivenUp(new Error(NOT_READ));
      outlet.drop();
      return;
    }
    outlet.write(text);
    this.#waited = outlet.waiting;
  }
}
