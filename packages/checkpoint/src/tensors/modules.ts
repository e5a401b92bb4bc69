import { CheckpointError } from '@megamoe/core';
import type { ModelConfig } from '../config/types';
import { badFile, listText, shapeText } from '../fail';
import type { TensorInfo } from '../safetensors/store';
import type { LinearSlot, TensorSlot } from './layout';
import { modelSlots } from './layout';
import { canonicalName, isDerivedTensor, isDraftTensor } from './names';

/** How a module's matrix is stored. The last three are recognised, but cannot be read yet. */
export type ModuleFormat = 'bf16' | 'f32' | 'f16' | 'nvfp4' | 'fp8' | 'mxfp4' | 'compressed-tensors';

/** A matrix of the model: how it is stored and in which tensors. */
export interface ModuleInfo {
  /** Canonical name, as in `layers.0.attn.wq_a`. */
  readonly name: string;
  readonly format: ModuleFormat;
  readonly n: number;
  readonly k: number;
  /** The matrix itself. Experts that transformers fused share one. */
  readonly weight: TensorInfo;
  /** Byte offset of the matrix in `weight`; above 0 only for fused experts. */
  readonly offset: number;
  /** The scales beside it, by their last name, as in `weight_scale`. */
  readonly companions: ReadonlyMap<string, TensorInfo>;
}

/** A checkpoint's tensors, sorted by what the model needs. */
export interface ModuleTable {
  readonly modules: ReadonlyMap<string, ModuleInfo>;
  /** Everything that is not a module's, by canonical name. */
  readonly plain: ReadonlyMap<string, TensorInfo>;
  readonly warnings: readonly string[];
}

const FLOAT_FORMATS: Readonly<Record<string, ModuleFormat>> = { BF16: 'bf16', F32: 'f32', F16: 'f16' };
const COMPANIONS = [
  'weight_scale',
  'weight_scale_2',
  'input_scale',
  'scale',
  'weight_packed',
  'weight_global_scale',
  'input_global_scale',
  'weight_shape',
] as const;
const MAX_MISSING = 1000;

function expectTensor(info: TensorInfo, dtypes: readonly string[], shapes: readonly (readonly number[])[]): void {
  const sameShape = shapes.some((s) => s.length === info.shape.length && s.every((n, i) => n === info.shape[i]));
  if (dtypes.includes(info.dtype) && sameShape) return;
  const want = `${dtypes.join(' or ')} ${shapes.map(shapeText).join(' or ')}`;
  throw badFile(info.file, `expected ${want}, found ${info.dtype} ${shapeText(info.shape)}`, { tensor: info.name });
}

/** Decides by dtype, companions and shape how a module is stored. */
function classify(slot: LinearSlot, weight: TensorInfo, companions: ReadonlyMap<string, TensorInfo>): ModuleInfo {
  const { name, n, k } = slot;
  const info = (format: ModuleFormat): ModuleInfo => ({ name, format, n, k, weight, offset: 0, companions });
  const stray = (allowed: readonly string[]): void => {
    for (const [key, tensor] of companions) {
      if (allowed.includes(key)) continue;
      throw badFile(tensor.file, `does not belong beside a ${weight.dtype} weight (${weight.name})`, {
        tensor: tensor.name,
      });
    }
  };
  if (companions.has('weight_packed') || companions.has('weight_global_scale')) return info('compressed-tensors');
  const float = FLOAT_FORMATS[weight.dtype];
  if (float) {
    stray([]);
    expectTensor(weight, [weight.dtype], [[n, k]]);
    return info(float);
  }
  if (weight.dtype === 'F8_E4M3') return info('fp8');
  if (weight.dtype === 'I8' || (weight.dtype === 'U8' && companions.has('scale'))) return info('mxfp4');
  if (weight.dtype !== 'U8') {
    const want = `BF16, F32, F16 ${shapeText([n, k])} or U8 (NVFP4)`;
    throw badFile(weight.file, `expected ${want}, found ${weight.dtype} ${shapeText(weight.shape)}`, {
      tensor: weight.name,
    });
  }
  stray(['weight_scale', 'weight_scale_2', 'input_scale']);
  if (k % 16 !== 0)
    throw badFile(weight.file, `NVFP4 needs a width that is a multiple of 16, this is [${n}, ${k}]`, {
      tensor: weight.name,
    });
  for (const key of ['weight_scale', 'weight_scale_2']) {
    if (!companions.has(key)) {
      throw badFile(
        weight.file,
        `U8 weight without ${name}.${key}: expected weight, weight_scale and weight_scale_2 (NVFP4)`,
        { tensor: weight.name },
      );
    }
  }
  expectTensor(weight, ['U8'], [[n, k / 2]]);
  expectTensor(companions.get('weight_scale')!, ['F8_E4M3'], [[n, k / 16]]);
  expectTensor(companions.get('weight_scale_2')!, ['F32'], [[], [1]]);
  const input = companions.get('input_scale');
  if (input) expectTensor(input, ['F32'], [[], [1]]);
  return info('nvfp4');
}

/** The rows of one expert in transformers' fused tensors: gate_up_proj [E, 2I, D], gate rows first, and down_proj [E, D, I]. */
function classifyFused(slot: LinearSlot, fused: TensorInfo, config: ModelConfig): ModuleInfo {
  const { name, n, k, expert } = slot;
  const rows = expert!.matrix === 'w2' ? n : 2 * n;
  expectTensor(fused, Object.keys(FLOAT_FORMATS), [[config.numExperts, rows, k]]);
  const elementBytes = fused.dtype === 'F32' ? 4 : 2;
  const row = expert!.index * rows + (expert!.matrix === 'w3' ? n : 0);
  return {
    name,
    format: FLOAT_FORMATS[fused.dtype]!,
    n,
    k,
    weight: fused,
    offset: row * k * elementBytes,
    companions: new Map(),
  };
}

function checkPlain(slot: TensorSlot, info: TensorInfo): void {
  const dtypes = slot.type === 'integer' ? ['I64', 'I32'] : ['F32', 'BF16', 'F16'];
  expectTensor(info, dtypes, [slot.shape]);
}

/** Renames every tensor, leaves out what the model does not use, and refuses two tensors of one name. */
function byCanonicalName(tensors: ReadonlyMap<string, TensorInfo>, warnings: string[]): Map<string, TensorInfo> {
  const found = new Map<string, TensorInfo>();
  const drafts: string[] = [];
  const derived: string[] = [];
  for (const info of tensors.values()) {
    const name = canonicalName(info.name);
    if (isDraftTensor(name)) drafts.push(info.name);
    else if (isDerivedTensor(name)) derived.push(info.name);
    else {
      const other = found.get(name);
      if (other)
        throw badFile(info.file, `is the same as ${other.name} in ${other.file}: both mean ${name}`, {
          tensor: info.name,
        });
      found.set(name, info);
    }
  }
  if (drafts.length)
    warnings.push(
      `${drafts.length} tensors of draft layers (mtp.*) are skipped: speculative decoding is not supported`,
    );
  if (derived.length) warnings.push(`${listText(derived, 2)} skipped: rotary frequencies follow from config.json`);
  return found;
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
  const found = byCanonicalName(tensors, warnings);
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
    const { name, expert } = slot;
    const fusedName =
      expert && `layers.${expert.layer}.ffn.experts.${expert.matrix === 'w2' ? 'down_proj' : 'gate_up_proj'}`;
    const weight = take(`${name}.weight`) ?? take(`${name}.weight_packed`);
    const companions = new Map<string, TensorInfo>();
    for (const key of COMPANIONS) {
      const info = take(`${name}.${key}`);
      if (info) companions.set(key, info);
    }
    if (weight) {
      modules.set(name, classify(slot, weight, companions));
      continue;
    }
    const fused = fusedName === undefined ? undefined : take(fusedName);
    if (fused && companions.size === 0) modules.set(name, classifyFused(slot, fused, config));
    else missing.push(`${name}.weight`);
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
  return { modules, plain, warnings };
}
