import { CHAT_TOKENS } from '../markers';

/** How a tag of a call begins. */
export const OPEN = `<${CHAT_TOKENS.dsml}`;
/** How a tag begins that ends something. */
export const CLOSE = `</${CHAT_TOKENS.dsml}`;

/** A tag after its marker; `length` counts what it takes of the text there. */
export type Tag =
  | { readonly kind: 'invoke'; readonly name: string; readonly length: number }
  | { readonly kind: 'block'; readonly name: string; readonly length: number }
  /** The word only; its attributes follow. */
  | { readonly kind: 'parameter'; readonly length: number }
  /** An invoke without a name that can be read. */
  | { readonly kind: 'malformed' }
  /** No tag at all. */
  | { readonly kind: 'none' }
  /** More text decides. */
  | { readonly kind: 'more' };

const WORD = /^[A-Za-z_][A-Za-z0-9_]{0,63}/;
const INVOKE = /^invoke\s{1,16}name="([^"\n]{0,256})"\s{0,16}>/;
const MAY_BE_INVOKE =
  /^invoke(?:\s{0,16}|\s{1,16}(?:n|na|nam|name|name=|name="[^"\n]{0,256}|name="[^"\n]{0,256}"\s{0,16}))$/;

/** The tag that begins after a {@link OPEN} marker. */
export function readTag(text: string): Tag {
  const word = WORD.exec(text)?.[0];
  if (word === undefined) return { kind: text === '' ? 'more' : 'none' };
  if (word === 'invoke') {
    const found = INVOKE.exec(text);
    if (found) return { kind: 'invoke', name: found[1]!, length: found[0].length };
    return { kind: MAY_BE_INVOKE.test(text) ? 'more' : 'malformed' };
  }
  const after = text[word.length];
  if (after === undefined) return { kind: 'more' };
  if (word === 'parameter') return { kind: 'parameter', length: word.length };
  return after === '>' ? { kind: 'block', name: word, length: word.length + 1 } : { kind: 'none' };
}

/** The name of a tag that ends something, after its {@link CLOSE} marker; `none` where there is no such tag. */
export function readCloser(text: string): { readonly name: string; readonly length: number } | 'none' | 'more' {
  const word = WORD.exec(text)?.[0] ?? '';
  const after = text[word.length];
  if (after === undefined) return 'more';
  return word !== '' && after === '>' ? { name: word, length: word.length + 1 } : 'none';
}

/** Blocks whose invokes are calls whatever they call. */
export const isCallsBlock = (name: string): boolean => name === 'tool_calls' || name === 'function_calls';

/** The attributes of a parameter. */
export interface ParameterHeader {
  readonly key: string;
  /** The attribute `string`, where it is one of the two. */
  readonly string: 'true' | 'false' | undefined;
  /** What the header takes of the text. */
  readonly length: number;
}

/** Within so many characters the attribute `string` must come, or it is missing: a key may hold `">`. */
const MOST_HEADER = 4096;
const MARKER = new RegExp(`</?${CHAT_TOKENS.dsml}`);
const IN_ORDER = /^\s{1,16}name="([\s\S]*?)"\s{1,16}string="(true|false)"\s{0,16}>/;
const SWAPPED = /^\s{1,16}string="(true|false)"\s{1,16}name="([^"]*)"\s{0,16}>/;
const WITHOUT = /^\s{1,16}(?:string="[^"]*"\s{1,16})?name="([\s\S]*?)"(?:\s{1,16}string="[^"]*")?\s{0,16}>/;

/**
 * The attributes after the word `parameter`.
 * @param whole whether no more text comes
 */
export function readHeader(text: string, whole: boolean): ParameterHeader | 'malformed' | 'more' {
  const end = text.slice(0, MOST_HEADER + OPEN.length).search(MARKER);
  const window = text.slice(0, end < 0 ? MOST_HEADER : end);
  const inOrder = IN_ORDER.exec(window);
  if (inOrder) return { key: inOrder[1]!, string: inOrder[2] as 'true' | 'false', length: inOrder[0].length };
  const swapped = SWAPPED.exec(window);
  if (swapped) return { key: swapped[2]!, string: swapped[1] as 'true' | 'false', length: swapped[0].length };
  if (end < 0 && text.length < MOST_HEADER + OPEN.length && !whole) return 'more';
  const without = WITHOUT.exec(window);
  return without ? { key: without[1]!, string: undefined, length: without[0].length } : 'malformed';
}
