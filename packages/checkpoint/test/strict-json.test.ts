import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StrictJson } from '../src/safetensors/strict-json';
import { jsonText, OtherNumber, parseStrictJson } from '../src/safetensors/strict-json';
import { thrown } from './helpers';

/** The value JSON.parse would give. */
function plain(v: StrictJson): unknown {
  if (v instanceof OtherNumber) return Number(v.text);
  if (Array.isArray(v)) return v.map(plain);
  return v instanceof Map ? Object.fromEntries([...v].map(([k, x]) => [k, plain(x)])) : v;
}

describe('parseStrictJson', () => {
  it('agrees with JSON.parse on whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 6, noUnicodeString: false }),
        fc.constantFrom(undefined, 1, '\t'),
        (value, indent) => {
          const text = JSON.stringify(value, null, indent);
          if (/\\ud[89a-f]/i.test(text)) return; // a lone surrogate, which is refused
          expect(plain(parseStrictJson(text))).toEqual(JSON.parse(text));
        },
      ),
      { numRuns: 400 },
    );
  });

  it('accepts nothing that JSON.parse refuses', () => {
    const alphabet = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '"',
      ':',
      ',',
      ' ',
      '\n',
      '\\',
      'u',
      '0',
      '1',
      '-',
      '.',
      'e',
      'a',
      'true',
      'null',
    );
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        let value: StrictJson;
        try {
          value = parseStrictJson(text);
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError);
          return;
        }
        expect(plain(value)).toEqual(JSON.parse(text));
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['', 'expected a JSON value, found the end at character 0'],
    ['{"a":1,"a":2}', 'duplicate name "a" at character 10'],
    ['{"a":1,"\\u0061":2}', 'duplicate name "a" at character 15'],
    ['{"a" 1}', 'expected ":", found "1" at character 5'],
    ['{"a":1', 'expected ",", found the end at character 6'],
    ['{"a":1,}', 'expected "\\"", found "}" at character 7'],
    ['[1,]', 'expected a JSON value, found "]" at character 3'],
    ['[1 2]', 'expected ",", found "2" at character 3'],
    ['"a', 'unterminated string at character 2'],
    ['"\n"', 'control character in a string at character 1'],
    ['"\\x"', 'unknown escape in a string at character 2'],
    ['"\\', 'unknown escape in a string at character 2'],
    ['"\\u12G4"', 'bad \\u escape in a string at character 2'],
    ['"\\ud800"', 'lone surrogate in a string at character 8'],
    ['tru', 'expected a JSON value, found "t" at character 0'],
    ['01', 'expected the end, found "1" at character 1'],
    ['\ufeff{}', 'expected a JSON value, found "\ufeff" at character 0'],
    [`${'['.repeat(20)}`, 'nested deeper than 16 at character 17'],
  ])('refuses %j', (text, message) => {
    expect(thrown(() => parseStrictJson(text))).toBe(`SyntaxError: ${message}`);
  });

  it('keeps numbers that are not plain integers apart', () => {
    const texts = ['-1', '1.0', '1e3', '-0', '9007199254740992', '18446744073709551616'];
    expect(texts.map((t) => jsonText(parseStrictJson(t)))).toEqual(texts);
    expect(texts.every((t) => parseStrictJson(t) instanceof OtherNumber)).toBe(true);
    expect([parseStrictJson('0'), parseStrictJson('9007199254740991')]).toEqual([0, 9007199254740991]);
  });

  it('treats __proto__ as any other name', () => {
    const map = parseStrictJson('{"__proto__": {"x": 1}, "constructor": 2}') as Map<string, StrictJson>;
    expect([...map.keys()]).toEqual(['__proto__', 'constructor']);
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  it('describes values', () => {
    expect(['{}', '[1, "a"]', '[1,2,3,4,5,6,7,8,9]', 'null'].map((t) => jsonText(parseStrictJson(t)))).toEqual([
      'an object',
      '[1, "a"]',
      'an array of 9',
      'null',
    ]);
    expect(jsonText(undefined)).toBe('nothing');
    expect(jsonText(new OtherNumber('1'.repeat(99)))).toBe(`${'1'.repeat(40)}...`);
  });
});
