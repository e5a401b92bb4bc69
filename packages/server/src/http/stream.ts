import type { AppContext, ServerContext } from '../context';
import { serverError } from '../errors';
import { SseWriter } from './sse';

/** What a stream consists of: objects to send, and how far the prompt is. */
export type StreamItem =
  | { readonly data: object | undefined; readonly prefill?: undefined }
  | { readonly prefill: { readonly done: number; readonly total: number }; readonly data?: undefined };

/** A stream that has begun is kept open by a comment when nothing was sent for so long. */
const QUIET_MS = 15_000;

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache',
  'x-accel-buffering': 'no',
};

/**
 * Sends items as server-sent events as they come, and `[DONE]`. Until the first object a comment says every few seconds how far the prompt
 * is. An error becomes an object `{"error": ...}`: the status has gone out. When nobody reads any more, `abort` fires.
 */
export function streamResponse(
  context: ServerContext,
  c: AppContext,
  abort: AbortController,
  items: AsyncGenerator<StreamItem>,
): Response {
  const { keepAliveMs, maxUnsentBytes, stallMs } = context.settings;
  const outgoing = c.env?.outgoing;
  const sse = new SseWriter({ maxUnsentBytes, stallMs }, outgoing && (() => outgoing.destroy()));
  sse.signal.addEventListener('abort', () => abort.abort(sse.signal.reason), { once: true });
  const ended = c.get('ended');
  c.set('isStreaming', true);
  let prefill = { done: 0, total: 0 };
  let begun = false;
  const timer = setInterval(() => {
    if (!begun) sse.comment(`prefill ${prefill.done}/${prefill.total}`);
    else if (sse.idleMs > QUIET_MS) sse.comment('keep-alive');
  }, keepAliveMs);
  const pump = async (): Promise<void> => {
    try {
      for await (const { data, prefill: progress } of items) {
        if (progress) prefill = progress;
        if (data === undefined) continue;
        begun = true;
        sse.event(data);
      }
      sse.event('[DONE]');
      ended(abort.signal.aborted ? 499 : 200);
    } catch (error) {
      context.host.check();
      context.metrics.brokenOff(abort.signal.aborted ? 'abort' : 'error');
      if (abort.signal.aborted) return ended(499, { reason: (abort.signal.reason as Error).message });
      const failure = serverError(error);
      sse.event(failure);
      sse.event('[DONE]');
      ended(200, { error: failure.message, code: failure.code });
    } finally {
      clearInterval(timer);
      sse.close();
    }
  };
  void pump();
  return new Response(sse.body, { headers: HEADERS });
}
