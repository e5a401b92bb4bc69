import { OPS } from '@megamoe/ops';
import { anyCalls, callsOf, changedCalls, makeCalls, type FuzzCall, type OpList } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import type { GemmAddon } from '../src/addon';
import { loadGemmAddon } from '../src/binding';
import type { ExpertsWeight, GemmKernels, LinearWeight, Staged } from '../src/index';
import { stageFrom } from '../src/index';
import { createNativeEngine } from '../src/native-engine';
import { nativeScan } from '../src/scan';
import { checkedKernels } from '../src/kernels';
import { BACKENDS, pack, poisonedStaged } from './backends';

const tensor = (dtype: string, shape: string, access = 'reads') => ({ kind: 'tensor', dtype, shape, access });
const count = { kind: 'count', min: 0 };

/** The list, and what these kernels have besides. */
const LIST: OpList = {
  ...OPS,
  nvfp4Loss: {
    args: {
      ...{ x: tensor('f32', 'rows*k'), rows: count, k: count, globalDecodeScale: { kind: 'real' } },
      ...{ codes: tensor('u8', 'rows*k/2'), sf: tensor('u8', 'rows*k/16'), sums: tensor('f64', 'rows*3', 'writes') },
    },
  },
  stageFrom: {
    args: {
      ...{ staged: { kind: 'handle', of: 'staged' }, rows: count, k: count },
      ...{ codes: tensor('u8', 'rows*k/2'), sf: tensor('u8', 'rows*k/16') },
      rowScale: { ...tensor('f32', 'rows'), optional: true },
    },
  },
};

const OPERATIONS = (kernels: GemmKernels): string[] => Object.keys(LIST).filter((name) => name in kernels);

/** Weights of all formats, with a pool too, and room for staged rows. */
function handlesOf(kernels: GemmKernels): Record<string, readonly unknown[]> {
  const nvfp4 = { codes: new Uint8Array(48), sf: new Uint8Array(6) };
  const small = { numExperts: 2, n: 2, k: 16, parts: 2, codes: new Uint8Array(32), sf: new Uint8Array(4) } as const;
  return {
    linear: [
      kernels.packLinear({ n: 2, k: 3, dtype: 'f32', data: new Float32Array(6) }),
      kernels.packLinear({ n: 3, k: 16, groups: 2, dtype: 'bf16', data: new Uint16Array(96) }),
      kernels.packLinear({ n: 2, k: 3, dtype: 'fp8', data: { codes: new Uint8Array(6), scales: new Float32Array(2) } }),
      kernels.packLinear({
        ...{ n: 3, k: 16, groups: 2, dtype: 'nvfp4', weightGlobalDecodeScale: Float32Array.of(1) },
        ...{ inputGlobalDecodeScale: 'row', data: nvfp4 },
      }),
    ],
    experts: [
      pack(kernels, { ...small, numExperts: 1, n: 3, parts: 1, codes: nvfp4.codes, sf: nvfp4.sf }),
      pack(kernels, small),
      kernels.packExperts({ numExperts: 2, n: 3, k: 16, format: 'bf16', read: () => ({ data: new Uint16Array(48) }) }),
      kernels.packExperts({
        ...{ numExperts: 2, n: 2, k: 16, parts: 2, format: 'nvfp4' },
        read: () => ({ codes: new Uint8Array(8), sf: new Uint8Array(1) }),
        pool: kernels.createExpertPool({ n: 2, k: 16, parts: 2, format: 'nvfp4', slots: 1 }),
      }),
    ],
    staged: [
      poisonedStaged(kernels, 35, 32, 'f32', 'bf16', 'nvfp4'),
      poisonedStaged(kernels, 35, 32, 'f32', 'bf16', 'nvfp4'),
      poisonedStaged(kernels, 4, 16, 'nvfp4'),
    ],
  };
}

it.each(BACKENDS)(
  '$name survives nearly right and random arguments: an error or a result, never a crash',
  ({ kernels }) => {
    const target = { ...kernels, stageFrom };
    const names = OPERATIONS(target as GemmKernels);
    const other = [
      'backend',
      'isa',
      'threads',
      'packLinear',
      'packExperts',
      'createExpertPool',
      'createStaged',
      'packedBytes',
    ];
    expect(Object.keys(target).sort()).toEqual([...names, ...other].sort());
    makeCalls(target, anyCalls(Object.keys(target).filter((name) => !other.slice(0, 3).includes(name))), [], 2000);
    const done = makeCalls(target, callsOf(LIST, names, handlesOf(kernels)), [], 12_000);
    expect(Object.keys(done).sort()).toEqual([...names].sort()); // every operation did its work now and then
  },
);

/** One right call of every function of the addon, as the engine and the scans make them. */
function rightCalls(addon: GemmAddon): FuzzCall[] {
  const calls = new Map<string, FuzzCall>();
  const recorder = new Proxy(addon, {
    get(target, name) {
      const f = target[name as keyof GemmAddon] as unknown;
      if (typeof f !== 'function') return f;
      return (...args: unknown[]): unknown => {
        const kept = args.map((v) => (ArrayBuffer.isView(v) ? (v as Float32Array).slice() : v));
        calls.set(`${String(name)} ${kept.length}`, [name as string, kept]);
        return (f as (...a: unknown[]) => unknown)(...args);
      };
    },
  });
  const kernels = checkedKernels(createNativeEngine({ addon: recorder, isa: addon.isa, table: 0 }, 2));
  const { linear, experts, staged } = handlesOf(kernels) as {
    linear: LinearWeight[];
    experts: ExpertsWeight[];
    staged: Staged[];
  };
  const f = (n: number): Float32Array => new Float32Array(n).fill(1);
  for (const w of linear) {
    for (const inputs of ['f32', 'bf16', 'nvfp4'] as const) {
      if (inputs === 'nvfp4' && w.inputGlobalDecodeScale === null) continue;
      kernels.linear({ w, x: f(2 * w.groups * w.k), rows: 2, inputs, out: f(2 * w.groups * w.n) });
    }
    if (w.groups === 1) kernels.embed({ table: w, ids: Int32Array.of(1, 0), rows: 2, repeat: 2, out: f(4 * w.k) });
  }
  const expertOffsets = Int32Array.of(1, 3);
  const common = { slots: 3, expertOffsets, staged: staged[0]! };
  for (const inputs of ['f32', 'bf16', 'nvfp4'] as const) {
    for (const globalDecodeScale of inputs === 'nvfp4' ? [f(2), null] : [null]) {
      kernels.swigluStage({ ...common, gateUp: f(96), i: 16, limit: 1, inputs, globalDecodeScale });
      kernels.stage({ ...common, x: f(32), k: 16, slotToken: Int32Array.of(1, 0, 1), inputs, globalDecodeScale });
      kernels.groupedGemm({ ...common, w: experts[1]!, alpha: f(4), out: f(6) });
    }
  }
  makeCalls(kernels, callsOf(LIST, OPERATIONS(kernels), {}), [], 3000); // those that take no handles
  const scan = nativeScan(recorder, 0);
  scan.firstNonFinite(f(40), 3, 40);
  scan.argmax(f(40), 40);
  scan.top(f(40), 40, 3, 1, new Int32Array(9), f(9));
  scan.atLeast(f(40), 40, 0.5, new Int32Array(9), f(9));
  scan.mayWin(f(40), 40, 0.5, new Int32Array(4), new Int32Array(9), f(9));
  scan.massBefore(f(40), 40, 0.5, 39);
  kernels.packedBytes('nvfp4', 2, 3, 16);
  recorder.freeWeight(addon.createWeight(0, 1, 1, 1));
  calls.delete('freeWeight 1'); // weights of the other calls would be freed
  const size = { rows: 3, kSf: 20 };
  calls.set('swizzle128x4', ['swizzle128x4', [2, new Uint8Array(60), size.rows, size.kSf, new Uint8Array(2560)]]);
  calls.set('measureCeiling', ['measureCeiling', [2, 1, 4096, 8192]]);
  calls.set('adviseHugePages', ['adviseHugePages', [new Uint8Array(64)]]);
  return [...calls.values()];
}

it('the addon itself survives random arguments, without the checks in front of it', () => {
  const { addon } = loadGemmAddon();
  const names = Object.keys(addon ?? {}).filter((name) => typeof addon![name as keyof GemmAddon] === 'function');
  expect(names.length).toBe(addon === undefined ? 0 : 36);
  if (addon === undefined) return; // js only: there is no second line to test
  makeCalls(addon, anyCalls(names), [], 4000);
  const done = makeCalls(addon, changedCalls(rightCalls(addon)), [], 20_000);
  expect(Object.keys(done).sort()).toEqual(names.filter((name) => name !== 'freeWeight').sort());
});
