import { implausibleGlobalScale, type Checkpoint, type ModuleInfo } from '@megamoe/checkpoint';
import { E4M3_VALUES, E8M0_VALUES } from '@megamoe/core';

/** Scales of one projection of one layer, all experts together. */
export interface ScaleRow {
  /** As in `layers.3.ffn.experts.*.w1`. */
  readonly module: string;
  readonly format: string;
  scales: number;
  /** E4M3 at 448, E8M0 at 2^127. */
  saturated: number;
  /** E4M3 at 2^-9, E8M0 at 2^-127. */
  minimum: number;
  zero: number;
  nan: number;
  /** How many scales have each power of two: exponent -> count. */
  readonly exponents: Record<string, number>;
  /** Range of the global scales as they are stored; absent where there are none. */
  globalScales?: { min: number; max: number };
}

/** What a checkpoint's scales and plain tensors look like. */
export interface CheckpointHealth {
  readonly rows: readonly ScaleRow[];
  /** NaN and infinite elements of tensors that are no matrices, and NaN global scales, by tensor. */
  readonly nonFinite: readonly { readonly tensor: string; readonly nan: number; readonly infinite: number }[];
  /** What is odd: sentences. */
  readonly problems: readonly string[];
}

const GLOBAL_KEYS = ['weight_scale_2', 'weight_global_scale', 'input_scale', 'input_global_scale'];

function rowOf(rows: Map<string, ScaleRow>, m: ModuleInfo): ScaleRow {
  const module = m.name.replace(/experts\.\d+/, 'experts.*');
  let row = rows.get(module);
  if (!row) {
    const none = { scales: 0, saturated: 0, minimum: 0, zero: 0, nan: 0, exponents: {} };
    rows.set(module, (row = { module, format: m.format, ...none }));
  }
  return row;
}

function count(row: ScaleRow, values: ArrayLike<number>, smallest: number, largest: number): void {
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    row.scales++;
    if (Number.isNaN(v)) row.nan++;
    else if (v === 0) row.zero++;
    else {
      if (v === largest) row.saturated++;
      if (v === smallest) row.minimum++;
      const exponent = String(Math.floor(Math.log2(Math.abs(v))));
      row.exponents[exponent] = (row.exponents[exponent] ?? 0) + 1;
    }
  }
}

/** Reads all scales and all tensors that are no matrices; weights stay where they are. */
export function checkpointHealth(checkpoint: Checkpoint): CheckpointHealth {
  const rows = new Map<string, ScaleRow>();
  const problems: string[] = [];
  const nonFinite: { tensor: string; nan: number; infinite: number }[] = [];
  const seen = new Set<string>();
  const globals = new Map<string, number>();
  const withoutInput = new Map<string, number>();
  for (const m of [...checkpoint.modules.values(), ...checkpoint.draft.modules.values()]) {
    seen.add(m.weight.name);
    for (const [key, t] of m.companions) {
      if (seen.has(t.name)) continue; // fused experts share theirs
      seen.add(t.name);
      const row = rowOf(rows, m);
      if (t.dtype === 'F8_E4M3') count(row, decode(checkpoint.read(t.name), E4M3_VALUES), 2 ** -9, 448);
      else if (t.dtype === 'F8_E8M0' || t.dtype === 'U8')
        count(row, decode(checkpoint.read(t.name), E8M0_VALUES), 2 ** -127, 2 ** 127);
      else if (GLOBAL_KEYS.includes(key)) {
        const value = checkpoint.readF32(t.name)[0]!;
        globals.set(`${m.name}.${key}`, value);
        if (Number.isNaN(value)) nonFinite.push({ tensor: t.name, nan: 1, infinite: 0 });
        else if (key.startsWith('weight')) {
          const { min, max } = row.globalScales ?? { min: value, max: value };
          row.globalScales = { min: Math.min(min, value), max: Math.max(max, value) };
        } else if (value === 0) problems.push(`${t.name} is 0 and counts as absent`);
        const why = implausibleGlobalScale(key, value);
        if (why !== undefined) problems.push(`${t.name}: ${why}`);
      } else if (t.dtype === 'F32' || t.dtype === 'BF16' || t.dtype === 'F16')
        count(row, checkpoint.readF32(t.name), NaN, NaN);
    }
    if (m.format === 'nvfp4' && !m.companions.has('input_scale') && !m.companions.has('input_global_scale')) {
      const module = m.name.replace(/experts\.\d+/, 'experts.*');
      withoutInput.set(module, (withoutInput.get(module) ?? 0) + 1);
    }
  }
  for (const [module, n] of withoutInput) problems.push(`${module}: ${n} without an input scale`);
  const differing = new Map<string, number>();
  for (const [name, value] of globals) {
    const match = /^(layers\.\d+\.ffn\.experts)\.(\d+)\.w1\.(\w+)$/.exec(name);
    if (!match) continue;
    const other = globals.get(`${match[1]}.${match[2]}.w3.${match[3]}`);
    if (other === undefined || other === value) continue;
    const key = `${match[1]}: ${match[3]} of w1 and w3`;
    differing.set(key, (differing.get(key) ?? 0) + 1);
  }
  for (const [what, n] of differing)
    problems.push(`${what} differ in ${n} expert${n === 1 ? '' : 's'}: a fused product needs one for both`);
  for (const t of checkpoint.tensors.values()) {
    if (seen.has(t.name) || !['F32', 'BF16', 'F16'].includes(t.dtype)) continue;
    let [nan, infinite] = [0, 0];
    for (const v of checkpoint.readF32(t.name)) {
      if (Number.isNaN(v)) nan++;
      else if (!Number.isFinite(v)) infinite++;
    }
    if (nan + infinite > 0) nonFinite.push({ tensor: t.name, nan, infinite });
  }
  return { rows: [...rows.values()], nonFinite, problems };
}

function decode(bytes: Uint8Array, values: Float32Array): Float32Array {
  const out = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) out[i] = values[bytes[i]!]!;
  return out;
}
