import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonNumber, readJson, tryReadJson, writeJson } from '../src/index';
import { thrown } from './support';

/** What Python prints after reading: `json.dumps(json.loads(text), ensure_ascii=False)`. */
const python = (text: string): string => writeJson(readJson(text));

describe('readJson and writeJson', () => {
  // The right column is CPython's, printed by json.dumps(json.loads(left), ensure_ascii=False).
  it.each([
    ['1e5', '100000.0'],
    ['1E16', '1e+16'],
    ['1e15', '1000000000000000.0'],
    ['9007199254740993.0', '9007199254740992.0'],
    ['1e-7', '1e-07'],
    ['0.0001', '0.0001'],
    ['0.00001', '1e-05'],
    ['1.50', '1.5'],
    ['1.0', '1.0'],
    ['-0', '0'],
    ['-0.0', '-0.0'],
    ['-1.25e-10', '-1.25e-10'],
    ['123456789012345678901234567890', '123456789012345678901234567890'],
    ['1e400', 'Infinity'],
    ['-1e400', '-Infinity'],
    ['1e-400', '0.0'],
    ['5e-324', '5e-324'],
    ['1.7976931348623157e308', '1.7976931348623157e+308'],
    ['NaN', 'NaN'],
    ['-Infinity', '-Infinity'],
    ['0.1', '0.1'],
    ['100', '100'],
    ['12345.678', '12345.678'],
    ['1.23456789012345678e22', '1.2345678901234568e+22'],
    ['[1,  2 ,\n3]', '[1, 2, 3]'],
    ['{"b":1,"10":2,"9":3,"__proto__":4}', '{"b": 1, "10": 2, "9": 3, "__proto__": 4}'],
    ['{"a":1,"b":2,"a":3}', '{"a": 3, "b": 2}'],
    ['{"":{},"x":[]}', '{"": {}, "x": []}'],
    ['"\\u00e9\\/\\u0001\\u007f\\u2028"', '"é/\\u0001\u007f\u2028"'],
    ['"\\ud83d\\ude42 \\ud83d"', '"🙂 \ud83d"'],
    ['"\\b\\f\\n\\r\\t\\"\\\\"', '"\\b\\f\\n\\r\\t\\"\\\\"'],
    [' true ', 'true'],
    ['null', 'null'],
  ])('%s is %s', (text, wanted) => expect(python(text)).toBe(wanted));

  it('reads and writes what JSON.parse and JSON.stringify do, where those lose nothing', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 5 }), (text) => {
        expect(JSON.parse(writeJson(readJson(text)))).toEqual(JSON.parse(text));
      }),
    );
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (x) => {
        const printed = python(`${Object.is(x, -0) ? '-' : ''}${x.toExponential()}`);
        expect(Number(printed)).toBe(x);
        expect(printed).toMatch(/[.e]/); // a float stays one
      }),
    );
  });

  it('takes plain values, Maps and mixtures', () => {
    const mixed = {
      b: new Map<string, unknown>([
        ['10', 1],
        ['2', [undefined, true]],
      ]),
      u: undefined,
      n: new JsonNumber('1e2'),
      x: -0,
      y: 1e21,
      z: 10n,
    };
    expect(writeJson(mixed)).toBe('{"b": {"10": 1, "2": [null, true]}, "n": 100.0, "x": 0, "y": 1e+21, "z": 10}');
    const twice = { a: 1 };
    expect(writeJson([twice, twice])).toBe('[{"a": 1}, {"a": 1}]');
    const round: unknown[] = [];
    round.push({ round });
    expect(thrown(() => writeJson(round))).toBe('ERR_VALUE: writeJson: an object contains itself');
    expect(thrown(() => writeJson({ f: () => 1 }))).toBe('ERR_VALUE: writeJson: JSON has no function');
    expect(JSON.stringify({ n: new JsonNumber('1.50') })).toBe('{"n":1.5}');
    expect(+new JsonNumber('1.50')).toBe(1.5);
  });

  it('goes as deep as memory allows', () => {
    const deep = '[{"a": '.repeat(100_000) + '1' + '}]'.repeat(100_000);
    expect(python(deep)).toBe(deep);
  });

  it('compares values in canonical form', () => {
    const canonical = (text: string): string => writeJson(readJson(text), { canonical: true });
    expect(canonical('{"b": 1.0, "a": [1e2, "\\u00e9"]}')).toBe(canonical('{"a":[100,"é"],"b":1}'));
    expect(canonical('{"a": "1"}')).not.toBe(canonical('{"a": 1}'));
    expect(canonical('[1, 2]')).not.toBe(canonical('[2, 1]'));
  });

  it.each([
    ['', 'line 1, column 1: expected a value, found the end'],
    ['{"a" 1}', 'line 1, column 6: expected ":", found "1}"'],
    ['[1,]', 'line 1, column 4: expected a value, found "]"'],
    ['[1 2]', 'line 1, column 4: expected "," or "]", found "2]"'],
    ['{"a": 1,}', 'line 1, column 9: expected a key in double quotes, found "}"'],
    ["{'a': 1}", `line 1, column 2: expected a key in double quotes, found "'a': 1}"`],
    ['{"a": 1\n\n x}', 'line 3, column 2: expected "," or "}", found "x}"'],
    ['"a\nb"', 'line 1, column 3: expected an escape such as \\n, found "\\nb\\""'],
    ['"a', 'line 1, column 3: expected the end of the string, found the end'],
    ['"\\x41"', 'line 1, column 2: expected an escape of JSON, found "\\\\x41\\""'],
    ['"\\u12g4"', 'line 1, column 4: expected four hexadecimal digits, found "12g4\\""'],
    ['01', 'line 1, column 2: expected nothing more, found "1"'],
    ['+1', 'line 1, column 1: expected a value, found "+1"'],
    ['1 2', 'line 1, column 3: expected nothing more, found "2"'],
    ['\u00a01', 'line 1, column 1: expected a value, found "\u00a01"'],
    ['nul', 'line 1, column 1: expected a value, found "nul"'],
  ])('refuses %j', (text, why) => {
    expect(thrown(() => readJson(text, { name: 'body' }))).toBe(`ERR_VALUE: body: not JSON at ${why}`);
    expect(tryReadJson(text)).toBeUndefined();
  });

  it('takes NaN unless told not to', () => {
    expect(thrown(() => readJson('[NaN]', { nan: false }))).toContain('column 2: expected a value');
    expect(tryReadJson('Infinity')).toBeUndefined();
    expect(tryReadJson('null')).toBeNull();
  });
});

it('what is no text is named as such', () => {
  for (const text of [undefined, null, 1, {}, Symbol('s')] as never[])
    expect(() => readJson(text)).toThrow('readJson: "text" must be a string');
});
