import fc from 'fast-check';
import { CheckpointError } from '@megamoe/core';
import { describe, expect, it } from 'vitest';
import type { SafetensorsHeader } from '../src/index';
import { DTYPES, dtypeBits, parseHeader, readHeaderLength } from '../src/index';
import { tensorBytes } from '../src/safetensors/dtypes';
import { rawSafetensors, thrown } from './helpers';

/** Parses a whole file in memory, as SafetensorsFile does it from the disk. */
function parse(file: Uint8Array): SafetensorsHeader {
  const length = readHeaderLength(file.subarray(0, 8), file.length, 'f');
  return parseHeader(file.subarray(8, 8 + length), file.length, 'f');
}

const bytes = (n: number): Uint8Array => new Uint8Array(n);
const entry = (dtype: string, shape: string, offsets: string): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":${offsets}}`;

describe('a right header', () => {
  it('gives tensors, metadata and where the data starts', () => {
    const json = `{"__metadata__":{"format":"pt","x":"y"},"b":${entry('F32', '[2]', '[4,12]')},"a":${entry('BF16', '[1,2]', '[0,4]')}}   `;
    const header = parse(rawSafetensors(json, bytes(12)));
    expect([...header.tensors]).toEqual([
      ['a', { dtype: 'BF16', shape: [1, 2], begin: 0, end: 4 }],
      ['b', { dtype: 'F32', shape: [2], begin: 4, end: 12 }],
    ]);
    expect([...header.metadata]).toEqual([
      ['format', 'pt'],
      ['x', 'y'],
    ]);
    expect(header.dataStart).toBe(8 + json.length);
  });

  it('may hold no tensors, scalars and empty tensors', () => {
    expect(parse(rawSafetensors('{}')).tensors.size).toBe(0);
    const json = `{"e":${entry('F32', '[3,0]', '[4,4]')},"s":${entry('F32', '[]', '[0,4]')},"z":${entry('I8', '[0]', '[0,0]')}}`;
    expect([...parse(rawSafetensors(json, bytes(4))).tensors.keys()].sort()).toEqual(['e', 's', 'z']);
  });

  it.each(DTYPES.map((dtype) => ({ dtype })))('knows $dtype', ({ dtype }) => {
    const size = dtypeBits(dtype);
    const json = `{"t":${entry(dtype, '[8]', `[0,${size}]`)}}`;
    expect(parse(rawSafetensors(json, bytes(size))).tensors.get('t')!.dtype).toBe(dtype);
  });

  it('knows the element types of the official implementation 0.8, in its order', () => {
    expect(DTYPES.join(' ')).toBe(
      'BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ ' +
        'I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64',
    );
  });

  it('may have metadata that are null', () => {
    expect(parse(rawSafetensors('{"__metadata__":null}')).metadata.size).toBe(0);
  });

  it('may lie anywhere below 2^53', () => {
    const size = 2 ** 40;
    const json = `{"t":${entry('U8', `[${size}]`, `[0,${size}]`)}}`;
    expect(parseHeader(Buffer.from(json), 8 + json.length + size, 'f').tensors.get('t')!.end).toBe(size);
  });
});

describe('a wrong file', () => {
  it.each([
    ['empty', Buffer.alloc(0), 'f: not a safetensors file: expected at least 8 bytes, found 0'],
    ['7 bytes', Buffer.alloc(7), 'f: not a safetensors file: expected at least 8 bytes, found 7'],
    [
      'a header of 2^63 bytes',
      rawSafetensors('{}', bytes(0), 2n ** 63n),
      'f: header length: expected at most 100000000 bytes, found 9223372036854775808',
    ],
    [
      'a header of 2^64 - 1 bytes',
      rawSafetensors('{}', bytes(0), 2n ** 64n - 1n),
      'f: header length: expected at most 100000000 bytes, found 18446744073709551615',
    ],
    [
      'a header over the limit',
      rawSafetensors('{}', bytes(0), 100_000_001n),
      'f: header length: expected at most 100000000 bytes, found 100000001',
    ],
    [
      'a header past the end',
      rawSafetensors('{}', bytes(0), 3n),
      'f: truncated: the header says 3 bytes, the file has 2 after its length',
    ],
    [
      'no header',
      rawSafetensors(''),
      'f: the header is not valid JSON: expected a JSON value, found the end at character 0',
    ],
    [
      'bad UTF-8',
      rawSafetensors(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])),
      'f: the header is not valid JSON: The encoded data was not valid for encoding utf-8',
    ],
    ['an array', rawSafetensors('[]'), 'f: the header must be a JSON object, found []'],
    [
      'bytes without a tensor',
      rawSafetensors('{}', bytes(1)),
      'f: the tensors cover 0 bytes, but 1 bytes follow the header',
    ],
  ])('%s', (_, file, message) => {
    expect(thrown(() => parse(file))).toBe(`ERR_CHECKPOINT: ${message}`);
  });

  const ok = entry('F32', '[2]', '[0,8]');
  it.each([
    ['"t":1', 'f: tensor "t": expected an object, found 1'],
    [`"t":${ok},"t":${ok}`, 'f: the header is not valid JSON: duplicate name "t" at character 57'],
    ['"t":{"dtype":"F32","dtype":"F32"}', 'f: the header is not valid JSON: duplicate name "dtype" at character 27'],
    [`"t":${ok.replace('}', ',"strides":[1]}')}`, 'f: tensor "t": unknown field "strides"'],
    [`"t":${entry('F33', '[2]', '[0,8]')}`, `f: tensor "t": dtype: expected one of ${DTYPES.join(', ')}, found "F33"`],
    [
      '"t":{"shape":[2],"data_offsets":[0,8]}',
      `f: tensor "t": dtype: expected one of ${DTYPES.join(', ')}, found nothing`,
    ],
    [
      `"t":${entry('F32', '[-2]', '[0,8]')}`,
      'f: tensor "t": shape: expected an array of non-negative integers, found [-2]',
    ],
    [
      `"t":${entry('F32', '[2.0]', '[0,8]')}`,
      'f: tensor "t": shape: expected an array of non-negative integers, found [2.0]',
    ],
    [`"t":${entry('F32', '2', '[0,8]')}`, 'f: tensor "t": shape: expected an array of non-negative integers, found 2'],
    [`"t":${entry('F32', '[2]', '[0]')}`, 'f: tensor "t": data_offsets: expected two non-negative integers, found [0]'],
    [
      `"t":${entry('F32', '[2]', '[0,8,8]')}`,
      'f: tensor "t": data_offsets: expected two non-negative integers, found [0, 8, 8]',
    ],
    [
      `"t":${entry('F32', '[2]', '[-8,0]')}`,
      'f: tensor "t": data_offsets: expected two non-negative integers, found [-8, 0]',
    ],
    [
      `"t":${entry('F32', '[2]', '[8,0]')}`,
      'f: tensor "t": data_offsets: expected begin <= end <= 8 (the data bytes of the file), found [8, 0]',
    ],
    [
      `"t":${entry('F32', '[2]', '[0,16]')}`,
      'f: tensor "t": data_offsets: expected begin <= end <= 8 (the data bytes of the file), found [0, 16]',
    ],
    [
      `"t":${entry('F32', '[2]', '[0,18446744073709551615]')}`,
      'f: tensor "t": data_offsets: expected two non-negative integers, found [0, 18446744073709551615]',
    ],
    [`"t":${entry('F32', '[3]', '[0,8]')}`, 'f: tensor "t": expected 12 bytes for F32 [3], found 8 (offsets [0, 8])'],
    [`"t":${entry('F4', '[3]', '[0,2]')}`, 'f: tensor "t": shape [3] of F4 is not a whole number of bytes below 2^53'],
    [
      `"t":${entry('F32', '[4294967296,4294967296]', '[0,0]')}`,
      'f: tensor "t": shape [4294967296, 4294967296] of F32 is not a whole number of bytes below 2^53',
    ],
    [`"a":${ok},"b":${ok}`, 'f: tensor "b": overlaps tensor "a": expected to start at 8, found 0'],
    [
      `"a":${entry('F32', '[1]', '[0,4]')},"b":${entry('U8', '[6]', '[2,8]')}`,
      'f: tensor "b": overlaps tensor "a": expected to start at 4, found 2',
    ],
    [
      `"a":${entry('F32', '[1]', '[4,8]')}`,
      'f: tensor "a": leaves a hole after the header: expected to start at 0, found 4',
    ],
    [
      `"a":${entry('U8', '[2]', '[0,2]')},"b":${entry('F32', '[1]', '[4,8]')}`,
      'f: tensor "b": leaves a hole after tensor "a": expected to start at 2, found 4',
    ],
    [`"a":${entry('F32', '[1]', '[0,4]')}`, 'f: the tensors cover 4 bytes, but 8 bytes follow the header'],
    ['"__metadata__":[]', 'f: __metadata__: expected an object, found []'],
    ['"__metadata__":1', 'f: __metadata__: expected an object, found 1'],
    ['"__metadata__":{"n":1}', 'f: __metadata__ "n": expected a string, found 1'],
  ])('{%s}', (body, message) => {
    expect(thrown(() => parse(rawSafetensors(`{${body}}`, bytes(8))))).toBe(`ERR_CHECKPOINT: ${message}`);
  });

  it('names file and tensor in the error', () => {
    try {
      parse(rawSafetensors('{"t":1}'));
      expect.fail('nothing thrown');
    } catch (error) {
      expect(error).toBeInstanceOf(CheckpointError);
      expect([(error as CheckpointError).file, (error as CheckpointError).tensor]).toEqual(['f', 't']);
    }
  });
});

it('tensorBytes', () => {
  expect(tensorBytes('F32', [])).toBe(4);
  expect(tensorBytes('F4', [3, 2])).toBe(3);
  expect(tensorBytes('F6_E2M3', [4])).toBe(3);
  expect(tensorBytes('F4', [3])).toBeUndefined();
  expect(tensorBytes('U8', [2 ** 53])).toBeUndefined();
  expect(tensorBytes('F64', [2 ** 51])).toBeUndefined();
  expect(tensorBytes('U8', [2 ** 40, 2 ** 40, 0])).toBe(0);
});

/** What must hold of a header that was accepted: the tensors tile the data, each with the bytes of its shape. */
function expectTiled(header: SafetensorsHeader, file: Uint8Array): void {
  let next = 0;
  for (const { dtype, shape, begin, end } of [...header.tensors.values()].sort(
    (a, b) => a.begin - b.begin || a.end - b.end,
  )) {
    expect(begin).toBe(next);
    expect(end - begin).toBe((shape.reduce((a, b) => a * b, 1) * dtypeBits(dtype)) / 8);
    next = end;
  }
  expect(header.dataStart + next).toBe(file.length);
}

describe('mutations', () => {
  const tensors = fc.array(
    fc.record({
      dtype: fc.constantFrom(...DTYPES.filter((d) => dtypeBits(d) >= 8)),
      shape: fc.array(fc.nat(3), { maxLength: 3 }),
    }),
    { maxLength: 5 },
  );
  const file = tensors.map((list) => {
    let at = 0;
    const parts = list.map(({ dtype, shape }, i) => {
      const end = at + tensorBytes(dtype, shape)!;
      const text = `"t${i}":${entry(dtype, JSON.stringify(shape), `[${at},${end}]`)}`;
      at = end;
      return text;
    });
    return rawSafetensors(`{${['"__metadata__":{"format":"pt"}', ...parts].join(',')}}`, bytes(at));
  });

  it('the files themselves are accepted', () => {
    fc.assert(fc.property(file, (f) => expectTiled(parse(f), f)));
  });

  it('a changed, cut or lengthened file is refused with a CheckpointError or still consistent', () => {
    const change = fc.record({
      flips: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
      digits: fc.array(fc.tuple(fc.nat(), fc.constantFrom(...'0123456789-.,:"{}[]e')), { maxLength: 2 }),
      cut: fc.option(fc.nat(), { freq: 4 }),
      tail: fc.nat(2),
    });
    let refused = 0;
    fc.assert(
      fc.property(file, change, (original, { flips, digits, cut, tail }) => {
        const f = Buffer.concat([original, Buffer.alloc(tail)]);
        for (const [at, value] of flips) f[at % f.length] = value;
        for (const [at, char] of digits) f[8 + (at % (f.length - 8))] = char.charCodeAt(0);
        const changed = cut === null ? f : f.subarray(0, cut % f.length);
        try {
          expectTiled(parse(changed), changed);
        } catch (error) {
          if (!(error instanceof CheckpointError)) throw error;
          refused++;
        }
      }),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(1000);
  });

  it('random bytes never crash', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (body, honest) => {
        const f = honest ? rawSafetensors(body) : Buffer.from(body);
        try {
          expectTiled(parse(f), f);
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
