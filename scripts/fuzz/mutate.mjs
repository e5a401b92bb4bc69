/**
 * Mutations of byte strings, most of which are JSON or hold some: bytes, chunks, numbers, and pieces of other inputs. Few of them get past a
 * reader's first checks; grammar/ makes inputs that do.
 */

/** A small generator (xorshift32), so that a run repeats from its seed. */
export function generator(seed) {
  let s = seed >>> 0 || 1;
  const next = () => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return s >>> 0;
  };
  return { below: (n) => next() % Math.max(1, n), pick: (list) => list[next() % list.length] };
}

const NUMBERS = [
  ...[
    '0',
    '-1',
    '1',
    '2',
    '3',
    '7',
    '16',
    '127',
    '128',
    '255',
    '256',
    '4096',
    '65535',
    '2147483647',
    '2147483648',
    '4294967296',
  ],
  ...[
    '9007199254740991',
    '9007199254740993',
    '18446744073709551615',
    '1e308',
    '1e999',
    '-0',
    '0.5',
    '1e-320',
    'null',
    'true',
    '""',
    '[]',
    '{}',
  ],
];
const TOKENS = [
  ...[
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '\\u0000',
    '\\ud800',
    '\0',
    '\n',
    'NaN',
    'Infinity',
    '__proto__',
    'constructor',
    '__metadata__',
  ],
  ...[
    '"F32"',
    '"BF16"',
    '"I8"',
    '"U8"',
    '"F8_E4M3"',
    '"F8_E8M0"',
    '"I64"',
    '"dtype"',
    '"shape"',
    '"data_offsets"',
    '../',
    '/dev/zero',
  ],
];

const insert = (bytes, at, piece) => Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
const cut = (bytes, at, n) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + n)]);

/** Replaces one run of digits that lies at or after `at`. */
function changeNumber(bytes, at, r) {
  let i = at;
  while (i < bytes.length && (bytes[i] < 48 || bytes[i] > 57)) i++;
  if (i === bytes.length) return bytes;
  let end = i;
  while (end < bytes.length && bytes[end] >= 48 && bytes[end] <= 57) end++;
  return Buffer.concat([bytes.subarray(0, i), Buffer.from(r.pick(NUMBERS)), bytes.subarray(end)]);
}

/** One change. `front` of the positions fall in the first kilobytes, where headers are. */
function once(bytes, r, corpus) {
  const reach = r.below(4) === 0 ? bytes.length : Math.min(bytes.length, 4096);
  const at = r.below(reach);
  switch (r.below(10)) {
    case 0: {
      const out = Buffer.from(bytes);
      if (out.length > 0) out[at] ^= 1 << r.below(8);
      return out;
    }
    case 1: {
      const out = Buffer.from(bytes);
      if (out.length > 0) out[at] = r.pick([0, 1, 0x7f, 0x80, 0xff, r.below(256)]);
      return out;
    }
    case 2:
      return cut(bytes, at, 1 + r.below(16));
    case 3:
      return bytes.subarray(0, at);
    case 4:
      return insert(bytes, at, Buffer.from(r.pick(TOKENS)));
    case 5:
    case 6:
      return changeNumber(bytes, at, r);
    case 7: {
      const from = r.below(reach);
      return insert(bytes, at, bytes.subarray(from, from + 1 + r.below(200)));
    }
    case 8: {
      const other = r.pick(corpus);
      const from = r.below(Math.min(other.length, 8192));
      return Buffer.concat([bytes.subarray(0, at), other.subarray(from)]);
    }
    default: {
      const piece = Buffer.from(r.pick(['[', '{"a":', '"', '\\'])); // deep or long: recursion and quadratic readers
      return insert(bytes, at, Buffer.alloc(piece.length * (1 << r.below(13)), piece));
    }
  }
}

/** One to four changes of an input, at most `limit` bytes long. */
export function mutate(bytes, r, corpus, limit) {
  let out = bytes;
  for (let n = 1 + r.below(4); n > 0; n--) out = once(out, r, corpus);
  return out.subarray(0, limit);
}
