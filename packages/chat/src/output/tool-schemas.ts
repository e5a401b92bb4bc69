import { KindError } from '@megamoe/core';
import { field, isObject, kindOf } from '../fields';
import type { JsonObject } from '../json';
import type { Tool } from '../types';

/** What a value without a word on its type is: text, or JSON. */
export type ValueKind = 'text' | 'json';

/** Tools as {@link OutputParser} takes them: true for any, false for none. */
export type DeclaredTools = boolean | readonly (Tool | JsonObject)[];

const MAX_NESTING = 32;

/** The types that a schema allows; empty when it does not say. */
function typesOf(schema: unknown, depth = 0): Set<string> {
  const type = field(schema, 'type');
  if (typeof type === 'string') return new Set([type]);
  if (Array.isArray(type)) return new Set(type.filter((t): t is string => typeof t === 'string'));
  const types = new Set<string>();
  if (depth > MAX_NESTING) return types;
  for (const key of ['anyOf', 'oneOf', 'allOf']) {
    const list = field(schema, key);
    if (Array.isArray(list)) for (const one of list) for (const t of typesOf(one, depth + 1)) types.add(t);
  }
  const values = [field(schema, 'enum'), [field(schema, 'const')]].flatMap((v) => (Array.isArray(v) ? v : []));
  for (const value of values) if (value !== undefined) types.add(typeof value === 'string' ? 'string' : 'other');
  return types;
}

/** What the declared tools say of calls. */
export class ToolSchemas {
  /** Whether any call may be made. */
  readonly declared: boolean;
  /** By name; undefined when all names are taken. */
  readonly #functions: ReadonlyMap<string, object> | undefined;

  constructor(fn: string, tools: DeclaredTools | undefined | null) {
    if (tools === undefined || tools === null || typeof tools === 'boolean') {
      this.declared = tools === true;
      this.#functions = undefined;
      return;
    }
    if (!Array.isArray(tools))
      throw new KindError(`${fn}: "tools" must be true, false or a list of tools, got ${kindOf(tools)}`);
    const functions = new Map<string, object>();
    tools.forEach((tool: unknown, i) => {
      const f = isObject(field(tool, 'function')) ? (field(tool, 'function') as object) : tool;
      const name = field(f, 'name');
      if (!isObject(f) || typeof name !== 'string') {
        throw new KindError(
          `${fn}: "tools[${i}].function" must be an object with a name, got ${kindOf(field(tool, 'function'))}`,
        );
      }
      functions.set(name, f);
    });
    this.declared = functions.size > 0;
    this.#functions = functions;
  }

  has(name: string): boolean {
    return this.#functions?.has(name) ?? this.declared;
  }

  #properties(tool: string): unknown {
    return field(field(this.#functions?.get(tool), 'parameters'), 'properties');
  }

  /** What the schema says of a value that does not say itself; text where the schema does not say. */
  kindOf(tool: string, key: string): ValueKind {
    const types = typesOf(field(this.#properties(tool), key));
    return types.size > 0 && !types.has('string') ? 'json' : 'text';
  }

  /** Whether a sole argument of this name wraps the arguments: the schema lists properties, and not this one. */
  mayWrap(tool: string, key: string): boolean {
    const properties = this.#properties(tool);
    return (key === 'arguments' || key === 'input') && isObject(properties) && field(properties, key) === undefined;
  }
}
