/** Bodies: what is refused before anything is made of them, and what is not. */
import { seeded } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { parseBody } from '../src/http/json';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nest = (levels: number, within = '1'): string => '['.repeat(levels) + within + ']'.repeat(levels);

it('brackets and commas within strings are text, wherever quotes and backslashes stand', () => {
  const random = seeded(7);
  const pick = (from: string): string => from[Math.floor(random.next() * from.length)]!;
  for (let i = 0; i < 300; i++) {
    const text = Array.from({ length: i % 40 }, () => pick('"\\[{,]}a😀')).join('');
    const value = { [text]: [text, { a: text }], n: i };
    const json = JSON.stringify(value);
    expect(parseBody(bytes(json)).plain).toEqual(value);
    // The text ends where it ends: what follows counts.
    expect(parseBody(bytes(`{"s": ${JSON.stringify(text)}, "d": ${nest(127)}}`)).bytes).toBeGreaterThan(250);
    expect(() => parseBody(bytes(`{"s": ${JSON.stringify(text)}, "d": ${nest(128)}}`))).toThrow('nested deeper');
  }
  expect(() => parseBody(bytes(`{"s": "${'\\'.repeat(100_000)}`))).toThrow('is not JSON');
  expect(() => parseBody(bytes(`{"s": "${'\\"'.repeat(100_000)}`))).toThrow('is not JSON');
});

it('too many values are refused as too large, those in a string are not counted', () => {
  const many = ','.repeat((4 << 20) + 1);
  expect(() => parseBody(bytes(`{"s": [1${many}]}`))).toThrow('more than');
  expect(parseBody(bytes(`{"s": "${many}"}`)).plain['s']).toBe(many);
});
