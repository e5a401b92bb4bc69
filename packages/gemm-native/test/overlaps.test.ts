import { OPS } from '@megamoe/ops';
import { describe, expect, it } from 'vitest';
import { createLogitsScan, stageFrom } from '../src/index';
import type { KernelIsa } from '../src/index';
import type { HostStaged } from '../src/staged';
import { BACKENDS, ISAS } from './backends';
import { callByName, rightArguments, thrown, type Args, type Op } from './right-arguments';

type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

const isArray = (v: unknown): v is TypedArray => ArrayBuffer.isView(v);
const arraysOf = (args: Args): string[] => Object.keys(args).filter((name) => isArray(args[name]));

const copyOf = (args: Args): Args =>
  Object.fromEntries(Object.entries(args).map(([name, v]) => [name, isArray(v) ? v.slice() : v]));

/** What an operation writes; what is staged is looked at apart. */
function writtenBy(op: Op): string[] {
  if (op === 'nvfp4Loss') return ['sums'];
  if (op === 'stageFrom') return [];
  const kinds = Object.entries(OPS[op].args as Record<string, { kind: string; access?: string }>);
  return kinds.filter(([, kind]) => kind.kind === 'tensor' && kind.access !== 'reads').map(([name]) => name);
}

/** The arguments with `out` over the memory of `other`, from its first or its last element on. */
function overlapped(args: Args, out: string, other: string, from: 'first' | 'last'): Args {
  const [o, v] = [args[out] as TypedArray, args[other] as TypedArray];
  const buffer = new ArrayBuffer(o.byteLength + v.byteLength + 64);
  const place = (x: TypedArray, at: number): TypedArray =>
    new (x.constructor as Float32ArrayConstructor)(buffer, at, x.length) as TypedArray;
  const begin = from === 'first' ? 0 : Math.floor((v.byteLength - 1) / o.BYTES_PER_ELEMENT) * o.BYTES_PER_ELEMENT;
  const [under, over] = [place(v, 0), place(o, begin)];
  over.set(o);
  under.set(v); // the argument under it is right, what comes of it is another matter
  return { ...args, [out]: over, [other]: under };
}

describe.each(BACKENDS)('memory of arguments on $name', ({ kernels }) => {
  const right = rightArguments(kernels);
  const operations = Object.keys(right) as Op[];
  const fresh = (op: Op): Args => copyOf(right[op]);

  const pairs = operations.flatMap((op) =>
    writtenBy(op).flatMap((out) =>
      arraysOf(fresh(op))
        .filter((other) => other !== out)
        .map((other) => [op, out, other] as const),
    ),
  );

  it.each(pairs)('%s: %s over %s is refused', (op, out, other) => {
    for (const from of ['first', 'last'] as const) {
      const args = overlapped(fresh(op), out, other, from);
      const message = thrown(() => callByName(kernels, op, args));
      if (op === 'rmsNorm' && other === 'x' && from === 'first') {
        expect(message).toBe('nothing'); // in place
        continue;
      }
      const names = [`"${out}" must not overlap "${other}"`, `"${other}" must not overlap "${out}"`];
      expect(names.map((end) => `ERR_SHAPE ${op}: ${end}`)).toContain(message);
    }
  });

  it.each([
    ['embed', 'ids'],
    ['gatherRows', 'index'],
    ['stage', 'slotToken'],
    ['stage', 'expertOffsets'],
    ['swigluStage', 'expertOffsets'],
    ['groupedGemm', 'expertOffsets'],
    ['scatterExperts', 'tokenSlots'],
  ] as const)('%s: %s that another thread could change is refused', (op, arg) => {
    const args = fresh(op);
    const shared = new Int32Array(new SharedArrayBuffer(4 * (args[arg] as Int32Array).length));
    shared.set(args[arg] as Int32Array);
    expect(thrown(() => callByName(kernels, op, { ...args, [arg]: shared }))).toBe(
      `ERR_KIND ${op}: "${arg}" must not lie in a SharedArrayBuffer: another thread could change it while it is read`,
    );
  });

  it.each(operations)('%s: detached arrays are too short, others may follow their buffer or be shared', (op) => {
    const want = fresh(op);
    callByName(kernels, op, want);
    const indices = new Set(['ids', 'index', 'slotToken', 'expertOffsets', 'tokenSlots']);
    for (const name of arraysOf(want)) {
      const args = fresh(op);
      const v = args[name] as TypedArray;
      const Class = v.constructor as Float32ArrayConstructor;
      const detached = v.slice();
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      // Without ends there are no experts, and nothing to do.
      // The addon is the second line: code that has seen both kinds may take a detached array for a whole one (V8 11).
      const message =
        name === 'expertOffsets' && op !== 'groupedGemm' ? /^nothing$/ : /^(ERR_SHAPE|ERR_VALUE|no code) /;
      expect(thrown(() => callByName(kernels, op, { ...args, [name]: detached }))).toMatch(message);

      const resizable = new (ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer)(v.byteLength, {
        maxByteLength: v.byteLength + 64,
      });
      const shared = new SharedArrayBuffer(v.byteLength);
      for (const buffer of indices.has(name) ? [resizable] : [resizable, shared]) {
        const other = new Class(buffer as ArrayBuffer); // it follows the length of its buffer
        other.set(v);
        const moved: Args = { ...fresh(op), [name]: other };
        expect(thrown(() => callByName(kernels, op, moved))).toBe('nothing');
        for (const out of writtenBy(op))
          expect([...(moved[out] as TypedArray)]).toEqual([...(want[out] as TypedArray)]);
      }
    }
  });

  it.each([
    ['stage', 'x'],
    ['stage', 'slotToken'],
    ['stage', 'expertOffsets'],
    ['stage', 'globalDecodeScale'],
    ['swigluStage', 'gateUp'],
    ['swigluStage', 'expertOffsets'],
    ['swigluStage', 'globalDecodeScale'],
    ['groupedGemm', 'out'],
  ] as const)('%s: %s does not lie in what is staged', (op, name) => {
    const staged = kernels.createStaged({ slots: 40, k: 32, inputs: ['nvfp4'] });
    const args: Args = { ...fresh(op), staged };
    if (op === 'groupedGemm') stageFrom({ staged, rows: 2, k: 16, codes: new Uint8Array(16), sf: new Uint8Array(2) });
    const { codes } = staged as HostStaged;
    const v = args[name] as TypedArray;
    const over = new (v.constructor as Float32ArrayConstructor)(codes.buffer, codes.byteOffset, v.length);
    over.set(v); // the argument is right, but for where it is
    expect(thrown(() => callByName(kernels, op, { ...args, [name]: over }))).toBe(
      `ERR_SHAPE ${op}: "${name}" must not lie in "staged"`,
    );
  });
});

// The addon looks at each argument once, and at nothing that could change afterwards.
it.each(BACKENDS.filter(({ kernels }) => kernels.backend === 'native'))(
  'arguments that are others when they are asked for again: an error or a result, $name',
  ({ kernels }) => {
    const right = rightArguments(kernels);
    for (const op of Object.keys(right) as Op[]) {
      for (const name of arraysOf(right[op])) {
        for (let when = 0; when < 9; when++) {
          const args = copyOf(right[op]);
          const v = args[name] as TypedArray;
          for (const other of arraysOf(args).map((arg) => args[arg] as TypedArray)) {
            let asked = 0;
            const length = Math.floor(other.byteLength / v.BYTES_PER_ELEMENT);
            const changed = new (v.constructor as Float32ArrayConstructor)(other.buffer, 0, length);
            const get = (): unknown => (asked++ === when ? changed : v);
            const fickle = Object.defineProperty({ ...args }, name, { get, enumerable: true });
            expect(thrown(() => callByName(kernels, op, fickle))).toMatch(/^(nothing|ERR_\w+ |no code )/);
          }
        }
      }
    }
  },
);

it.each<KernelIsa | 'js'>(['js', ...ISAS])('a scan does not write over its logits, %s', (isa) => {
  const scan = createLogitsScan(isa === 'js' ? { backend: 'js' } : { isa });
  const logits = new Float32Array(40).fill(1);
  const values = new Float32Array(8);
  const ids = new Int32Array(8);
  for (const [i, v] of [
    [new Int32Array(logits.buffer, 16, 8), values],
    [ids, logits.subarray(4, 12)],
    [ids, new Float32Array(ids.buffer)],
  ] as const) {
    expect(thrown(() => scan.top(logits, 40, 3, 1, i, v))).toMatch(/^ERR_SHAPE top: .*must not overlap/);
    expect(thrown(() => scan.atLeast(logits, 40, 0, i, v))).toMatch(/^ERR_SHAPE atLeast: .*must not overlap/);
  }
});
