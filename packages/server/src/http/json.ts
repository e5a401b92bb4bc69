import { JsonNumber, readJson, type JsonObject, type JsonValue } from '@megamoe/chat';
import { ApiError, badRequest } from '../errors';

/** Deepest nesting of a body; schemas of tools that people write have a dozen. */
const MAX_DEPTH = 128;
/** Most values of a body: a prompt of a million token ids, and then some. */
const MAX_VALUES = 4 << 20;

/** A body, read without loss, and the same as plain values for checking. */
export interface JsonBody {
  readonly json: JsonObject;
  readonly plain: Readonly<Record<string, unknown>>;
  /** Its length. */
  readonly bytes: number;
}

/** Where the quote is that ends a string: one with an even number of backslashes before it. The length of the text where there is none. */
function endOfString(text: Buffer, start: number): number {
  for (let from = start; ;) {
    const quote = text.indexOf(0x22, from);
    if (quote < 0) return text.length;
    let first = quote;
    while (first > from && text[first - 1] === 0x5c) first--;
    if ((quote - first) % 2 === 0) return quote;
    from = quote + 1;
  }
}

/** Refuses what would take much more memory than its bytes, before anything is made of it. */
function checkShape(bytes: Uint8Array): void {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let depth = 0;
  let values = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === 0x22) i = endOfString(text, i + 1);
    else if (c === 0x5b || c === 0x7b) {
      values++;
      if (++depth > MAX_DEPTH) throw badRequest(`The body is nested deeper than ${MAX_DEPTH} levels.`);
    } else if (c === 0x5d || c === 0x7d) depth--;
    else if (c === 0x2c && ++values > MAX_VALUES) throw tooLarge(`The body has more than ${MAX_VALUES} values.`);
  }
}

/** 413. */
export function tooLarge(message: string): ApiError {
  return new ApiError(413, 'invalid_request_error', message, { code: 'request_too_large' });
}

/**
 * A body as JSON.
 * @throws ApiError 400 for what is no UTF-8, no JSON, no object or nested too deep; 413 for too many values
 */
export function parseBody(bytes: Uint8Array): JsonBody {
  checkShape(bytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw badRequest('The body is not valid UTF-8.', undefined, 'invalid_value', cause);
  }
  let json: JsonValue;
  try {
    json = readJson(text, { nan: false, name: 'The body' });
  } catch (cause) {
    throw badRequest(
      (cause as Error).message.replace(/^The body: not/, 'The body is not'),
      undefined,
      'invalid_value',
      cause,
    );
  }
  if (!(json instanceof Map)) throw badRequest('The body must be a JSON object.');
  return { json, plain: toPlain(json) as Readonly<Record<string, unknown>>, bytes: bytes.length };
}

/** A value as JSON.parse gives it, but for objects without a prototype, and bigints for integers that a number does not hold. */
export function toPlain(value: JsonValue): unknown {
  if (value instanceof JsonNumber) {
    const x = Number(value.source);
    return /^-?\d+$/.test(value.source) && !Number.isSafeInteger(x) ? BigInt(value.source) : x;
  }
  if (Array.isArray(value)) return value.map(toPlain);
  if (!(value instanceof Map)) return value;
  const object = Object.create(null) as Record<string, unknown>;
  for (const [key, v] of value) object[key] = toPlain(v); // without a prototype `__proto__` is a key like others
  return object;
}
