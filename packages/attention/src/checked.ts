import { describe, KindError, ShapeError, ValueError } from '@megamoe/core';
import { arrayChecks, makeChecks, makeMemoryChecks, makeTakers, makeValueChecks, RECHECKED } from '@megamoe/ops';
import type { FamilyOp, HostArrays, Operations } from '@megamoe/ops';
import { type CacheUse, HostCache, USES } from './cache';
import { Compressor } from './compressor';
import type { AttentionOp, Own, OwnOperations } from './own';
import { Rope } from './rope';
import { HostStep } from './step';

/** What makes each handle, by its name in the list of operations. */
const MAKERS = { rope: 'createRope', compressor: 'packCompressor', cache: 'createCache', step: 'createStep' } as const;

/** Whether `v` is a handle made here, and whether it has been disposed. A branch for each kind: none is asked through another's shape. */
function stateOf(v: unknown, of: string): 'good' | 'disposed' | 'foreign' {
  if (of === 'step') return HostStep.is(v) ? (v.disposed ? 'disposed' : 'good') : 'foreign';
  if (of === 'cache') return HostCache.is(v) ? (v.disposed ? 'disposed' : 'good') : 'foreign';
  if (of === 'compressor') return Compressor.is(v) ? 'good' : 'foreign';
  return Rope.is(v) ? 'good' : 'foreign';
}

/** Throws unless `v` is a handle that these kernels made and that has not been disposed. */
export function checkHandle(fn: string, arg: string, v: unknown, of: string): void {
  const state = stateOf(v, of);
  if (state === 'good') return;
  if (state === 'disposed') throw new KindError(`${fn}: "${arg}" has been disposed`);
  const by = MAKERS[of as keyof typeof MAKERS];
  throw new KindError(`${fn}: "${arg}" must be what ${by} of the attention kernels made, got ${describe(v)}`);
}

/** Throws unless the step is planned for the cache. Returns whether it has rows. */
function planned(fn: string, { cache, step }: { readonly cache: HostCache; readonly step: HostStep }): boolean {
  if (step.cache === cache) return step.rows > 0;
  const what = step.cache === null ? 'has not been planned' : 'is planned for another cache';
  throw new ValueError(`${fn}: "step" ${what}: call planStep with this cache first`);
}

/** Throws when an argument lies in the memory of the cache, which is read or written while it is. */
function apartFromCache(fn: string, cache: HostCache, use: CacheUse, arg: string, v: Float32Array | Int32Array): void {
  if (!cache.isOutside(use, v)) throw new ShapeError(`${fn}: "${arg}" must not lie in "cache"`);
}

function checkWidth(fn: string, arg: string, got: number, layer: number, formula: string, want: number): void {
  if (got === want) return;
  throw new ShapeError(`${fn}: "${arg}" must be ${formula} = ${want} of layer ${layer}, got ${got}`);
}

function checkCompress({ cache, layer, indexer, width, weights }: Own<'compress'>): void {
  const fn = 'compress';
  const memory = cache.compressor(fn, layer, indexer);
  const { ratio } = cache.specs[layer]!;
  const dim = indexer ? 'indexHeadDim' : 'headDim';
  checkWidth(fn, 'width', width, layer, ratio === 4 ? `2*${dim}` : dim, memory.width);
  checkWeights('ape', weights.ape, layer, 'ratio*width', ratio * width);
  checkWeights('norm', weights.norm, layer, dim, memory.dim);
}

function checkWeights(part: string, v: Float32Array, layer: number, formula: string, want: number): void {
  if (v.length === want) return;
  throw new ShapeError(
    `compress: "weights" must have ${part} of ${formula} = ${want} elements for layer ${layer}, got ${v.length}`,
  );
}

function checkAttend({ cache, layer, d, selected, heads, sinks }: Own<'attend'>): void {
  const fn = 'attend';
  const { ratio, headDim } = cache.specs[layer]!;
  checkWidth(fn, 'd', d, layer, 'headDim', headDim);
  if (selected !== null && ratio === 0) {
    throw new ValueError(
      `${fn}: "selected" must be null for layer ${layer}: its compress ratio is 0, there are no entries`,
    );
  }
  for (let h = 0; h < heads; h++) {
    if (Number.isNaN(sinks[h]!)) throw new ValueError(`${fn}: "sinks" must not be NaN, got NaN at index ${h}`);
  }
}

/** Operations of an addon, which compares addresses itself: what it refuses is looked at again, for an error of the usual class and words. */
function retold(ops: OwnOperations, memory: ReturnType<typeof makeMemoryChecks>): OwnOperations {
  const wrap = <N extends AttentionOp>(name: N): OwnOperations[N] =>
    RECHECKED[name](ops[name] as (a: unknown) => void, memory[name] as (a: unknown) => void);
  return {
    ropeTables: ops.ropeTables,
    rope: wrap('rope'),
    writeWindow: wrap('writeWindow'),
    compress: wrap('compress'),
    indexSelect: wrap('indexSelect'),
    attend: wrap('attend'),
  };
}

/**
 * Operations with all their checks: those that follow from the list, and those that it cannot know.
 * @param isAddon the operations compare addresses of results and other arguments themselves, which costs less than a `.buffer`
 */
export function checkedOperations(
  bare: OwnOperations,
  isAddon: boolean,
): Operations<HostArrays, FamilyOp<'attention'>> {
  const kinds = arrayChecks(checkHandle);
  const all = makeChecks(kinds);
  const check = isAddon ? makeValueChecks(kinds) : all;
  const take = makeTakers();
  const ops = isAddon ? retold(bare, makeMemoryChecks(kinds)) : bare;
  return {
    ropeTables(given) {
      const args = take.ropeTables(given);
      all.ropeTables(args, args === given); // TypeScript on every backend
      ops.ropeTables(args as Own<'ropeTables'>);
    },
    rope(given) {
      const args = take.rope(given);
      check.rope(args, args === given);
      if (args.rows > 0) ops.rope(args);
    },
    writeWindow(given) {
      const args = take.writeWindow(given);
      check.writeWindow(args, args === given);
      const a = args as Own<'writeWindow'>;
      const any = planned('writeWindow', a);
      checkWidth('writeWindow', 'd', a.d, a.layer, 'headDim', a.cache.specs[a.layer]!.headDim);
      apartFromCache('writeWindow', a.cache, USES.windowKv, 'kv', a.kv);
      if (any) ops.writeWindow(a);
    },
    compress(given) {
      const args = take.compress(given);
      check.compress(args, args === given);
      const a = args as Own<'compress'>;
      const any = planned('compress', a);
      checkCompress(a);
      apartFromCache('compress', a.cache, USES.compressKv, 'kv', a.kv);
      apartFromCache('compress', a.cache, USES.compressGate, 'gate', a.gate);
      if (any) ops.compress(a);
    },
    indexSelect(given) {
      const args = take.indexSelect(given);
      check.indexSelect(args, args === given);
      const a = args as Own<'indexSelect'>;
      const any = planned('indexSelect', a);
      const { dim } = a.cache.compressor('indexSelect', a.layer, true);
      checkWidth('indexSelect', 'dim', a.dim, a.layer, 'indexHeadDim', dim);
      if (args !== given) kinds.unshared('indexSelect', kinds.place('selected', a.selected, a.selected.length));
      apartFromCache('indexSelect', a.cache, USES.selected, 'selected', a.selected);
      if (any) ops.indexSelect(a);
    },
    attend(given) {
      const args = take.attend(given);
      check.attend(args, args === given);
      const a = args as Own<'attend'>;
      const any = planned('attend', a);
      checkAttend(a);
      apartFromCache('attend', a.cache, USES.out, 'out', a.out);
      if (any) ops.attend(a);
    },
  };
}
