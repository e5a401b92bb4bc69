import { KindError, ValueError } from '@megamoe/core';
import { JsonNumber } from './json';

/** Whether a value is an object with keys: a plain one or a Map of readJson. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof JsonNumber);
}

/** An own field of an object, plain or a Map; undefined where there is none, whatever prototypes hold. */
export function field(object: unknown, key: string): unknown {
  if (object instanceof Map) return (object as Map<string, unknown>).get(key);
  if (isObject(object) && Object.hasOwn(object, key)) return (object as Record<string, unknown>)[key];
  return undefined;
}

/** Whether a field is there at all. */
export function hasField(object: unknown, key: string): boolean {
  if (object instanceof Map) return object.has(key);
  return isObject(object) && Object.hasOwn(object, key);
}

/** Keys of an object, plain or a Map. */
export function keysOf(object: object): string[] {
  return object instanceof Map ? [...(object as Map<string, unknown>).keys()] : Object.keys(object);
}

/** What a message of an error calls a value. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof JsonNumber) return `the number ${value.source}`;
  return isObject(value) ? 'an object' : typeof value;
}

/** A field that is a text or not there (undefined or null). */
export function optionalText(fn: string, where: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  throw new KindError(`${fn}: "${where}" must be a string, got ${kindOf(value)}`);
}

/** A field that is a list or not there. */
export function optionalList(fn: string, where: string, value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw new KindError(`${fn}: "${where}" must be a list, got ${kindOf(value)}`);
}

/** A field that is true, false or not there. */
export function optionalFlag(fn: string, where: string, value: unknown): boolean | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'boolean') return value;
  throw new KindError(`${fn}: "${where}" must be true or false, got ${kindOf(value)}`);
}

/** What to do with a part of a content list that is no text. */
export type OtherParts = 'refuse' | 'name';

/** The text of a content: a string, or its text parts joined by a blank line (what `null` and a missing content mean is the role's to say). */
export function contentText(fn: string, where: string, content: unknown, other: OtherParts): string | null | undefined {
  if (content === undefined || content === null || typeof content === 'string') return content;
  if (!Array.isArray(content)) {
    throw new KindError(`${fn}: "${where}" must be a string, a list of text parts or null, got ${kindOf(content)}`);
  }
  const texts = content.map((part: unknown, i) => {
    if (typeof part === 'string') return part;
    const type = field(part, 'type');
    if (type === 'text') return optionalText(fn, `${where}[${i}].text`, field(part, 'text')) ?? '';
    const name = typeof type === 'string' ? type : kindOf(part);
    if (other === 'name') return `[Unsupported ${typeof type === 'string' ? type : 'None'}]`; // what Python prints
    throw new ValueError(`${fn}: "${where}[${i}]" is of type ${name}; this model reads only parts of type text`);
  });
  return texts.join('\n\n');
}
