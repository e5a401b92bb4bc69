/** A client of `megamoe serve` that costs as little as can be, so that it can run beside the server: it counts events and reads none. */
import { connect } from 'node:net';

const EVENT = Buffer.from('data: {"id"'); // quotes are escaped within JSON: no text has this
const DONE = Buffer.from('data: [DONE]');
const LAST = Buffer.from('\r\n0\r\n\r\n');
/** Bytes that a mark may lack at the end of what came. */
const OVERLAP = 64;

/** One connection, with one streamed answer after the other. */
export class StreamClient {
  #socket;
  #connected;
  #rest = Buffer.alloc(0);
  #state = { events: 0, onEvents: () => undefined, resolve: () => undefined, reject: () => undefined };

  constructor(url) {
    const { port, hostname: host } = new URL(url);
    const onread = { buffer: Buffer.allocUnsafe(1 << 16), callback: (n, buffer) => this.#take(buffer.subarray(0, n)) };
    this.#socket = connect({ port: Number(port), host, onread });
    this.#connected = new Promise((resolve, reject) => {
      this.#socket.once('connect', resolve);
      this.#socket.once('error', reject);
    });
    this.#connected.catch(() => undefined);
    this.#socket.on('error', (error) => this.#state.reject(error));
    this.#socket.on('close', () => this.#state.reject(new Error('the connection was closed')));
  }

  /**
   * Asks for a stream; resolves with the number of its events when it has ended, all but the one of the role, which is not a token's.
   * `onEvents(n, now)` is told of those that came together.
   */
  async ask(fields, onEvents = () => undefined) {
    await this.#connected;
    const body = JSON.stringify({ ...fields, stream: true });
    return new Promise((resolve, reject) => {
      this.#state = { events: -1, onEvents, resolve, reject };
      this.#rest = Buffer.alloc(0);
      this.#socket.write(
        `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    });
  }

  close() {
    this.#state = { ...this.#state, reject: () => undefined };
    this.#socket.destroy();
  }

  #take(bytes) {
    const state = this.#state;
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (state.events < 0 && all.toString('latin1', 0, 9) === 'HTTP/1.1 ' && all.toString('latin1', 9, 12) !== '200') {
      state.reject(new Error(all.toString('utf8', 0, 2000)));
      return true;
    }
    let from = 0;
    let n = 0;
    for (let at = all.indexOf(EVENT); at >= 0; at = all.indexOf(EVENT, from)) {
      n++;
      from = at + EVENT.length;
    }
    const isFirst = state.events < 0 && n > 0;
    state.events += n;
    const done = all.indexOf(DONE, from) >= 0 && all.subarray(-LAST.length).equals(LAST);
    // The last event is the one of the end.
    const tokens = n - (isFirst ? 1 : 0) - (done ? 1 : 0);
    if (tokens > 0) state.onEvents(tokens, performance.now());
    this.#rest = Buffer.from(all.subarray(Math.max(from, all.length - OVERLAP)));
    if (done) state.resolve(state.events - 1);
    return true;
  }
}
