import { moduleBytes, type Checkpoint, type ScaleConvention } from '@megamoe/checkpoint';
import { saturationStatistics } from '@megamoe/nvfp4-quant';
import { checkpointHealth, type CheckpointHealth } from './scale-health';

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

/** Summarises a checkpoint; reads its block scales, and no weights but NVFP4 codes. */
export function inspectCheckpoint(checkpoint: Checkpoint): InspectReport {
  const groups = new Map<string, ModuleSummary>();
  const scales: ScaleHealth = { blocks: 0, saturatedScales: 0, minimumScales: 0, zeroScales: 0, nanScales: 0 };
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
    const sf = m.companions.get('weight_scale');
    if (m.format !== 'nvfp4' || !sf) continue;
    const s = saturationStatistics(checkpoint.read(m.weight.name), checkpoint.read(sf.name), { m: m.n, k: m.k });
    scales.blocks += s.blocks;
    scales.saturatedScales += s.saturatedScales;
    scales.minimumScales += s.minimumScales;
    scales.zeroScales += s.zeroScales;
    scales.nanScales += s.nanScales;
  }
  for (const t of checkpoint.tensors.values()) {
    if (inModules.has(t.name)) continue;
    const parameters = t.shape.reduce((a, b) => a * b, 1);
    add(general(t.name), t.dtype.toLowerCase(), t.shape, parameters, t.bytes);
  }
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
    health: checkpointHealth(checkpoint),
    warnings: [...checkpoint.warnings],
  };
}
