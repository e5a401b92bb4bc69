import { sameBuffer, ShapeError } from '@megamoe/core';
import { makeMemoryChecks, OP_NAMES, OPS, RECHECKED } from '@megamoe/ops';
import type { Memory } from '@megamoe/ops';
import { ARRAYS } from './checks';
import type { Engine, EngineArgs, StagedMemory } from './engine';
import type { GemmOp, Nvfp4LossArgs } from './types';

/** Operations of an engine by name, or what looks at their arguments. */
type ByName = { readonly [N in GemmOp]: (a: EngineArgs<N>) => void } & { nvfp4Loss(a: Nvfp4LossArgs): void };

const EXPERT_OPS: readonly string[] = ['stage', 'swigluStage', 'groupedGemm', 'scatterExperts'];
const NAMES = [
  ...OP_NAMES.filter((name) => OPS[name].family === 'rows' || EXPERT_OPS.includes(name)),
  'nvfp4Loss',
] as readonly (keyof ByName)[];

/** Throws when an argument lies in what is staged. */
function apartFromStaged(fn: string, { buffer }: StagedMemory, arg: string, v: Memory | null): void {
  if (v !== null && sameBuffer(v.buffer, buffer)) throw new ShapeError(`${fn}: "${arg}" must not lie in "staged"`);
}

/** Where memory lies: what follows from the list, and what is staged, which the list does not see into. */
function memoryChecks(): ByName {
  const listed = makeMemoryChecks(ARRAYS) as unknown as ByName; // they look at arrays and shapes, not into handles
  return {
    ...listed,
    stage(a) {
      listed.stage(a);
      apartFromStaged('stage', a.staged, 'x', a.x);
      apartFromStaged('stage', a.staged, 'slotToken', a.slotToken);
      apartFromStaged('stage', a.staged, 'expertOffsets', a.expertOffsets);
      apartFromStaged('stage', a.staged, 'globalDecodeScale', a.globalDecodeScale);
    },
    swigluStage(a) {
      listed.swigluStage(a);
      apartFromStaged('swigluStage', a.staged, 'gateUp', a.gateUp);
      apartFromStaged('swigluStage', a.staged, 'expertOffsets', a.expertOffsets);
      apartFromStaged('swigluStage', a.staged, 'globalDecodeScale', a.globalDecodeScale);
    },
    groupedGemm(a) {
      listed.groupedGemm(a);
      apartFromStaged('groupedGemm', a.staged, 'out', a.out);
    },
    nvfp4Loss({ x, rows, k, codes, sf, sums }) {
      const written = ARRAYS.place('sums', sums, 3 * rows);
      ARRAYS.apart('nvfp4Loss', written, ARRAYS.place('x', x, rows * k));
      ARRAYS.apart('nvfp4Loss', written, ARRAYS.place('codes', codes, (rows * k) / 2));
      ARRAYS.apart('nvfp4Loss', written, ARRAYS.place('sf', sf, (rows * k) / 16));
    },
  };
}

/**
 * The engine with its arguments' memory checked: outputs are apart from everything else, indices in memory of this thread. The addon compares
 * addresses itself, which costs less than a `.buffer`; what it refuses is looked at again here, for an error of the usual class and words.
 */
export function guarded(engine: Engine): Engine {
  const checks = memoryChecks() as Readonly<Record<string, (a: object) => void>>;
  const operations = engine as unknown as Readonly<Record<string, (a: object) => void>>;
  const wrap = (name: keyof ByName): ((a: object) => void) => {
    const [check, run] = [checks[name]!, operations[name]!];
    if (engine.backend === 'js')
      return (a) => {
        check(a);
        run(a);
      };
    // The one outside the list is no operation of a step, so it may share a function.
    return RECHECKED[name === 'nvfp4Loss' ? 'embed' : name](run, check);
  };
  return { ...engine, ...Object.fromEntries(NAMES.map((name) => [name, wrap(name)])) };
}
