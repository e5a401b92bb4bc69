import { setMaxListeners } from 'node:events';
import type { AppContext } from '../context';

/** Fires when the client of a request is gone. */
export function clientSignal(c: AppContext): AbortController {
  const abort = new AbortController();
  setMaxListeners(0, abort.signal); // every prompt and answer of the request listens
  const gone = (): void => abort.abort(new Error('the client went away'));
  const outgoing = c.env?.outgoing;
  if (outgoing !== undefined) {
    // The signal of the web request would do as well, but asking for it makes one with a body of its own.
    const closed = (): void => {
      if (!outgoing.writableFinished) gone();
    };
    if (outgoing.destroyed || outgoing.closed) closed();
    else outgoing.once('close', closed);
    return abort;
  }
  const { signal } = c.req.raw;
  if (signal.aborted) gone();
  else signal.addEventListener('abort', gone, { once: true });
  return abort;
}
