import { checkObject, checkString } from '@megamoe/core';

/** What went wrong with a model of the Hub: not in the cache, not to be had from the server, or not what it should be. `code` is `ERR_HUB`. */
export class HubError extends Error {
  readonly code = 'ERR_HUB';
  override readonly name = 'HubError';
  /** HTTP status of the answer that was the reason, where there was one. */
  readonly status: number | undefined;

  constructor(message: string, options: ErrorOptions & { readonly status?: number } = {}) {
    checkObject('HubError', 'options', options);
    const { status, ...rest } = options;
    super(message, rest);
    this.status = status;
  }
}

/** A failure that the next attempt may not meet. `waitMs` is how long the server asks to wait. */
export class PassingError extends Error {
  constructor(
    message: string,
    readonly waitMs?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Text from a server or a file name, for people: what a terminal would obey, and what would not fit a line, is escaped or cut. */
export function printable(text: string): string {
  checkString('printable', 'text', text);
  // eslint-disable-next-line no-control-regex -- these are what must not reach a terminal
  const safe = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => {
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return safe.length > 300 ? `${safe.slice(0, 297)}...` : safe;
}

/** `a, b, c and 7 more`. */
export function listText(names: readonly string[], most = 4): string {
  const shown = names.slice(0, most).map(printable).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}

/** Bytes for people, in powers of ten: `9.47 GB`. */
export function bytesText(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(2)} GB`;
  return n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e3).toFixed(1)} kB`;
}
