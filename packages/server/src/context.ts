import type { Context } from 'hono';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AnswerRecord, Metrics } from './metrics';
import type { EngineHost } from './engine-host';
import { ApiError, requestError } from './errors';
import { BodyReader } from './http/body';
import { parseBody, type JsonBody } from './http/json';
import { Turns } from './http/turns';
import type { LogFields } from './log';
import type { ServerSettings } from './options';
import type { Served } from './served';

/** What Hono hands to a handler here. */
export interface AppEnv {
  Bindings: { readonly incoming?: IncomingMessage; readonly outgoing?: ServerResponse };
  Variables: {
    /** Id of the request, as in `x-request-id`. */
    requestId: string;
    /** Name of the API key; empty when none is needed. */
    keyId: string;
    /** Headers of the response, whatever it is. */
    headers: Record<string, string>;
    /** For the log: what a handler has found out. */
    notes: Record<string, unknown>;
    /** Set by a handler whose response goes on after it has returned: it calls `ended` itself. */
    isStreaming: boolean;
    /** Logs and counts the request; once. */
    ended: (status: number, fields?: LogFields) => void;
  };
}

/** A request as handlers get it. */
export type AppContext = Context<AppEnv>;

/** Most names of unknown fields that are remembered. */
const MAX_FIELD_NAMES = 1000;

/** What all handlers of a server share. */
export class ServerContext {
  readonly bodies: BodyReader;
  readonly #seenFields = new Set<string>();
  readonly #turns = new Turns();

  constructor(
    readonly settings: ServerSettings,
    readonly host: EngineHost,
    readonly metrics: Metrics,
  ) {
    this.bodies = new BodyReader(settings.maxBodyBytes);
  }

  /**
   * What is served, when a request can be taken in.
   * @throws ApiError 503, 429
   */
  admit(): Served {
    const served = this.host.use();
    try {
      served.engine.checkAdmission();
    } catch (error) {
      throw requestError(error);
    }
    return served;
  }

  /** The body of a request. @throws ApiError 415, 413, 400; ClientGone */
  async body(c: AppContext): Promise<JsonBody> {
    const type = c.req.header('content-type') ?? '';
    if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
      throw new ApiError(
        415,
        'invalid_request_error',
        `The body must be JSON: send "content-type: application/json", not ${JSON.stringify(type.slice(0, 100))}.`,
        { code: 'unsupported_media_type' },
      );
    }
    const coding = c.req.header('content-encoding') ?? 'identity';
    if (coding.toLowerCase() !== 'identity') {
      const message = `The body must not be compressed: leave "content-encoding" out, it is ${JSON.stringify(coding.slice(0, 100))}.`;
      throw new ApiError(415, 'invalid_request_error', message, { code: 'unsupported_media_type' });
    }
    const bytes = await this.bodies.read(c.req.raw, c.env?.incoming);
    await this.#turns.next(); // what follows takes about a millisecond
    return parseBody(bytes);
  }

  /** Whether a request means the model that is served. @throws ApiError 404 */
  checkModel(served: Served, name: string | null | undefined): void {
    if (name === undefined || name === null || name === '' || served.has(name)) return;
    throw modelNotFound(served, name);
  }

  /** Says once of each name that the server does not know it. */
  noteUnknown(names: readonly string[]): void {
    const fresh = names.filter((name) => !this.#seenFields.has(name));
    if (fresh.length === 0 || this.#seenFields.size >= MAX_FIELD_NAMES) return;
    for (const name of fresh) this.#seenFields.add(name);
    this.settings.log('info', 'unknown_fields', { fields: fresh.map((name) => name.slice(0, 100)) });
  }

  /** Who shares KV and remembered answers with a request. */
  cacheKey(c: AppContext, salt: string | null | undefined): string {
    return JSON.stringify([c.get('keyId'), salt ?? '']);
  }

  /** Counts answers that have ended. */
  answered(c: AppContext, record: AnswerRecord): void {
    this.metrics.answered(record);
    const { usage, finishReasons } = record;
    Object.assign(c.get('notes'), {
      prompt_tokens: usage.promptTokens,
      cached_tokens: usage.cachedTokens,
      completion_tokens: usage.completionTokens,
      finish_reasons: finishReasons,
    });
  }
}

/** 404 for a model that is not served. */
export function modelNotFound(served: Served, name: string): ApiError {
  const message = `There is no model ${JSON.stringify(name.slice(0, 200))} here; there is ${served.names.join(', ')}.`;
  return new ApiError(404, 'not_found_error', message, { param: 'model', code: 'model_not_found' });
}
