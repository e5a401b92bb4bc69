import { loadTokenizer, openCheckpoint } from '@megamoe/checkpoint';
import { createBackend, createModel, ExpertRanges, type BackendOptions, type LoadOptions } from '@megamoe/model';
import { globalDecodeScaleFromAmax, MIN_INPUT_SCALE } from '@megamoe/nvfp4-quant';
import * as z from 'zod/mini';
import en from 'zod/v4/locales/en.js';
import { UsageError } from '../errors';
import { readInput } from '../read-file';
import { LinearRanges } from './linear-ranges';

/** Largest input magnitudes of the experts of every layer (gate and up share theirs), and of other matrices where they were measured. */
export class Calibration {
  /** Experts that calibration never reached, by `layer.projection`; they get the projection's largest. */
  readonly unreached = new Map<string, number[]>();

  constructor(
    private readonly layers: readonly { readonly w13: readonly number[]; readonly w2: readonly number[] }[],
    private readonly linears: ReadonlyMap<string, number> = new Map(),
  ) {
    this.layers.forEach((layer, l) => {
      for (const projection of ['w13', 'w2'] as const) {
        const missing = layer[projection].flatMap((a, e) => (isReached(a) ? [] : [e]));
        if (missing.length > 0) this.unreached.set(`${l}.${projection}`, missing);
        if (missing.length === layer[projection].length) {
          throw new UsageError(
            `quantize: calibration reached no expert of layer ${l}, projection ${projection}; give it more text`,
          );
        }
      }
    });
  }

  /** Input amax of a matrix by its name; undefined where nothing is known. */
  amaxOf(name: string): number | undefined {
    const [, layer, expert, matrix] = /^layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])$/.exec(name) ?? [];
    if (matrix === undefined) {
      const amax = this.linears.get(name);
      return amax !== undefined && isReached(amax) ? amax : undefined;
    }
    return this.amax(Number(layer), Number(expert), matrix === 'w2' ? 'w2' : 'w13');
  }

  /** Input amax of an expert. */
  amax(layer: number, expert: number, projection: 'w13' | 'w2'): number {
    const all = this.layers[layer]![projection];
    return isReached(all[expert]!) ? all[expert]! : Math.max(...all);
  }
}

/** Whether inputs with this largest magnitude have a scale that they can be staged with; rounding alone can leave less of an expert's inputs. */
const isReached = (amax: number): boolean => globalDecodeScaleFromAmax(amax) >= MIN_INPUT_SCALE && amax > 0;

const range = z.number().check(z.nonnegative());
const schema = z.array(z.object({ w13: z.array(range), w2: z.array(range) }));

/** Reads `[{w13: [E], w2: [E]}, ...]`, one entry for each layer. */
export async function readCalibration(
  path: string,
  numLayers: number,
  numExperts: number,
  signal: AbortSignal,
): Promise<Calibration> {
  let json: unknown;
  try {
    json = JSON.parse((await readInput(path, signal)).toString());
  } catch (e) {
    signal.throwIfAborted();
    throw new UsageError(`quantize: --calibration "${path}" cannot be read as JSON`, { cause: e });
  }
  const parsed = schema.safeParse(json, { error: en().localeError });
  if (!parsed.success) {
    const { path: at, message } = parsed.error.issues[0]!;
    throw new UsageError(
      `quantize: --calibration "${path}" must be [{w13: [amax of each expert], w2: [...]}, ...]; at ${at.join('.') || 'the top'}: ${message}`,
    );
  }
  if (parsed.data.length !== numLayers) {
    throw new UsageError(
      `quantize: --calibration "${path}" must have one entry for each of ${numLayers} layers, got ${parsed.data.length}`,
    );
  }
  parsed.data.forEach((layer, l) => {
    for (const projection of ['w13', 'w2'] as const) {
      const { length } = layer[projection];
      if (length !== numExperts) {
        throw new UsageError(
          `quantize: --calibration "${path}" layer ${l} ${projection} must have ${numExperts} experts, got ${length}`,
        );
      }
    }
  });
  return new Calibration(parsed.data);
}

/**
 * Runs the model over a text, in windows of its context, and records what every expert is given; with `linears` every other matrix, too.
 */
export async function calibrateFromText(
  dir: string,
  textFile: string,
  { linears, ...options }: LoadOptions & BackendOptions & { readonly linears: boolean },
): Promise<Calibration> {
  let text: string;
  try {
    text = (await readInput(textFile, options.signal)).toString();
  } catch (e) {
    options.signal?.throwIfAborted();
    throw new UsageError(`quantize: --calibrate "${textFile}" cannot be read`, { cause: e });
  }
  const checkpoint = openCheckpoint(dir);
  try {
    const watch = new LinearRanges();
    const { backend: name, threads, isa, device } = options;
    const backend = createBackend({ backend: name, threads, isa, device });
    const model = await createModel(checkpoint, {
      ...options,
      activations: 'float',
      backend: linears ? watch.watch(backend) : backend,
    });
    try {
      const ids = loadTokenizer(dir).encode(text, { parseSpecial: false });
      if (ids.length === 0) throw new UsageError(`quantize: --calibrate "${textFile}" has no tokens`);
      const ranges = new ExpertRanges(model.config);
      const window = Math.min(2048, model.config.maxPositionEmbeddings) - 1;
      for (let at = 0; at < ids.length; at += window) {
        const tokenIds = [model.config.bosTokenId, ...ids.slice(at, at + window)];
        const sequence = model.createSequence();
        model.forward([{ sequence, tokenIds }], { logits: 'none', ranges });
        sequence.dispose();
        await new Promise((resolve) => setImmediate(resolve));
        options.signal?.throwIfAborted();
      }
      return new Calibration(
        ranges.layers.map(({ w13, w2 }) => ({ w13: [...w13], w2: [...w2] })),
        watch.amax,
      );
    } finally {
      model.dispose();
    }
  } finally {
    checkpoint.close();
  }
}
