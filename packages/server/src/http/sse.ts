/** When a stream is given up whose client does not read. */
export interface SseLimits {
  /** Most bytes that wait for the client. */
  readonly maxUnsentBytes: number;
  /** Most milliseconds that they wait without any being taken. */
  readonly stallMs: number;
}

/** Bytes that are handed on before waiting begins. */
const HIGH_WATER = 16 * 1024;
const NOT_READ = 'the client does not read';

/** Server-sent events to one client, who may read slowly, stop reading, or go away. */
export class SseWriter {
  readonly body: ReadableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();
  readonly #abort = new AbortController();
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #taken = performance.now();
  #closed = false;
  #written = performance.now();

  /** @param drop closes the connection of a client who is given up */
  constructor(
    private readonly limits: SseLimits,
    private readonly drop: () => void = () => this.#controller.error(new Error(NOT_READ)),
  ) {
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => {
          this.#taken = performance.now();
        },
        cancel: () => this.#end('the client went away'),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: HIGH_WATER }),
    );
  }

  /** Fires when nobody reads any more. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Milliseconds since something was written. */
  get idleMs(): number {
    return performance.now() - this.#written;
  }

  /** An event: `data: ` and one line of JSON. */
  event(value: unknown): void {
    this.#write(`data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`);
  }

  /** A comment, which clients ignore. */
  comment(text: string): void {
    this.#write(`: ${text}\n\n`);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#controller.close();
  }

  #write(text: string): void {
    if (this.#closed) return;
    this.#written = performance.now();
    const room = this.#controller.desiredSize ?? 0;
    const stalled = room <= 0 && this.#written - this.#taken > this.limits.stallMs;
    if (stalled || HIGH_WATER - room > this.limits.maxUnsentBytes) {
      this.#end(NOT_READ);
      this.drop();
      return;
    }
    this.#controller.enqueue(this.#encoder.encode(text));
  }

  #end(reason: string): void {
    this.#closed = true;
    this.#abort.abort(new Error(reason));
  }
}
