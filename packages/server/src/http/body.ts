import type { IncomingMessage } from 'node:http';
import { ApiError, badRequest, ClientGone } from '../errors';
import { tooLarge } from './json';

/** Bytes of bodies that are being read, of all requests: many large ones at a time must not take all memory. */
export class BodyReader {
  #bytes = 0;

  constructor(
    /** Most bytes of a body. */
    readonly limit: number,
    /** Most bytes of all bodies at a time. */
    private readonly allLimit = 8 * limit,
  ) {}

  #refuse(): never {
    throw tooLarge(`The body is larger than ${this.limit} bytes.`);
  }

  /** Reads a body whole, and no byte more than the limit. `incoming` is Node's request where there is one. */
  async read(request: Request, incoming: IncomingMessage | undefined): Promise<Uint8Array> {
    const announced = Number(request.headers.get('content-length') ?? '0');
    if (announced > this.limit) this.#refuse();
    let mine = 0;
    const take = (n: number): void => {
      mine += n;
      this.#bytes += n;
      if (mine > this.limit) this.#refuse();
      if (this.#bytes > this.allLimit) {
        const message = 'Too many large bodies at a time; try again later.';
        throw new ApiError(429, 'rate_limit_error', message, { code: 'queue_full', retryAfter: 1 });
      }
    };
    try {
      const chunks = incoming ? await readIncoming(incoming, take) : await readWeb(request, take);
      return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
    } finally {
      this.#bytes -= mine;
    }
  }
}

async function readWeb(request: Request, take: (n: number) => void): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  if (!request.body) return chunks;
  for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
    take(chunk.length);
    chunks.push(chunk);
  }
  return chunks;
}

function readIncoming(incoming: IncomingMessage, take: (n: number) => void): Promise<Uint8Array[]> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    const done = (settle: () => void): void => {
      incoming.off('data', onData).off('end', onEnd).off('error', onGone).off('close', onGone);
      settle();
    };
    const onData = (chunk: Buffer): void => {
      try {
        take(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        incoming.pause();
        done(() => reject(error as Error));
      }
    };
    const onEnd = (): void => done(() => resolve(chunks));
    const onGone = (): void =>
      done(() =>
        incoming.complete
          ? reject(badRequest('The body could not be read.'))
          : reject(new ClientGone('the client went away')),
      );
    incoming.on('data', onData).on('end', onEnd).on('error', onGone).on('close', onGone);
    if (incoming.destroyed) onGone();
  });
}
