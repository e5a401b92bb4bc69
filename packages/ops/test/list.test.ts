import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, expectTypeOf, it } from 'vitest';
import {
  arrayChecks,
  hostTensor,
  HostTensor,
  makeChecks,
  missingOperations,
  observed,
  overlaid,
  onHost,
  OP_NAMES,
  OPS,
  POSITIONAL,
  type Backend,
  type FamilyOp,
  type HandleName,
  type HostArray,
  type HostArrays,
  type Kind,
  type OpArgs,
  type Operations,
  type OpName,
  type OpRow,
  type Tensors,
} from '../src/index';

const ROWS: readonly (readonly [OpName, OpRow])[] = OP_NAMES.map((name) => [name, OPS[name]]);

/** What handles look like to formulas. */
const HANDLES: Readonly<Record<HandleName, object>> = {
  linear: { n: 4, k: 4, groups: 2 },
  experts: { numExperts: 2, n: 4, k: 4, parts: 1 },
  staged: {},
  router: { numExperts: 4, topk: 2 },
  rope: { ropeDim: 4 },
  compressor: {},
  cache: { layers: 2 },
  step: { rows: 3 },
};
const ARRAYS = { f32: Float32Array, i32: Int32Array, u8: Uint8Array, bf16: Uint16Array, e4m3: Uint8Array } as const;

type Args = Record<string, unknown>;

/** A formula over arguments. */
function evaluate(formula: string, args: Args): number {
  const body = formula.replace(/[a-zA-Z][\w.]*/g, (name) => `a.${name}`);
  return new Function('a', `return ${body};`)(args) as number;
}

/** Arguments that are right: small counts, arrays of exactly the right length. */
function goodArgs(row: OpRow): Args {
  const args: Args = {};
  const kinds = Object.entries(row.args);
  for (const [name, kind] of kinds) {
    if (kind.kind === 'count') args[name] = name === 'layer' ? 1 : 4;
    if (kind.kind === 'real') args[name] = 1;
    if (kind.kind === 'flag') args[name] = true;
    if (kind.kind === 'choice') args[name] = kind.of[0];
    if (kind.kind === 'handle') args[name] = HANDLES[kind.of];
  }
  // Those without a formula first: the formulas of others may ask for their length.
  const tensors = kinds.flatMap(([name, kind]) => (kind.kind === 'tensor' ? [[name, kind] as const] : []));
  for (const [name, kind] of tensors) if (kind.shape === '') args[name] = new ARRAYS[kind.dtype](4);
  for (const [name, kind] of tensors) {
    if (kind.shape !== '') args[name] = new ARRAYS[kind.dtype](evaluate(kind.shape, args));
  }
  return args;
}

const CHECKS = makeChecks(
  arrayChecks((fn, arg, v, of) => {
    if (v !== HANDLES[of]) throw new TypeError(`${fn}: "${arg}" must be a handle`);
  }),
) as unknown as Readonly<Record<OpName, (args: Args) => void>>;

/** What is wrong for an argument, and which words the message has. */
function wrongs(name: string, kind: Kind, args: Args): readonly (readonly [unknown, RegExp])[] {
  const arg = new RegExp(`"${name}"`);
  switch (kind.kind) {
    case 'count':
      return [kind.min - 1, 0.5, NaN, '1', undefined, ...(kind.max === undefined ? [] : [evaluate(kind.max, args) + 1]), ...(kind.multipleOf > 1 ? [1] : [])].map((v) => [v, arg]); // prettier-ignore
    case 'real':
      return [NaN, '1', null, ...(kind.positive ? [0, -1, 1e-50] : [Infinity]), ...(kind.min === 0 ? [-1] : [])].map((v) => [v, arg]); // prettier-ignore
    case 'flag':
      return [0, null, undefined].map((v) => [v, arg]);
    case 'choice':
      return ['', null].map((v) => [v, arg]);
    case 'handle':
      return [null, {}].map((v) => [v, arg]);
    case 'tensor': {
      const good = args[name] as HostArray;
      const values: unknown[] = [{}, new Float64Array(64), ...(kind.optional ? [] : [null])];
      if (kind.shape !== '' && good.length > 0) values.push(good.subarray(1));
      return values.map((v) => [v, arg]);
    }
  }
}

describe.each(ROWS)('%s', (name, row) => {
  const kinds = Object.entries(row.args);

  it('is described: a sentence, outputs, and formulas over its own arguments', () => {
    expect(row.does).toMatch(/\.$/);
    expect(kinds.some(([, kind]) => (kind.kind === 'tensor' || kind.kind === 'handle') && kind.access !== 'reads')).toBe(true); // prettier-ignore
    for (const [, kind] of kinds) {
      const formulas = kind.kind === 'tensor' ? [kind.shape, kind.min, kind.below, kind.ends] : kind.kind === 'count' ? [kind.max] : []; // prettier-ignore
      for (const word of formulas.flatMap((formula) => formula?.match(/(?<![\w.])[a-zA-Z]\w*/g) ?? [])) {
        expect(Object.keys(row.args)).toContain(word);
      }
      if (kind.kind === 'tensor' && kind.inPlace !== undefined) expect(Object.keys(row.args)).toContain(kind.inPlace);
    }
  });

  it('takes the right arguments, and buffers that are larger', () => {
    const args = goodArgs(row);
    CHECKS[name](args);
    for (const [arg, kind] of kinds) {
      if (kind.kind !== 'tensor' || kind.shape === '') continue;
      const more = new ARRAYS[kind.dtype]((args[arg] as HostArray).length + 3);
      CHECKS[name]({ ...args, [arg]: more });
      if (kind.optional) CHECKS[name]({ ...args, [arg]: null });
    }
  });

  it('refuses each argument that is wrong, by its name and its own', () => {
    expect(() => CHECKS[name](null as unknown as Args)).toThrow(`${name}: takes one object with its arguments by name`);
    const args = goodArgs(row);
    for (const [arg, kind] of kinds) {
      for (const [value, words] of wrongs(arg, kind, args)) {
        const call = (): void => CHECKS[name]({ ...args, [arg]: value });
        expect(call, `${arg} = ${String(value)}`).toThrow(new RegExp(`^${name}: .*${words.source}`));
      }
    }
  });

  it('refuses values of indices that are outside', () => {
    const args = goodArgs(row);
    for (const [arg, kind] of kinds) {
      if (kind.kind !== 'tensor' || kind.below === undefined) continue;
      for (const value of [evaluate(kind.min!, args) - 1, evaluate(kind.below, args)]) {
        const bad = (args[arg] as Int32Array).map((v, i) => (i === 1 ? value : v));
        if (bad[1] !== value) continue; // beyond what an int32 can hold
        expect(() => CHECKS[name]({ ...args, [arg]: bad })).toThrow(`${name}: "${arg}" must hold values in [`);
      }
    }
  });

  it('refuses results that overlap other arguments, but where it says that they may', () => {
    const args = goodArgs(row);
    const tensors = kinds.flatMap(([arg, kind]) => (kind.kind === 'tensor' ? [[arg, kind] as const] : []));
    for (const [out, kind] of tensors.filter(([, k]) => k.access !== 'reads')) {
      for (const [other, otherKind] of tensors) {
        const [own, theirs] = [args[out] as HostArray, args[other] as HostArray];
        if (other === out || own.length === 0 || theirs.length === 0) continue;
        const buffer = new ArrayBuffer(own.byteLength + theirs.byteLength);
        /** Both in one buffer, the result from `offset` on. */
        const at = (offset: number): Args => ({
          ...args,
          [out]: new ARRAYS[kind.dtype](buffer, offset, own.length),
          [other]: new ARRAYS[otherKind.dtype](buffer, 0, theirs.length),
        });
        CHECKS[name](at(theirs.byteLength));
        const last = theirs.byteLength - 4;
        if (last > 0) expect(() => CHECKS[name](at(last)), `${out} over ${other}`).toThrow('must not overlap');
        if (kind.inPlace === other) CHECKS[name](at(0));
        else expect(() => CHECKS[name](at(0)), `${out} is ${other}`).toThrow('must not overlap');
      }
    }
  });

  it('is unwrapped and passed on in the order of the list', () => {
    const args = goodArgs(row);
    const calls: unknown[][] = [];
    const native = (...all: unknown[]): void => void calls.push(all);
    (POSITIONAL[name] as (f: unknown, isa: number, threads: number, a: Args) => unknown)(native, 3, 5, args);
    expect(calls).toEqual([[3, 5, ...kinds.map(([arg]) => args[arg])]]);
    const seen: Args[] = [];
    const kernels = { [name]: (a: Args) => seen.push({ ...a }) } as unknown as Operations<HostArrays>;
    const wrapped = Object.fromEntries(
      kinds.map(([arg, kind]) => {
        const value = args[arg];
        if (kind.kind !== 'tensor') return [arg, value];
        return [arg, new HostTensor(kind.dtype, [(value as HostArray).length], value as never)];
      }),
    );
    (onHost(kernels)[name] as (a: Args) => void)(wrapped);
    expect(seen).toEqual([args]);
    for (const [arg, kind] of kinds) {
      if (kind.kind !== 'tensor') continue;
      const other = hostTensor(kind.dtype === 'f32' ? 'i32' : 'f32', [64]);
      expect(() => (onHost(kernels)[name] as (a: Args) => void)({ ...wrapped, [arg]: other })).toThrow(`${name}: "${arg}" must be a host tensor of ${kind.dtype}, got a tensor of ${other.dtype}`); // prettier-ignore
    }
  });
});

describe('the list', () => {
  it('is what src/generated is made from', () => {
    const script = fileURLToPath(new URL('../scripts/generate.mjs', import.meta.url));
    expect(() => execFileSync(process.execPath, [script, '--check'], { stdio: 'pipe' })).not.toThrow();
  });

  it('types every argument', () => {
    type Attend = OpArgs<'attend', HostArrays>;
    expectTypeOf<Attend['q']>().toEqualTypeOf<Float32Array>();
    expectTypeOf<Attend['selected']>().toEqualTypeOf<Int32Array | null>();
    expectTypeOf<Attend['heads']>().toEqualTypeOf<number>();
    expectTypeOf<Attend['step']>().toEqualTypeOf<HostArrays['step']>();
    expectTypeOf<OpArgs<'linear', Tensors>['inputs']>().toEqualTypeOf<'f32' | 'bf16' | 'nvfp4'>();
    expectTypeOf<OpArgs<'rope', Tensors>['inverse']>().toEqualTypeOf<boolean>();
    expectTypeOf<FamilyOp<'attention'>>().toEqualTypeOf<'ropeTables' | 'rope' | 'writeWindow' | 'compress' | 'indexSelect' | 'attend'>(); // prettier-ignore
  });

  it('an operation that somebody forgets is an error of the compiler', () => {
    type All = Record<OpName, boolean>;
    const most = {} as Omit<All, 'attend'>;
    // @ts-expect-error attend is missing
    expectTypeOf(most).toExtend<All>();
    const some = {} as Omit<Operations<Tensors>, 'rope'>;
    // @ts-expect-error rope is missing
    const whole: Operations<Tensors> = some;
    expect(whole).toEqual({});
    // @ts-expect-error a backend without hcPre is none
    expectTypeOf<Omit<Backend, 'hcPre'>>().toExtend<Backend>();
    // @ts-expect-error an argument is missing
    const call: OpArgs<'add', HostArrays> = { out: new Float32Array(0), x: new Float32Array(0) };
    expect(call.n).toBeUndefined();
  });
});

describe('backends', () => {
  const names = Object.fromEntries(OP_NAMES.map((name) => [name, () => undefined]));

  it('are asked which operations they lack', () => {
    expect(missingOperations(names as unknown as Backend)).toEqual([]);
    expect(missingOperations({ ...names, rope: undefined } as unknown as Backend)).toEqual(['rope']);
  });

  it('can be looked at: every operation that is named goes through the observer, the rest is theirs', () => {
    const done: string[] = [];
    const backend = {
      ...Object.fromEntries(OP_NAMES.map((name) => [name, () => done.push(name)])),
      name: 'mine',
    } as unknown as Backend;
    const seen = observed(backend, {
      add(args, run) {
        done.push(`before ${args.n}`);
        run();
        done.push('after');
      },
      rope: () => undefined, // not run at all
    });
    const add = { out: hostTensor('f32', [1]), x: hostTensor('f32', [1]), n: 1 };
    seen.add(add);
    seen.rope({} as OpArgs<'rope', Tensors>);
    seen.swiglu({} as OpArgs<'swiglu', Tensors>);
    expect(done).toEqual(['before 1', 'add', 'after', 'swiglu']);
    expect(seen.name).toBe('mine');
  });

  it('can be classes with fields of their own', () => {
    class Mine {
      #calls = 0;
      add(): void {
        this.#calls++;
      }
      swiglu(): void {
        this.#calls++;
      }
      get threads(): number {
        return this.#calls;
      }
    }
    const seen = observed(new Mine() as unknown as Backend, { add: (_, run) => run() });
    seen.add({} as OpArgs<'add', Tensors>);
    seen.swiglu({} as OpArgs<'swiglu', Tensors>);
    expect(seen.threads).toBe(2);
    expect(overlaid(seen, { name: 'other' }).threads).toBe(2);
  });

  it('takes the operations of a class, as its own methods', () => {
    class Counting {
      #calls = 0;
      add(): number {
        return ++this.#calls;
      }
    }
    const counting = overlaid({} as Backend, new Counting() as Partial<Backend>) as unknown as Counting;
    expect([counting.add(), counting.add()]).toEqual([1, 2]);
  });
});
