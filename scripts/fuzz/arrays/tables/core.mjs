/** Valid calls of core. Checks are told the rest by their caller: what they check is what is broken. */
const check =
  (name, v, ...rest) =>
  (r, m) => ({ args: [v(r)], f: (x) => m[name]('f', 'x', x, ...rest), says: [''] });
/** Errors take what is wrong with a message as the language does. */
const thrower =
  (make = () => []) =>
  () => ({ args: ['words', ...make()], mayThrow: () => true, mayRefuse: true, anyObject: true, observe: () => 0 });

/** On the way of every operation: they are asked of arrays that have passed checkKind, and of nothing else. */
const ofArrays = { mayThrow: () => true, mayRefuse: true, anyObject: true };

export const calls = {
  ArgPlaces: (r, m) => ({ args: [], f: class extends m.ArgPlaces {}, observe: () => 0, ...ofArrays }),
  'ArgPlaces.of': (r, m) => ({
    self: new m.ArgPlaces('x'),
    args: [r.floats(4), 4],
    observe: ({ begin, end }) => Math.round(end - begin),
    ...ofArrays,
  }),
  placeOf: (r, m) => ({
    args: [r.floats(4), 4],
    f: (v, n) => m.placeOf('x', v, n),
    observe: ({ begin, end }) => Math.round(end - begin),
    ...ofArrays,
  }),
  checkPlacesApart: (r, m) => ({
    args: [r.floats(4), r.floats(4)],
    f: (a, b) => m.checkPlacesApart('f', m.placeOf('a', a, 4), m.placeOf('b', b, 4)),
    ...ofArrays,
  }),
  firstNonFinite: (r, m) => ({ args: [r.floats(6)], f: (x) => m.firstNonFinite(x, 0, 6), ...ofArrays }),
  CheckpointError: thrower(() => [{ file: 'a', tensor: 'b' }]),
  KindError: thrower(),
  ShapeError: thrower(),
  UnsupportedError: thrower(),
  ValueError: thrower(),
  namedError: (r) => ({
    args: [r.pick([new Error('a'), new RangeError('b'), new TypeError('c'), 3])],
    observe: () => 0,
  }),
  ceilDiv: (r) => ({ args: [r.int(0, 9), r.int(1, 9)] }),
  roundUp: (r) => ({ args: [r.int(0, 9), r.int(1, 9)] }),
  checkApart: (r, m) => ({
    args: [r.floats(4), r.floats(4)],
    f: (a, b) => m.checkApart('f', 'out', a, 'x', b),
    says: [''],
  }),
  checkApartOrSame(r, m) {
    const x = r.floats(4);
    return { args: [r.pick([x, r.floats(4)]), x], f: (a, b) => m.checkApartOrSame('f', 'out', a, 'x', b), says: [''] };
  },
  checkAttached: (r, m) => ({ args: [r.floats(4)], f: (x) => m.checkAttached('f', 'x', x), ...ofArrays }),
  checkCapacity: check('checkCapacity', (r) => r.floats(4), 'n', 3),
  checkLength: check('checkLength', (r) => r.floats(4), 'n', 4),
  checkFinite: check('checkFinite', (r) => r.floats(4)),
  checkInteger: check('checkInteger', (r) => r.int(0, 4), 0, 4),
  checkKind: check('checkKind', (r) => r.floats(4), Float32Array),
  checkMultiple: check('checkMultiple', () => 32, 16),
  checkNumber: check('checkNumber', (r) => r.unit(), 0, 1),
  checkObject: (r, m) => ({ ...check('checkObject', () => ({}))(r, m), anyObject: true }),
  checkFunction: check('checkFunction', () => () => 0),
  checkSignal: check('checkSignal', () => new AbortController().signal),
  checkString: check('checkString', () => 'a'),
  checkOneOf: check('checkOneOf', () => 'a', ['a', 'b']),
  checkPositive: check('checkPositive', () => 2),
  decodeBf16: (r) => ({ args: [r.below(65536)] }),
  decodeF16: (r) => ({ args: [r.below(65536)] }),
  encodeBf16: (r) => ({ args: [r.unit()] }),
  encodeE2m1: (r) => ({ args: [r.unit() * 8] }),
  encodeE4m3: (r) => ({ args: [r.unit() * 500] }),
  decodeBf16Array: (r) => ({ args: [r.halves(5), r.floats(5)].slice(0, r.int(1, 2)), writes: ['1'] }),
  encodeBf16Array: (r) => ({ args: [r.floats(5), r.halves(5)].slice(0, r.int(1, 2)), writes: ['1'] }),
  takeList: (r, m) => ({
    args: [[...r.ints(4, 0, 9)]],
    f: (x) => m.takeList('f', 'x', x, 9, (n, i) => (m.checkInteger('f', `x[${i}]`, n, 0), n)),
    says: [''],
    isData: true,
  }),
  takeStrings: (r, m) => ({ args: [['a', 'b']], f: (x) => m.takeStrings('f', 'x', x), says: [''], isData: true }),
  takeIds: (r, m) => ({ args: [r.ints(4, 0, 9)], f: (x) => m.takeIds('f', 'x', x, 10), says: [''] }),
  philox4x32: (r) => ({ args: [1, 2, 3, 4, 5, 6, new Uint32Array(4 + r.below(2))], writes: ['6'] }),
  describe: (r) => ({ args: [r.floats(2)], anyObject: true, observe: (text) => typeof text }),
  isShared: () => ({ args: [new ArrayBuffer(8)] }),
  sameBuffer: () => ({ args: [new ArrayBuffer(8), new ArrayBuffer(8)] }),
  newArray: (r, m) => ({ args: [r.int(0, 9)], f: (n) => m.newArray('f', 'x', Float32Array, 'n', n), says: [''] }),
  plainView: (r, m) => ({ args: [r.floats(4)], f: (x) => m.plainView(x, Float32Array), says: [''] }),
};
