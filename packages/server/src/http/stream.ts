import type { AppContext, ServerContext } from '../context';
import { serverError } from '../errors';
import { SocketOutlet, WebOutlet } from './outlet';
import { SseWriter } from './sse';

/** Takes what a stream consists of. */
export interface StreamSink {
  /** Sends an object, as one line of JSON. */
  send(json: string): void;
  /** How far the prompt is. */
  prefill(progress: { readonly done: number; readonly total: number }): void;
}

/** A stream that has begun is kept open by a comment when nothing was sent for so long. */
const QUIET_MS = 15_000;

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no',
};

/** What tells Hono's server for Node that a handler has answered through Node's response itself. */
const ALREADY_SENT = { 'x-hono-already-sent': 'true' };

/**
 * Sends what `produce` gives as server-sent events as it comes, and `[DONE]`. Until the first object a comment says every few seconds how far
 * the prompt is. An error becomes an object `{"error": ...}`: the status has gone out. When nobody reads any more, `abort` fires.
 */
export function streamResponse(
  context: ServerContext,
  c: AppContext,
  abort: AbortController,
  produce: (sink: StreamSink) => Promise<void>,
): Response {
  const { keepAliveMs, maxUnsentBytes, stallMs } = context.settings;
  const headers = { ...HEADERS, ...c.get('headers') };
  const outgoing = c.env?.outgoing;
  const outlet = outgoing
    ? new SocketOutlet(outgoing, headers)
    : new WebOutlet(() => abort.abort(new Error('the client went away')));
  const sse = new SseWriter(outlet, { maxUnsentBytes, stallMs }, (reason) => abort.abort(reason));
  abort.signal.addEventListener('abort', () => sse.abandon(), { once: true });
  const ended = c.get('ended');
  c.set('isStreaming', true);
  let prefill = { done: 0, total: 0 };
  let begun = false;
  const timer = setInterval(() => {
    if (!begun) sse.comment(`prefill ${prefill.done}/${prefill.total}`);
    else if (sse.idleMs > QUIET_MS) sse.comment('keep-alive');
  }, keepAliveMs);
  const sink: StreamSink = {
    send: (json) => {
      begun = true;
      sse.event(json);
    },
    prefill: (progress) => void (prefill = progress),
  };
  const pump = async (): Promise<void> => {
    try {
      await produce(sink);
      sse.event('[DONE]');
      ended(abort.signal.aborted ? 499 : 200);
    } catch (error) {
      context.host.check();
      context.metrics.brokenOff(abort.signal.aborted ? 'abort' : 'error');
      if (abort.signal.aborted) return ended(499, { reason: (abort.signal.reason as Error).message });
      const failure = serverError(error);
      sse.event(JSON.stringify(failure));
      sse.event('[DONE]');
      ended(200, { error: failure.message, code: failure.code });
    } finally {
      clearInterval(timer);
      sse.close();
    }
  };
  void pump();
  if (outlet instanceof WebOutlet) return new Response(outlet.body, { headers });
  return new Response(null, { headers: ALREADY_SENT });
}
