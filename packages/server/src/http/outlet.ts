import type { ServerResponse } from 'node:http';

/** Where the text of a stream goes. */
export interface Outlet {
  /** Bytes that wait for the client to take them. */
  readonly waiting: number;
  write(text: string): void;
  end(): void;
  /** Closes the connection of a client who is given up. */
  drop(): void;
}

/**
 * To a socket, through Node's response. What is written within one turn of the event loop leaves in one piece, as one chunk of HTTP: the
 * response itself would make a chunk of each event and hand it to the socket in four pieces, which costs more than making the event.
 */
export class SocketOutlet implements Outlet {
  #text = '';

  /** Sends status and headers at once. */
  constructor(
    private readonly response: ServerResponse,
    headers: Readonly<Record<string, string>>,
  ) {
    response.writeHead(200, { ...headers });
    response.flushHeaders();
  }

  get waiting(): number {
    return this.response.writableLength + this.#text.length;
  }

  write(text: string): void {
    if (this.#text === '') process.nextTick(this.#flush);
    this.#text += text;
  }

  end(): void {
    const { socket } = this.response;
    socket?.cork();
    this.#flush();
    this.response.end();
    socket?.uncork();
  }

  drop(): void {
    this.response.destroy();
  }

  readonly #flush = (): void => {
    const { response } = this;
    const text = this.#text;
    this.#text = '';
    const { socket } = response;
    if (text === '' || response.destroyed) return;
    // The socket is another response's while that one, asked for before, has not ended; an old client knows no chunks.
    if (socket === null || !response.chunkedEncoding) response.write(text);
    else socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
  };
}

/** Bytes that a web stream takes before it counts them as waiting. */
const HIGH_WATER = 16 * 1024;

/** To the reader of a web stream: the body of a `Response`. */
export class WebOutlet implements Outlet {
  readonly body: ReadableStream<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #controller!: ReadableStreamDefaultController<Uint8Array>;

  /** @param onCancel called when the reader leaves */
  constructor(onCancel: () => void) {
    this.body = new ReadableStream<Uint8Array>(
      { start: (controller) => void (this.#controller = controller), cancel: onCancel },
      new ByteLengthQueuingStrategy({ highWaterMark: HIGH_WATER }),
    );
  }

  get waiting(): number {
    return HIGH_WATER - (this.#controller.desiredSize ?? HIGH_WATER);
  }

  write(text: string): void {
    this.#controller.enqueue(this.#encoder.encode(text));
  }

  end(): void {
    this.#controller.close();
  }

  drop(): void {
    this.#controller.error(new Error('the client does not read'));
  }
}
