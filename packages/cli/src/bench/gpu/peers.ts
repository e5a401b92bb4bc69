import { spawn } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from '../measure';
import { SkipCase, type BenchCase, type NamedMeasured } from '../types';
import type { GpuContext } from './context';
import type { Cost } from './costs';

/** Other implementations that can be measured beside ours. */
export const PEERS = ['torch'] as const;

/** One of them. */
export type Peer = (typeof PEERS)[number];

/** A shape as peers/torch_times.py takes it, and the floor of our kernel on it, by the experts that had rows. */
interface PeerShape {
  readonly kind: 'grouped' | 'scaled' | 'attention';
  readonly shape: string;
  readonly numbers: Readonly<Record<string, number>>;
  readonly cost: (active: number) => Cost;
}

/** What is measured: the shapes of our own rows. */
export function peerShapes(quick: boolean, experts: number): readonly PeerShape[] {
  const tokens = quick ? [1, 8] : [1, 8, 64, 4096];
  const [topk, d] = quick ? [2, 256] : [6, 4096];
  const grouped = tokens.map((t): PeerShape => {
    const slots = t * topk;
    return {
      kind: 'grouped',
      shape: `n=${d} k=${d} experts=${experts} topk=${topk} tokens=${t}`,
      numbers: { experts, topk, n: d, k: d, tokens: t },
      cost: (active) => ({
        bytes: (active * d * d * 9) / 16 + slots * ((d * 9) / 16 + 4 * d),
        operations: 2 * slots * d * d,
      }),
    };
  });
  const [n, k] = [d, 2 * d];
  const scaled = tokens.map((m): PeerShape => ({
    kind: 'scaled',
    shape: `n=${n} k=${k} fp8 rows=${m}`,
    numbers: { m, n, k },
    cost: () => ({ bytes: n * k + 4 * m * (n + k), operations: 2 * m * n * k }),
  }));
  const [keys, heads, dim] = quick ? [64, 4, 64] : [640, 64, 512];
  const attention = tokens
    .filter((t) => t <= 64)
    .map((sequences): PeerShape => ({
      kind: 'attention',
      shape: `keys=${keys} heads=${heads} d=${dim} sequences=${sequences}`,
      numbers: { sequences, keys, heads, d: dim },
      cost: () => ({
        bytes: 4 * dim * sequences * (keys + 2 * heads),
        operations: 4 * sequences * heads * dim * keys,
      }),
    }));
  return [...grouped, ...scaled, ...attention];
}

/** A line of peers/torch_times.py. */
interface PeerLine {
  readonly error?: string;
  readonly version?: string;
  readonly name?: string;
  readonly shape?: string;
  readonly seconds?: number;
  readonly active?: number;
  readonly why?: string;
}

/**
 * Rows from what a peer printed, beside the floors of our own kernels on the same shapes. `say` hears what it could not measure.
 * @throws SkipCase when it could measure nothing
 */
export function peerRows(
  text: string,
  shapes: readonly PeerShape[],
  rates: { readonly read: number; readonly mma: number },
  say: (text: string) => void,
): NamedMeasured[] {
  const rows: NamedMeasured[] = [];
  for (const line of text.split('\n')) {
    if (!line.startsWith('{')) continue; // what libraries print
    const { error, version, name, shape, seconds, active = 0, why } = JSON.parse(line) as PeerLine;
    if (error !== undefined) throw new SkipCase(error);
    if (version !== undefined) say(`torch ${version}`);
    if (why !== undefined) say(`not measured: ${name}: ${why}`);
    const asked = shapes.find((one) => one.shape === shape);
    if (asked === undefined || name === undefined || seconds === undefined || !(seconds > 0)) continue;
    const { bytes, operations } = asked.cost(active);
    const floor = Math.max(bytes / rates.read, operations / rates.mma);
    rows.push({ name, shape: asked.shape, median: seconds * 1e6, unit: 'us', ceiling: floor * 1e6 });
  }
  if (rows.length === 0) throw new SkipCase('it printed no times');
  return rows;
}

/** The program that measures torch: in this package's folder, built or not. */
export function torchProgram(): string {
  let dir = dirname(realpathSync(fileURLToPath(import.meta.url)));
  while (!existsSync(join(dir, 'peers', 'torch_times.py')) && dir !== dirname(dir)) dir = dirname(dir);
  return join(dir, 'peers', 'torch_times.py');
}

/** What `python3 peers/torch_times.py` prints. @throws SkipCase when it does not run */
async function runTorch(c: GpuContext, shapes: readonly PeerShape[]): Promise<string> {
  const of = (kind: PeerShape['kind']): object[] =>
    shapes.filter((s) => s.kind === kind).map(({ shape, numbers }) => ({ shape, ...numbers }));
  const asked = { device: c.device, grouped: of('grouped'), scaled: of('scaled'), attention: of('attention') };
  const python = process.platform === 'win32' ? 'python' : 'python3';
  return new Promise((resolve, reject) => {
    const child = spawn(python, [torchProgram(), JSON.stringify(asked)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: c.signal,
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (err += data.toString()));
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') reject(new SkipCase(`there is no ${python} on the PATH`));
      else reject(error);
    });
    child.on('close', (code) => {
      if (code === 0) resolve(out);
      else reject(new SkipCase(`${python} ended with ${code}: ${err.trim().split('\n').at(-1) ?? ''}`));
    });
  });
}

/** Rows of torch, for the same shapes in the same run. */
export function torchCases(c: GpuContext): BenchCase[] {
  return [
    {
      name: 'peer-torch',
      shape: '',
      rows: ['torch-grouped-mm-bf16', 'torch-scaled-mm-fp8', 'torch-attention-bf16'],
      async run() {
        c.loaded.dispose(); // it needs room of its own
        const shapes = peerShapes(c.quick, c.step.experts);
        const text = await runTorch(c, shapes);
        const rate = (kind: 'read' | 'mma', amount: number): number =>
          median(Array.from({ length: 9 }, () => c.ceilings.rate(kind, 1, { amount })));
        return peerRows(text, shapes, { read: rate('read', 2 ** 30), mma: rate('mma', 2 ** 40) }, c.say);
      },
    },
  ];
}
