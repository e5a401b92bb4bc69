import { escapeJson, tryReadJson } from '../json';
import type { EventList, ParsedCall } from './events';
import type { ToolSchemas, ValueKind } from './tool-schemas';

/** A value that is not given out yet. */
interface Held {
  readonly key: string;
  readonly kind: ValueKind;
  text: string;
}

/**
 * Writes the arguments of one call as JSON while they come: a text as it is sampled, other values when they are complete. The event that the
 * call begins comes with the first argument, so that a call that is cut off before is none.
 */
export class CallWriter {
  readonly name: string;
  readonly #events: EventList;
  readonly #schemas: ToolSchemas;
  /** Calls given out, this one as soon as it has begun. */
  readonly #calls: ParsedCall[];
  #index = -1;
  #parameters = 0;
  /** The value that is being read, where it is held back. */
  #value: Held | undefined;
  /** A first value that may wrap the arguments, complete. */
  #wrap: Held | undefined;
  #inText = false;

  constructor(name: string, events: EventList, schemas: ToolSchemas, calls: ParsedCall[]) {
    this.name = name;
    this.#events = events;
    this.#schemas = schemas;
    this.#calls = calls;
  }

  /** Whether something of it has been given out. */
  get begun(): boolean {
    return this.#index >= 0;
  }

  /** A parameter begins. */
  open(key: string, string: 'true' | 'false' | undefined): void {
    this.#settle();
    const kind = string === undefined ? this.#schemas.kindOf(this.name, key) : string === 'true' ? 'text' : 'json';
    const wraps = this.#parameters === 0 && this.#schemas.mayWrap(this.name, key);
    this.#parameters++;
    if (kind === 'json' || wraps) this.#value = { key, kind, text: '' };
    else {
      this.#write(`${this.#prefix(key)}"`);
      this.#inText = true;
    }
  }

  /** More of its value. */
  value(text: string): void {
    if (this.#value) this.#value.text += text;
    else if (text !== '') this.#write(escapeJson(text));
  }

  /** Its value is complete. */
  close(): void {
    const value = this.#value;
    this.#value = undefined;
    if (!value) this.#write('"');
    else if (this.#parameters === 1 && this.#schemas.mayWrap(this.name, value.key)) this.#wrap = value;
    else this.#writeWhole(value);
    this.#inText = false;
  }

  /** The call is complete. */
  end(): void {
    const wrapped = this.#wrap;
    this.#wrap = undefined;
    if (wrapped && tryReadJson(wrapped.text) instanceof Map) this.#write(wrapped.text);
    else {
      if (wrapped) this.#writeWhole(wrapped);
      this.#write(this.begun ? '}' : '{}');
    }
    this.#events.add({ type: 'tool_call_end', index: this.#index });
  }

  /** Whether all its parameters are complete, and there is one. */
  get whole(): boolean {
    return !this.#inText && !this.#value && (this.begun || this.#wrap !== undefined);
  }

  /** The output was cut off within the call: gives out what can be; a value that is no JSON goes with its key. */
  cut(): void {
    this.#settle();
    const value = this.#value;
    this.#value = undefined;
    if (!value) return;
    if (value.kind === 'text') this.#write(`${this.#prefix(value.key)}"${escapeJson(value.text)}`);
    else if (tryReadJson(value.text) !== undefined) this.#writeWhole(value);
  }

  /** Gives out a value that was held in case it wrapped the arguments. */
  #settle(): void {
    if (this.#wrap) this.#writeWhole(this.#wrap);
    this.#wrap = undefined;
  }

  #writeWhole({ key, kind, text }: Held): void {
    const json = kind === 'json' && tryReadJson(text) !== undefined;
    this.#write(this.#prefix(key) + (json ? text : `"${escapeJson(text)}"`));
  }

  #prefix(key: string): string {
    return `${this.begun ? ', ' : '{'}"${escapeJson(key)}": `;
  }

  #write(text: string): void {
    if (!this.begun) {
      this.#index = this.#calls.length;
      this.#calls.push({ name: this.name, arguments: '' });
      this.#events.add({ type: 'tool_call', index: this.#index, name: this.name });
    }
    const call = this.#calls[this.#index]!;
    this.#calls[this.#index] = { name: call.name, arguments: call.arguments + text };
    this.#events.add({ type: 'arguments', index: this.#index, text });
  }
}
