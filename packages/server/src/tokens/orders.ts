import type { Tokenizer } from '@megamoe/checkpoint';

/** A text to encode. */
export interface TextToEncode {
  readonly text: string;
  readonly parseSpecial: boolean;
}

/** What a tokenizer may be asked for by the megabyte. */
export type TokenizerOrder =
  | { readonly encode: readonly TextToEncode[] }
  | { readonly decode: readonly number[] }
  | { readonly pieces: readonly number[] };

/** The ids of each text, a text, or the text of each id. */
export type TokenizerResult = readonly (readonly number[])[] | string | readonly string[];

/** From the thread. */
export type TokenizerReport =
  | { readonly ready: true }
  | { readonly result: TokenizerResult }
  | { readonly error: { readonly message: string; readonly code: string | undefined } };

const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // U+FEFF is text here

/** A token's bytes as text; what is no UTF-8 by itself has U+FFFD in it. */
export function tokenText(tokenizer: Tokenizer, id: number): string {
  return decoder.decode(tokenizer.tokenBytes(id));
}

/** Does what is asked for. @throws what the tokenizer throws */
export function answerOrder(tokenizer: Tokenizer, order: TokenizerOrder): TokenizerResult {
  if ('encode' in order) return order.encode.map(({ text, parseSpecial }) => tokenizer.encode(text, { parseSpecial }));
  if ('decode' in order) return tokenizer.decode(order.decode);
  return order.pieces.map((id) => tokenText(tokenizer, id));
}

/** How much an order asks for: characters, or ids, which stand for a few each. */
export function sizeOf(order: TokenizerOrder): number {
  if ('encode' in order) return order.encode.reduce((sum, { text }) => sum + text.length, 0);
  return 4 * ('decode' in order ? order.decode : order.pieces).length;
}
