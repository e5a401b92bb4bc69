/** Fields that an error of the API may carry besides the four that all have. */
export type ErrorDetails = Readonly<Record<string, string | number>>;

/** What is said of an {@link ApiError}. */
export interface ApiErrorOptions extends ErrorOptions {
  /** The field of the request that is wrong. */
  readonly param?: string | undefined;
  readonly code?: string | undefined;
  /** Seconds after which to try again. */
  readonly retryAfter?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly details?: ErrorDetails | undefined;
}

/** An error as the client gets it: a status, and OpenAI's body. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly param: string | undefined;
  readonly code: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly details: ErrorDetails;

  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    { param, code, retryAfter, headers, details, ...options }: ApiErrorOptions = {},
  ) {
    super(message, options);
    this.param = param;
    this.code = code;
    this.headers = { ...headers, ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }) };
    this.details = details ?? {};
  }

  /** The body: `{"error": {message, type, param, code}}`. */
  toJSON(): { readonly error: Readonly<Record<string, unknown>> } {
    const { message, type, param = null, code = null, details } = this;
    return { error: { message, type, param, code, ...details } };
  }
}

/** The client is gone: there is nobody to answer. */
export class ClientGone extends Error {
  override readonly name = 'ClientGone';
}

/** 400: a request that cannot be served as it is. */
export function badRequest(message: string, param?: string, code = 'invalid_value', cause?: unknown): ApiError {
  return new ApiError(400, 'invalid_request_error', message, { param, code, cause });
}

/** 503: nothing is served now. */
export function unavailable(code: 'loading' | 'stopping', message: string): ApiError {
  return new ApiError(503, 'unavailable_error', message, { code, retryAfter: code === 'loading' ? 2 : 5 });
}

/** 503 for one that comes while the server ends. */
export const stopping = (): ApiError => unavailable('stopping', 'The server is stopping and takes no more requests.');

const BAD_INPUT = new Set(['ERR_VALUE', 'ERR_KIND', 'ERR_SHAPE', 'ERR_UNSUPPORTED']);

const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;

/** What the engine refuses with, whenever it does; undefined for anything else. */
function refusal(error: unknown): ApiError | undefined {
  if (error instanceof ApiError) return error;
  const { message, ...fields } = error as Error & { promptTokens?: number; maxTokens?: number };
  switch (codeOf(error)) {
    case 'ERR_QUEUE_FULL':
      return new ApiError(429, 'rate_limit_error', 'The queue is full; try again later.', {
        code: 'queue_full',
        retryAfter: 1,
        cause: error,
      });
    case 'ERR_CONTEXT_LENGTH':
      return contextLength(fields.promptTokens ?? 0, fields.maxTokens ?? 0, message);
    case 'ERR_ENGINE_CLOSED':
      return stopping();
    case 'ERR_WORKER':
      return unavailable('loading', 'The engine has ended unexpectedly and is being started again.');
    default:
      return undefined;
  }
}

/** 400 for a prompt that is too long, with both numbers. */
export function contextLength(promptTokens: number, maxTokens: number, message?: string): ApiError {
  return new ApiError(
    400,
    'invalid_request_error',
    message?.replace(/^[\w.]+: /, '') ??
      `The prompt has ${promptTokens} tokens; the limit is ${maxTokens} with at least one to generate.`,
    {
      code: 'context_length_exceeded',
      details: { n_prompt_tokens: promptTokens, n_ctx: maxTokens },
    },
  );
}

/** An error of checking or encoding a request, or of submitting it: what is wrong with it is the client's. */
export function requestError(error: unknown): ApiError | ClientGone {
  if (error instanceof ClientGone) return error;
  const known = error instanceof Error ? refusal(error) : undefined;
  if (known) return known;
  if (!(error instanceof Error) || !BAD_INPUT.has(String(codeOf(error)))) return serverError(error);
  const message = error.message.replace(/^[\w.]+: /, '');
  return badRequest(message, /"([^"]+)"/.exec(message)?.[1], 'invalid_value', error);
}

/** An error while an answer is made: the server's, whatever it is. */
export function serverError(error: unknown): ApiError {
  const code = codeOf(error);
  if (error instanceof ApiError) return error;
  if (code === 'ERR_ENGINE_CLOSED') return stopping();
  const reason = error instanceof Error ? error.message : String(error);
  const message =
    code === 'ERR_WORKER' ? `The engine has ended unexpectedly: ${reason}` : `The engine failed: ${reason}`;
  return new ApiError(500, 'server_error', message, { code: 'internal_error', cause: error });
}
