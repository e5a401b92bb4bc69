import { CheckpointError } from '@megamoe/core';
import type { ModelConfig } from '../config/types';
import { badFile, listText } from '../fail';
import type { TensorInfo } from '../safetensors/store';
import { classify, COMPANIONS, expectTensor } from './classify';
import type { DraftLayers } from './draft';
import { draftLayers } from './draft';
import type { LinearSlot, TensorSlot } from './layout';
import { modelSlots } from './layout';
import type { FusedPlace, ModuleInfo } from './module-info';
import { canonicalName, isDerivedTensor, isDraftTensor } from './names';

/** A checkpoint's tensors, sorted by what the model needs. */
export interface ModuleTable {
  readonly modules: ReadonlyMap<string, ModuleInfo>;
  /** Everything that is not a module's, by canonical name. */
  readonly plain: ReadonlyMap<string, TensorInfo>;
  readonly draft: DraftLayers;
  readonly warnings: readonly string[];
}

const MAX_MISSING = 1000;

/** The tensor that holds an expert's matrix in transformers' fused form, and the rows of it: [E, 2I, D] with gate rows first, or [E, D, I]. */
function fusedPlace({ n, expert }: LinearSlot, config: ModelConfig): { name: string; place: FusedPlace } | undefined {
  if (!expert) return undefined;
  const isDown = expert.matrix === 'w2';
  return {
    name: `layers.${expert.layer}.ffn.experts.${isDown ? 'down_proj' : 'gate_up_proj'}`,
    place: {
      experts: config.numExperts,
      rows: isDown ? n : 2 * n,
      index: expert.index,
      row: expert.matrix === 'w3' ? n : 0,
    },
  };
}

function checkPlain(slot: TensorSlot, info: TensorInfo): void {
  const dtypes = slot.type === 'integer' ? ['I64', 'I32'] : ['F32', 'BF16', 'F16'];
  expectTensor(info, dtypes, [slot.shape]);
}

/** Renames every tensor, leaves out what follows from config.json, sets draft layers apart, and refuses two tensors of one name. */
function byCanonicalName(
  tensors: ReadonlyMap<string, TensorInfo>,
  warnings: string[],
): { found: Map<string, TensorInfo>; drafts: Map<string, TensorInfo> } {
  const found = new Map<string, TensorInfo>();
  const drafts = new Map<string, TensorInfo>();
  const derived: string[] = [];
  for (const info of tensors.values()) {
    const name = canonicalName(info.name);
    if (isDerivedTensor(name)) {
      derived.push(info.name);
      continue;
    }
    const into = isDraftTensor(name) ? drafts : found;
    const other = into.get(name);
    if (other)
      throw badFile(info.file, `is the same as ${other.name} in ${other.file}: both mean ${name}`, {
        tensor: info.name,
      });
    into.set(name, info);
  }
  if (derived.length) warnings.push(`${listText(derived, 2)} skipped: rotary frequencies follow from config.json`);
  return { found, drafts };
}

/**
 * Matches the stored tensors with what a model of this config needs: every module gets its format, every tensor its shape check.
 * Throws CheckpointError for missing, unknown, misshapen and mistyped tensors.
 *
 * @param dir folder, for messages
 */
export function buildModuleTable(
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
): ModuleTable {
  const warnings: string[] = [];
  const { found, drafts } = byCanonicalName(tensors, warnings);
  const used = new Set<string>();
  const take = (name: string): TensorInfo | undefined => {
    const info = found.get(name);
    if (info) used.add(name);
    return info;
  };
  const modules = new Map<string, ModuleInfo>();
  const plain = new Map<string, TensorInfo>();
  const missing: string[] = [];
  for (const slot of modelSlots(config)) {
    if (missing.length >= MAX_MISSING) break;
    if (slot.kind === 'tensor') {
      const info = take(slot.name);
      if (!info) missing.push(slot.name);
      else {
        checkPlain(slot, info);
        plain.set(slot.name, info);
      }
      continue;
    }
    const { name } = slot;
    const weight = take(`${name}.weight`) ?? take(`${name}.weight_packed`);
    const companions = new Map<string, TensorInfo>();
    for (const key of COMPANIONS) {
      const info = take(`${name}.${key}`);
      if (info && info !== weight) companions.set(key, info);
    }
    if (weight) {
      modules.set(name, classify(slot, weight, companions));
      continue;
    }
    const fused = companions.size === 0 ? fusedPlace(slot, config) : undefined;
    const fusedWeight = fused && take(fused.name);
    if (!fusedWeight) {
      missing.push(`${name}.weight`);
      continue;
    }
    const scale = take(`${fused.name}_scale_inv`);
    modules.set(name, classify(slot, fusedWeight, new Map(scale ? [['scale', scale]] : []), fused.place));
  }
  const unknown = [...found.keys()].filter(
    (name) => !used.has(name) && !(name === 'head.weight' && config.tieWordEmbeddings),
  );
  if (missing.length) {
    const count = missing.length >= MAX_MISSING ? `${missing.length} or more` : missing.length;
    const strangers = unknown.length ? `; unknown tensors (${unknown.length}): ${listText(unknown, 3)}` : '';
    const message = `${dir}: tensors that config.json calls for are missing (${count}): ${listText(missing)}${strangers}`;
    throw new CheckpointError(message, { file: dir, tensor: missing[0]! });
  }
  if (unknown.length) {
    const names = unknown.map((name) => found.get(name)!.name);
    const { file, name } = found.get(unknown[0]!)!;
    throw new CheckpointError(`${file}: unknown tensors (${names.length}): ${listText(names)}`, { file, tensor: name });
  }
  return { modules, plain, draft: draftLayers(drafts), warnings };
}
