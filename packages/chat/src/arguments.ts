import { isObject } from './fields';
import { NAMED, readJson, writeJson } from './json';

/** One argument of a call, as the prompt writes it. */
export interface Argument {
  readonly key: string;
  /** Whether the value stands as text; JSON otherwise. */
  readonly isString: boolean;
  readonly value: string;
}

/**
 * Arguments of a call one by one: those of a JSON text or of an object, in their order. A text that is no JSON, or no object, is one
 * argument `arguments` with the text as it stands; so is another value, as JSON.
 */
export function escapeArguments(given: unknown): Argument[] {
  let object: unknown = given;
  if (typeof given === 'string') {
    try {
      object = readJson(given);
    } catch {
      object = undefined;
    }
    if (!isObject(object)) return [{ key: 'arguments', isString: true, value: given }];
  }
  if (!isObject(object)) return [{ key: 'arguments', isString: false, value: writeJson(given, NAMED) }];
  const entries: [string, unknown][] =
    object instanceof Map ? [...(object as Map<string, unknown>)] : Object.entries(object);
  return entries
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) =>
      typeof value === 'string'
        ? { key, isString: true, value }
        : { key, isString: false, value: writeJson(value, NAMED) },
    );
}
