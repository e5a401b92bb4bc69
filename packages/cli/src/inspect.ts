import { moduleBytes, type Checkpoint, type ScaleConvention } from '@megamoe/checkpoint';
import { HealthScan, type CheckpointHealth, type ScanStep } from './scale-health';

/** Modules that are alike but for their layer and expert. */
export interface ModuleSummary {
  /** Canonical name with `*` for the layer and the expert. */
  readonly module: string;
  readonly format: string;
  /** Whose tensors and scales NVFP4 modules have. */
  readonly convention?: ScaleConvention;
  readonly shape: readonly number[];
  count: number;
  parameters: number;
  /** Bytes of weights and scales. */
  bytes: number;
}

/** Block scales of all NVFP4 modules. */
export interface ScaleHealth {
  blocks: number;
  saturatedScales: number;
  minimumScales: number;
  zeroScales: number;
  nanScales: number;
}

/** What `megamoe inspect --json` prints. */
export interface InspectReport {
  readonly dir: string;
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly modules: readonly ModuleSummary[];
  readonly scales: ScaleHealth;
  /** Draft layers (`mtp.*`), which are skipped when computing; their tensors are in `modules`, too. */
  readonly draft: { readonly layers: number; readonly tensors: number; readonly bytes: number };
  /** Scales by layer and projection, elements that are not finite, and what is odd. */
  readonly health: CheckpointHealth;
  readonly warnings: readonly string[];
}

/** A name with `*` for the layer and the expert. */
const general = (name: string): string =>
  name.replace(/^(layers|mtp)\.\d+/, '$1.*').replace(/experts\.\d+/, 'experts.*');

/** Summarises a checkpoint, a piece at a time; reads what a load would refuse, which codes of four bits are no part of. */
export function* inspectCheckpoint(checkpoint: Checkpoint): Generator<ScanStep, InspectReport> {
  const groups = new Map<string, ModuleSummary>();
  const inModules = new Set<string>();
  const add = (
    module: string,
    format: string,
    shape: readonly number[],
    parameters: number,
    size: number,
    convention?: ScaleConvention,
  ): void => {
    const key = `${module} ${format} ${convention} ${shape.join()}`;
    let group = groups.get(key);
    if (!group) {
      group = { module, format, ...(convention ? { convention } : {}), shape, count: 0, parameters: 0, bytes: 0 };
      groups.set(key, group);
    }
    group.count++;
    group.parameters += parameters;
    group.bytes += size;
  };
  const { draft } = checkpoint;
  for (const m of [...checkpoint.modules.values(), ...draft.modules.values()]) {
    for (const t of [m.weight, ...m.companions.values()]) inModules.add(t.name);
    add(general(m.name), m.format, [m.n, m.k], m.n * m.k, moduleBytes(m), m.convention);
  }
  for (const t of checkpoint.tensors.values()) {
    if (inModules.has(t.name)) continue;
    const parameters = t.shape.reduce((a, b) => a * b, 1);
    add(general(t.name), t.dtype.toLowerCase(), t.shape, parameters, t.bytes);
  }
  const scan = new HealthScan(checkpoint);
  const health = yield* scan.steps();
  const of = (...bytes: number[]): number => bytes.reduce((sum, byte) => sum + scan.nvfp4Counts[byte]!, 0);
  const scales: ScaleHealth = {
    blocks: scan.nvfp4Counts.reduce((a, b) => a + b, 0),
    saturatedScales: of(0x7e, 0xfe),
    minimumScales: of(0x01, 0x81),
    zeroScales: of(0x00, 0x80),
    nanScales: of(0x7f, 0xff),
  };
  const modules = [...groups.values()].sort((a, b) => b.bytes - a.bytes);
  return {
    dir: checkpoint.dir,
    tensors: checkpoint.tensors.size,
    parameters: modules.reduce((sum, m) => sum + m.parameters, 0),
    bytes: modules.reduce((sum, m) => sum + m.bytes, 0),
    modules,
    scales,
    draft: {
      layers: draft.layers,
      tensors: draft.tensors.size,
      bytes: [...draft.tensors.values()].reduce((sum, t) => sum + t.bytes, 0),
    },
    health,
    warnings: [...checkpoint.warnings],
  };
}
