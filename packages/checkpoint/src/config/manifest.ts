import { join } from 'node:path';
import { listText, quote } from '../fail';
import { isThere } from '../files/there';
import type { ModuleFormat, ModuleInfo } from '../tensors/module-info';
import { readJsonObject } from './config';
import { coveredModules } from './ignore-list';

/** What a checkpoint says about its own quantization. The tensors decide; this is only compared with them. */
export interface QuantizationManifest {
  /** Where it stands: `config.json` or `hf_quant_config.json`. */
  readonly source: string;
  /** `quant_method`, as in `fp8`, `modelopt` or `compressed-tensors`. */
  readonly method: string | undefined;
  /** `quant_algo`, as in `NVFP4` or `MIXED_PRECISION`. */
  readonly algorithm: string | undefined;
  /** `format` of compressed-tensors, as in `nvfp4-pack-quantized`. */
  readonly format: string | undefined;
  /** `expert_dtype` of config.json: `fp4` or `fp8`. */
  readonly expertDtype: string | undefined;
  /** `moe_quant_algo`: the routed experts' algorithm where it differs. */
  readonly moeAlgorithm: string | undefined;
  /** Elements that share a block scale. */
  readonly groupSize: number | undefined;
  /** Patterns of modules that are not quantized, as they stand (`*` matches anything; `re:` begins a regular expression). */
  readonly ignore: readonly string[];
  /** Patterns of the modules that are quantized, where `config_groups` gives any but classes of layers, as `Linear`; undefined: none. */
  readonly targets?: readonly string[] | undefined;
  /** Module (or module prefix) to algorithm. */
  readonly layers: ReadonlyMap<string, string>;
}

const text = (v: unknown): string | undefined => (typeof v === 'string' ? v : undefined);
const texts = (v: unknown): string[] => (Array.isArray(v) ? v.filter((x): x is string => typeof x === 'string') : []);
const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** The `targets` of all groups of compressed-tensors, when they name modules; a class of layers among them covers whatever is one. */
function targetsOf(groups: unknown): string[] | undefined {
  if (!isRecord(groups)) return undefined;
  const targets = Object.values(groups).flatMap((group) => (isRecord(group) ? texts(group.targets) : []));
  return targets.length === 0 || targets.some((t) => /^[A-Z]\w*$/.test(t)) ? undefined : targets;
}

/** Reads a `quantization_config` (of config.json) or a `quantization` (of hf_quant_config.json). Fields of odd types count as absent. */
export function parseManifest(
  json: Readonly<Record<string, unknown>>,
  source: string,
  expertDtype?: string,
): QuantizationManifest {
  const layers = new Map<string, string>();
  if (isRecord(json.quantized_layers)) {
    for (const [name, entry] of Object.entries(json.quantized_layers)) {
      const algorithm = isRecord(entry) ? text(entry.quant_algo) : undefined;
      if (algorithm !== undefined) layers.set(name, algorithm);
    }
  }
  return {
    source,
    method: text(json.quant_method),
    algorithm: text(json.quant_algo),
    format: text(json.format),
    expertDtype,
    moeAlgorithm: text(json.moe_quant_algo),
    groupSize: typeof json.group_size === 'number' ? json.group_size : undefined,
    targets: targetsOf(json.config_groups),
    ignore: [...texts(json.ignore), ...texts(json.exclude_modules), ...texts(json.modules_to_not_convert)],
    layers,
  };
}

/** The manifest of config.json, else of hf_quant_config.json beside it, else none. */
export function readManifest(
  dir: string,
  quantizationConfig: Readonly<Record<string, unknown>> | undefined,
  expertDtype?: string,
): QuantizationManifest | undefined {
  if (quantizationConfig) return parseManifest(quantizationConfig, 'config.json', expertDtype);
  const path = join(dir, 'hf_quant_config.json');
  if (!isThere(path)) return undefined;
  const { quantization } = readJsonObject(path);
  return isRecord(quantization) ? parseManifest(quantization, 'hf_quant_config.json', expertDtype) : undefined;
}

/** The algorithm that the manifest lists for a module or for the nearest part above it. */
function listedAlgorithm(manifest: QuantizationManifest, module: string): string | undefined {
  for (let part = module; part !== ''; part = part.slice(0, Math.max(0, part.lastIndexOf('.')))) {
    const algorithm = manifest.layers.get(part);
    if (algorithm !== undefined) return algorithm;
  }
  return undefined;
}

/** Formats that `expert_dtype` means beside DeepSeek's FP8. */
const EXPERT_DTYPES: Readonly<Record<string, ModuleFormat>> = { fp4: 'mxfp4', fp8: 'fp8' };

/** What a `format` of compressed-tensors says of all that it covers; `mixed-precision` says nothing. */
const PACKED_FORMATS: Readonly<Record<string, ModuleFormat>> = {
  'nvfp4-pack-quantized': 'nvfp4',
  'mxfp4-pack-quantized': 'mxfp4',
};

/** What the manifest leads one to expect of a module; `undefined` when it says nothing. */
function expectedFormat(
  manifest: QuantizationManifest,
  module: ModuleInfo,
  ignored: boolean,
  targeted: boolean,
): ModuleFormat | 'unquantized' | undefined {
  const routed = module.name.includes('.ffn.experts.');
  const listed = listedAlgorithm(manifest, module.name);
  if (listed === 'NVFP4') return 'nvfp4';
  if (listed !== undefined) return undefined;
  if (routed && manifest.moeAlgorithm !== undefined) return manifest.moeAlgorithm === 'NVFP4' ? 'nvfp4' : undefined;
  // ModelOpt leaves fp8 modules on its exclude list: there "ignored" only means "not by me".
  if (ignored) return manifest.method === 'fp8' ? undefined : 'unquantized';
  if (!targeted) return undefined;
  if (manifest.algorithm === 'NVFP4') return 'nvfp4';
  const isProjection = /\.attn\.(?:wq_a|wq_b|wkv|wo_a|wo_b|indexer\.wq_b)$|\.shared_experts\./.test(module.name);
  const packed = PACKED_FORMATS[manifest.format ?? ''];
  if (packed !== undefined) return routed || isProjection ? packed : undefined;
  if (manifest.method !== 'fp8') return undefined;
  if (routed) return EXPERT_DTYPES[manifest.expertDtype ?? ''];
  return isProjection ? 'fp8' : undefined;
}

/** Whether two formats are the same to a manifest: it does not tell BF16, F16 and F32 apart. */
function agrees(expected: ModuleFormat | 'unquantized', found: ModuleFormat): boolean {
  const unquantized = found === 'bf16' || found === 'f32' || found === 'f16';
  return expected === 'unquantized' ? unquantized : expected === found;
}

/**
 * Compares the manifest with the tensors and returns one line per kind of contradiction. A manifest whose `targets: ["Linear"]` is far too
 * broad is usual, so only what it says about a module by name, by `moe_quant_algo` or by its ignore list is held against it.
 */
export function compareManifest(
  manifest: QuantizationManifest | undefined,
  modules: ReadonlyMap<string, ModuleInfo>,
): string[] {
  const quantized = [...modules.values()].filter((m) => !['bf16', 'f32', 'f16'].includes(m.format));
  if (!manifest) {
    if (quantized.length === 0) return [];
    return [
      `no quantization_config, but ${quantized.length} modules are quantized, as ${quote(quantized[0]!.name)} (${quantized[0]!.format}); the tensors decide`,
    ];
  }
  const stored = new Map([...modules.values()].map((m) => [m.name, m.weight.name]));
  const ignore = coveredModules(manifest.ignore, stored);
  const targets = manifest.targets && coveredModules(manifest.targets, stored);
  const clashes = new Map<string, { count: number; first: string }>();
  for (const module of modules.values()) {
    const ignored = ignore.modules.has(module.name);
    const expected = expectedFormat(manifest, module, ignored, targets?.modules.has(module.name) ?? true);
    // A pattern that cannot be read may cover what seems to lack its format.
    if (ignore.unread.length > 0 && !ignored && expected !== undefined && agrees('unquantized', module.format))
      continue;
    if (expected === undefined || agrees(expected, module.format)) continue;
    const kind = `${expected}, but the tensors are ${module.format}`;
    const clash = clashes.get(kind);
    if (clash) clash.count++;
    else clashes.set(kind, { count: 1, first: module.name });
  }
  const warnings = [...clashes].map(
    ([kind, { count, first }]) =>
      `${manifest.source}: the quantization manifest says ${kind} in ${count} modules, as ${quote(first)}; the tensors decide`,
  );
  const unread = [...ignore.unread, ...(targets?.unread ?? [])];
  if (unread.length > 0)
    warnings.push(
      `${manifest.source}: ${listText(unread, 2)} of the quantization manifest cannot be read; what it covers is not compared with the tensors`,
    );
  if (manifest.groupSize !== undefined && manifest.groupSize !== 16 && quantized.some((m) => m.format === 'nvfp4')) {
    warnings.push(
      `${manifest.source}: group_size says ${manifest.groupSize}, NVFP4 blocks have 16 elements; the tensors decide`,
    );
  }
  return warnings;
}
