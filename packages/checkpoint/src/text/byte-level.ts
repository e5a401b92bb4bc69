/**
 * The byte alphabet of byte-level BPE: every byte has a printable character, so that a vocabulary is text. Printable Latin-1 bytes stand
 * for themselves, the 68 others for U+0100 and up, in order. Source: openai/gpt-2 `src/encoder.py`, `bytes_to_unicode`.
 */
export const BYTE_CHARACTERS: readonly string[] = ((): string[] => {
  const printable = (b: number): boolean => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xff && b !== 0xad);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();

const CHARACTER_BYTES: ReadonlyMap<string, number> = new Map(BYTE_CHARACTERS.map((c, b) => [c, b]));

/** The bytes of a vocabulary entry, or `undefined` when a character is outside the byte alphabet. */
export function bytesOfToken(token: string): Uint8Array | undefined {
  const out = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = CHARACTER_BYTES.get(token[i]!);
    if (byte === undefined) return undefined;
    out[i] = byte;
  }
  return out;
}
