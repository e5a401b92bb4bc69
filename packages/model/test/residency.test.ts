import { openCheckpoint } from '@megamoe/checkpoint';
import { expectBytes } from '@megamoe/testkit';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createModel, loadModel, planModel, type LoadOptions, type MemoryPlan } from '../src/index';
import { BACKENDS, MICRO_FLASH, TINY } from './support';

const STEPS = 4;

/** Logits of a prompt in chunks, then of a few tokens one by one. */
async function run(dir: string, o: LoadOptions, chunk: number): Promise<{ logits: Float32Array; plan: MemoryPlan }> {
  const m = await loadModel(dir, { ...o, maxChunk: chunk });
  const sequence = m.createSequence({ maxTokens: 160 });
  const v = m.config.vocabSize;
  const length = o.backend === 'js' ? 20 : 150; // JavaScript takes its time
  const logits = new Float32Array((length + STEPS) * v);
  const tokenIds = Array.from({ length }, (_, i) => (i * 37) % v);
  logits.set(m.forward([{ sequence, tokenIds }], { logits: 'all' }));
  for (let i = 0; i < STEPS; i++) logits.set(m.forward([{ sequence, tokenIds: [i] }]), (length + i) * v);
  m.dispose();
  return { logits, plan: m.plan };
}

const folders: string[] = [];
afterAll(() => folders.forEach((dir) => rmSync(dir, { recursive: true })));

/** A copy of the tiny model in a folder of its own. */
function copy(): string {
  const dir = mkdtempSync(join(tmpdir(), 'megamoe-residency-'));
  folders.push(dir);
  cpSync(TINY, dir, { recursive: true });
  return dir;
}

/** A copy whose context holds fewer tokens. */
function shorter(tokens: number): string {
  const dir = copy();
  const file = join(dir, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...config, max_position_embeddings: tokens }));
  return dir;
}

describe.each(BACKENDS)('%s backend, experts on the disk', (backend) => {
  it.each([
    ['tiny, W4A4', TINY, 'nvfp4'],
    ['tiny, W4A16', TINY, 'float'],
    ['micro, float32 experts', MICRO_FLASH, 'nvfp4'],
  ] as const)(
    '%s: the bits of a model that is packed whole, for any room and any chunks',
    async (_, dir, activations) => {
      const whole = await run(dir, { backend, activations }, 256);
      expect(whole.plan.fits).toBe('resident');
      for (const [residentExperts, chunk] of [
        [1, 256],
        [9, 7],
        [40, 64],
      ] as const) {
        const { logits, plan } = await run(dir, { backend, activations, residentExperts }, chunk);
        expect([plan.fits, plan.pooledExperts]).toEqual(['pool', residentExperts]);
        expectBytes(logits, whole.logits, [logits.length]);
      }
    },
  );

  it('names a file that shrank under it, and never crashes', async () => {
    const dir = copy();
    const m = await loadModel(dir, { backend, residentExperts: 1 });
    const sequence = m.createSequence({ maxTokens: 8 });
    m.forward([{ sequence, tokenIds: [1] }]);
    sequence.rewind(0);
    for (const file of readdirSync(dir)) if (file.endsWith('.safetensors')) truncateSync(join(dir, file), 100_000);
    expect(() => m.forward([{ sequence, tokenIds: [1, 2, 3, 4] }])).toThrow(
      /safetensors: tensor ".*experts.*truncated/,
    );
    m.dispose();
  });

  it('plans what it then takes', async () => {
    const dir = backend === 'js' ? shorter(320) : TINY; // a plan for fewer tokens, which JavaScript then reads in less time
    const m = await loadModel(dir, { backend });
    const bytes = (name: string): number => m.plan.parts.find((p) => p.name === name)?.bytes ?? 0;
    const dense = ['embed', 'head', 'attention', 'shared experts', 'router and norms'].reduce(
      (s, n) => s + bytes(n),
      0,
    );
    const seen: [number, number][] = [];
    const again = await loadModel(dir, { backend, onProgress: (done, total) => void seen.push([done, total]) });
    expect(bytes('experts')).toBe(again.plan.expertBytes);
    const sequence = m.createSequence();
    const tokenIds = Array.from({ length: m.plan.stateTokens }, (_, i) => i % 100);
    m.forward([{ sequence, tokenIds }], { logits: 'none' });
    expect(bytes('state')).toBe(sequence.bytes);
    // Progress ends at everything but the vectors, which are not packed.
    const [done, total] = seen.at(-1)!;
    expect(total).toBe(dense + m.plan.expertBytes);
    expect(total - done).toBeGreaterThan(0);
    expect(total - done).toBeLessThan(bytes('router and norms'));
    expect(seen.every(([d], i) => i === 0 || d >= seen[i - 1]![0])).toBe(true);
    expect(m.plan.totalBytes).toBe(m.plan.parts.reduce((sum, p) => sum + p.bytes, 0));
    m.dispose();
    again.dispose();
  });

  it('a model that was disposed of says so and gives its files back', async () => {
    const dir = copy();
    const open = (): number =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir);
        } catch {
          return false; // closed since it was listed
        }
      }).length;
    const m = await loadModel(dir, { backend, residentExperts: 5 });
    expect(open()).toBe(readdirSync(dir).filter((f) => f.endsWith('.safetensors')).length);
    const sequence = m.createSequence({ maxTokens: 4 });
    m.dispose();
    m.dispose();
    expect(open()).toBe(0);
    expect(() => m.forward([{ sequence, tokenIds: [1] }])).toThrow('Model.forward: the model has been disposed');
    expect(() => m.generate({ prompt: 'x', maxTokens: 1 })).toThrow('generate: the model has been disposed'); // at once
  });

  it('frees what it has packed when a load is aborted', async () => {
    const abort = new AbortController();
    const load = loadModel(TINY, {
      backend,
      signal: abort.signal,
      onProgress: (done, total) => done > total / 2 && abort.abort(new Error('enough')),
    });
    await expect(load).rejects.toThrow('enough');
  });
});

it('says what is missing before it reads anything, when not even one expert fits', async () => {
  const checkpoint = openCheckpoint(TINY);
  const read = (): never => expect.fail('read weights');
  const source = {
    config: checkpoint.config,
    linear: read,
    linearRows: (module: string, n: number, k: number, row0: number, rows: number) =>
      rows === 0 ? checkpoint.linearRows(module, n, k, row0, 0) : read(),
    expert: read,
    expertScales: checkpoint.expertScales.bind(checkpoint),
    vector: read,
    ints: read,
  };
  await expect(createModel(source, { memoryLimit: 1000 })).rejects.toThrow(
    /^createModel: this model needs at least \d+ MB of memory with its experts left on the disk \(runtime \d+ MB, .*\), the limit is 1 MB$/,
  );
  checkpoint.close();
  await expect(loadModel(TINY, { memoryLimit: 0 })).rejects.toThrow('loadModel: "memoryLimit" must be an integer');
});

it('chooses by the limit: everything, as many experts as fit, or none', () => {
  const free = planModel(TINY);
  const { expertBytes, experts } = free;
  expect([free.fits, free.pooledExperts]).toEqual(['resident', experts]);
  const room = (bytes: number): MemoryPlan => planModel(TINY, { memoryLimit: Math.ceil(bytes) });
  // The process is a part of the plan and changes size from call to call: half a gigabyte is more than it does.
  expect(room(free.totalBytes + 5e8).fits).toBe('resident');
  expect(room(1e6).fits).toBe('no');
  const least = room(1e6).leastBytes;
  const some = planModel(TINY, { memoryLimit: least + Math.floor(expertBytes / 2) });
  expect(some.totalBytes).toBeLessThanOrEqual(least + Math.floor(expertBytes / 2));
  expect(() => planModel(TINY, { residentExperts: 0 })).toThrow('planModel: "residentExperts" must be an integer');
});

it('takes experts from a source without expertScales: it reads them once more', async () => {
  const checkpoint = openCheckpoint(TINY);
  const { config } = checkpoint;
  const source = {
    config,
    linear: checkpoint.linear.bind(checkpoint),
    expert: checkpoint.expert.bind(checkpoint),
    vector: checkpoint.vector.bind(checkpoint),
    ints: checkpoint.ints.bind(checkpoint),
  };
  const [whole, pooled] = [
    await createModel(source, { backend: 'js' }),
    await createModel(source, { backend: 'js', residentExperts: 7 }),
  ];
  expect([whole.plan.fits, pooled.plan.fits]).toEqual(['resident', 'pool']);
  const [a, b] = [whole, pooled].map((m) =>
    m.forward([{ sequence: m.createSequence({ maxTokens: 9 }), tokenIds: [5, 9, 77] }]),
  );
  expectBytes(a!, b!, [1, config.vocabSize]);
  checkpoint.close();
});
