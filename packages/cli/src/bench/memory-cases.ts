import { layerSpec } from '@megamoe/layers';
import { createModel } from '@megamoe/model';
import { sequenceBytes } from '@megamoe/ops';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { promisify } from 'node:util';
import { builtCli } from '../built-cli';
import { v4FlashBytes } from './step-cases';
import { CountingSource, randomTokens, SyntheticSource, v4FlashConfig } from './synthetic';
import { BenchError, SkipCase, type BenchCase, type BenchContext, type StepShape } from './types';

/** What the child process is asked, as JSON on its command line. */
export interface MemoryQuestion {
  readonly step: StepShape;
  readonly threads: number;
  readonly backend: 'js' | 'cpu';
}

/** What it answers, as JSON on stdout. */
interface MemoryAnswer {
  readonly peakBytes: number;
  readonly weightBytes: number;
  readonly stateBytes: number;
}

/** Loads the synthetic model, generates, and tells how large the process grew. Runs in a process of its own. */
export async function answerMemory({ step, threads, backend }: MemoryQuestion): Promise<MemoryAnswer> {
  const config = v4FlashConfig(step);
  const source = new CountingSource(new SyntheticSource(config, step.dense));
  const model = await createModel(source, { backend, threads });
  const layers = config.compressRatios.map((_, i) => layerSpec(config, i));
  const [prompt, tokens] = [64, 8];
  let generated = 0;
  const tokenIds = randomTokens(config.vocabSize, prompt);
  for await (const chunk of model.generate({ tokenIds, maxTokens: tokens, ignoreEos: true }))
    generated += chunk.tokenId === undefined ? 0 : 1;
  if (generated !== tokens) throw new BenchError(`generate gave ${generated} of ${tokens} tokens`);
  return {
    peakBytes: peakResidentBytes(),
    weightBytes: source.count.bytes,
    stateBytes: sequenceBytes(prompt + tokens, layers), // what generate's sequence came to
  };
}

/**
 * Largest resident size of this process. Not `maxRSS` where it can be helped: on Linux that starts at the size of the process that
 * started this one.
 */
function peakResidentBytes(): number {
  try {
    const kib = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (kib) return Number(kib[1]) * 1024;
  } catch {
    // no /proc here
  }
  return process.resourceUsage().maxRSS * 1024;
}

/** Peak resident memory of load and generate, against what must be there: weights in their own format, and the state. */
export function memoryCases(c: BenchContext): BenchCase[] {
  const { layers, experts, vocab } = c.step;
  return [
    {
      name: 'memory',
      shape: `v4-flash layers=${layers} experts=${experts} vocab=${vocab}`,
      target: 1.1,
      atMost: true,
      async run(threads) {
        const main = builtCli();
        if (main === undefined) throw new SkipCase('the command line is not built');
        const [need, free] = [1.3 * v4FlashBytes(c.step) + 5e8, freemem()];
        if (need > free)
          throw new SkipCase(
            `it needs about ${(need / 1e9).toFixed(1)} GB of memory, ${(free / 1e9).toFixed(1)} are free`,
          );
        const question: MemoryQuestion = { step: c.step, threads, backend: c.native ? 'cpu' : 'js' };
        const { stdout } = await promisify(execFile)(process.execPath, [
          main,
          'bench',
          '--memory-of',
          JSON.stringify(question),
        ]);
        const { peakBytes, weightBytes, stateBytes } = JSON.parse(stdout) as MemoryAnswer;
        return { median: peakBytes / 2 ** 20, unit: 'MiB', ceiling: (weightBytes + stateBytes) / 2 ** 20 };
      },
    },
  ];
}
