import type { AppContext } from '../context';

/** Fires when the client of a request is gone. */
export function clientSignal(c: AppContext): AbortController {
  const abort = new AbortController();
  const gone = (): void => abort.abort(new Error('the client went away'));
  const { signal } = c.req.raw;
  if (signal.aborted) gone();
  else signal.addEventListener('abort', gone, { once: true });
  return abort;
}
