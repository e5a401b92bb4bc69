import type { YarnParameters } from '@megamoe/core';
import type { RawConfig, RawRope } from './schema';

/** What config.json says about rotary embeddings. */
export interface RopeConfig {
  readonly ropeTheta: number;
  readonly compressRopeTheta: number;
  readonly yarn: YarnParameters | undefined;
  /** `partial_rotary_factor`, wherever it stands. */
  readonly partialRotaryFactor: number | undefined;
}

type Half = Omit<RawRope, 'main' | 'compress'>;

/** The one value that several spellings give; they must not contradict each other. */
export function agree<T>(
  field: string,
  values: readonly (T | null | undefined)[],
  fail: (message: string) => Error,
): T | undefined {
  const given = values.filter((v): v is T & {} => v !== null && v !== undefined);
  const other = given.find((v) => v !== given[0]);
  if (other !== undefined)
    throw fail(`${field}: two spellings contradict each other, ${String(given[0])} and ${String(other)}`);
  return given[0];
}

function ropeType(rope: Half, field: string, fail: (message: string) => Error): string {
  return agree(`${field}.rope_type`, [rope.rope_type, rope.type], fail) ?? 'default';
}

/** YaRN's parameters, or nothing for the plain embedding. */
function parseYarn(rope: Half, field: string, fail: (message: string) => Error): YarnParameters | undefined {
  const type = ropeType(rope, field, fail);
  if (type === 'default') return undefined;
  if (type !== 'yarn') throw fail(`${field}.rope_type: expected "yarn" or "default", found ${JSON.stringify(type)}`);
  if (typeof rope.factor !== 'number') throw fail(`${field}.factor: expected a number above 0, found nothing`);
  if (typeof rope.original_max_position_embeddings !== 'number') {
    throw fail(`${field}.original_max_position_embeddings: expected a positive integer, found nothing`);
  }
  if (rope.truncate === false) throw fail(`${field}.truncate: only true is supported, found false`);
  if (typeof rope.attention_factor === 'number' && rope.attention_factor !== 1) {
    throw fail(`${field}.attention_factor: DeepSeek-V4 uses 1, found ${rope.attention_factor}`);
  }
  return {
    factor: rope.factor,
    betaFast: rope.beta_fast ?? 32,
    betaSlow: rope.beta_slow ?? 1,
    originalMaxPositionEmbeddings: rope.original_max_position_embeddings,
  };
}

const sameYarn = (a: YarnParameters | undefined, b: YarnParameters | undefined): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/**
 * Reads both spellings: flat (`rope_theta`, `compress_rope_theta`, `rope_scaling {type: yarn, ...}`) and nested
 * (`rope_parameters {main, compress}`). A converter that read only one of them lost YaRN (ggml-org/llama.cpp#26673), so when both
 * are there they must agree.
 */
export function parseRope(raw: RawConfig, fail: (message: string) => Error): RopeConfig {
  const found: { yarn: YarnParameters | undefined; field: string }[] = [];
  const thetas: (number | null | undefined)[] = [raw.rope_theta];
  const compressThetas: (number | null | undefined)[] = [raw.compress_rope_theta];
  const partial: (number | null | undefined)[] = [raw.partial_rotary_factor];
  for (const field of ['rope_scaling', 'rope_parameters'] as const) {
    const rope = raw[field];
    if (!rope) continue;
    const { main, compress, ...flat } = rope;
    if (!main !== !compress) throw fail(`${field}: expected both "main" and "compress", found only one`);
    if (main && compress) {
      if (ropeType(main, `${field}.main`, fail) !== 'default') {
        throw fail(
          `${field}.main.rope_type: expected "default" (sliding layers are not scaled), found ${JSON.stringify(main.rope_type ?? main.type)}`,
        );
      }
      found.push({ yarn: parseYarn(compress, `${field}.compress`, fail), field });
      thetas.push(main.rope_theta);
      compressThetas.push(compress.rope_theta);
      partial.push(main.partial_rotary_factor, compress.partial_rotary_factor);
    } else {
      found.push({ yarn: parseYarn(flat, field, fail), field });
      thetas.push(flat.rope_theta);
      partial.push(flat.partial_rotary_factor);
    }
  }
  const [first, second] = found;
  if (first && second && !sameYarn(first.yarn, second.yarn)) {
    throw fail(`${first.field} and ${second.field} contradict each other about YaRN`);
  }
  return {
    ropeTheta: agree('rope_theta', thetas, fail) ?? 10000,
    compressRopeTheta: agree('compress_rope_theta', compressThetas, fail) ?? 160000,
    yarn: first?.yarn,
    partialRotaryFactor: agree('partial_rotary_factor', partial, fail),
  };
}
