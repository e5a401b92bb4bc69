import { openCheckpoint } from '@megamoe/checkpoint';
import { createModel, loadModel, type GenerateUsage, type Model } from '@megamoe/model';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { builtCli } from '../built-cli';
import { defaultModel } from '../options';
import { checkSame } from './data';
import { median } from './measure';
import { CountingSource, randomTokens, type WeightCount } from './synthetic';
import { BenchError, SkipCase, type BenchCase, type BenchContext, type Measured } from './types';

/** What the weights of a checkpoint amount to. */
export async function countModel(dir: string): Promise<WeightCount> {
  const checkpoint = openCheckpoint(dir);
  try {
    const source = new CountingSource(checkpoint);
    await createModel(source, { backend: 'js' });
    return source.count;
  } finally {
    checkpoint.close();
  }
}

/** The shipped model through the public `generate`, and from the shell. */
export function tinyCases(c: BenchContext): BenchCase[] {
  const [promptTokens, newTokens] = c.quick ? [32, 8] : [1024, 256];
  const dir = defaultModel();
  let counted: WeightCount | undefined;
  const countWeights = async (): Promise<WeightCount> => (counted ??= await countModel(dir));
  const load = async (threads: number): Promise<Model> => {
    if (!existsSync(join(dir, 'config.json'))) throw new SkipCase(`no model at ${dir}`);
    return loadModel(dir, { backend: c.backend, threads, isa: c.isa });
  };

  /** Medians over generations: what the usage says, and the floors measured after each. */
  const generations = async (
    threads: number,
    prompt: number,
    tokens: number,
    value: (u: GenerateUsage) => number,
    floor: () => number,
  ): Promise<{ value: number; floor: number; model: Model }> => {
    const model = await load(threads);
    const tokenIds = randomTokens(model.config.vocabSize, prompt);
    const runs: number[] = [];
    const floors: number[] = [];
    let first: number[] | undefined;
    for (let i = -1; i < (c.quick ? 1 : 7); i++) {
      c.signal.throwIfAborted();
      const ids: number[] = [];
      let usage: GenerateUsage | undefined;
      for await (const chunk of model.generate({ tokenIds, maxTokens: tokens, ignoreEos: true })) {
        ids.push(chunk.tokenId!);
        usage = chunk.usage;
      }
      if (ids.length !== tokens || usage === undefined)
        throw new BenchError(`generate gave ${ids.length} of ${tokens} tokens`);
      checkSame('generate, twice the same', ids, (first ??= ids));
      const measured = floor();
      if (i < 0) continue;
      runs.push(value(usage));
      floors.push(measured);
    }
    return { value: median(runs), floor: median(floors), model };
  };

  return [
    {
      name: 'tiny-decode',
      shape: `prompt=16 tokens=${newTokens}`,
      async run(threads): Promise<Measured> {
        const { activeBytes } = await countWeights();
        // The whole model fits a last-level cache, so the floor is reading what a token needs from there.
        const bytes = activeBytes;
        const { value, floor } = await generations(
          threads,
          16,
          newTokens,
          (u) => ((u.completionTokens - 1) / u.decodeMs) * 1000,
          () => c.ceilings.rate('read', threads, { amount: bytes, hot: bytes }) / bytes,
        );
        return { median: value, unit: 'tokens/s', ceiling: floor };
      },
    },
    {
      name: 'tiny-prefill',
      shape: `prompt=${promptTokens}`,
      async run(threads): Promise<Measured> {
        const { denseElements, expertElements } = await countWeights();
        const operations = 2 * (denseElements + expertElements); // of a token, as in step-prefill
        const { value, floor } = await generations(
          threads,
          promptTokens,
          1,
          (u) => (u.promptTokens / u.prefillMs) * 1000,
          () => c.ceilings.rate('vpdpbusd', threads, { amount: 2 ** 28 }) / operations,
        );
        return { median: value, unit: 'tokens/s', ceiling: floor };
      },
    },
    {
      name: 'tiny-first-token',
      shape: 'built command line',
      async run(threads): Promise<Measured> {
        const main = builtCli();
        if (main === undefined) throw new SkipCase('the command line is not built');
        const first: number[] = [];
        const bare: number[] = [];
        const args = [main, 'generate', '--backend', c.backend, '--threads', String(threads), '--max-tokens', '8'];
        for (let i = 0; i < (c.quick ? 1 : 9); i++) {
          c.signal.throwIfAborted();
          first.push(await firstOutput(args));
          bare.push(await firstOutput(['-e', 'process.stdout.write("x")'])); // what Node itself takes
        }
        return { median: median(first), unit: 'ms', ceiling: median(bare) };
      },
    },
  ];
}

/** Milliseconds from the start of a Node process to its first byte on stdout. */
async function firstOutput(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    let ms: number | undefined;
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout.on('data', () => (ms ??= performance.now() - started));
    child.on('error', reject);
    child.on('close', (code) => {
      if (ms !== undefined && code === 0) resolve(ms);
      else reject(new BenchError(`"megamoe generate" ended with ${code} in a child process`));
    });
  });
}
