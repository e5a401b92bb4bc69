import { bundleWorker, type BundledWorker } from '@megamoe/testkit';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine, EngineRequest, OpenEngineOptions } from '../src/index';
import { openEngineWith } from '../src/engine/open';
import { MICRO_FLASH, model, TINY } from './support';

let worker: BundledWorker;
let url: URL;
/** Ends the workers of this file as a crash does: at once, in the middle of whatever they do. */
const murder = new BroadcastChannel('megamoe-worker-test');

beforeAll(async () => {
  worker = await bundleWorker('src/engine-worker.ts');
  const killable = join(worker.folder, 'killable.mjs');
  url = pathToFileURL(killable);
  writeFileSync(
    killable,
    "new BroadcastChannel('megamoe-worker-test').onmessage = () => process.exit(7); await import('./worker.mjs');",
  );
});
afterAll(() => {
  murder.close();
  worker.remove();
});

const open = (o: Partial<OpenEngineOptions> = {}): Promise<Engine> =>
  openEngineWith(url, { model: MICRO_FLASH, load: { backend: 'js' }, worker: true, ...o });

async function idsOf(engine: Engine, request: EngineRequest): Promise<number[]> {
  const ids: number[] = [];
  for await (const { tokenIds } of engine.submit(request)) ids.push(...tokenIds);
  return ids;
}

const request = { tokenIds: [5, 6, 7, 8], maxTokens: 6, ignoreEos: true, temperature: 1, seed: 3 };
const endless = { ...request, maxTokens: 4000 };

describe('an engine in a worker', () => {
  it('gives what the engine in process gives, and reports the same figures', async () => {
    const progress: number[] = [];
    const load = {
      backend: 'js' as const,
      onProgress: (done: number) => progress.push(done),
      onPlan: () => progress.push(-1),
    };
    await using engine = await open({ load });
    expect(progress[0]).toBe(-1);
    expect(progress.length).toBeGreaterThan(1);
    await using local = await openEngineWith(url, {
      model: await model(MICRO_FLASH, { backend: 'js' }),
      id: 'micro-flash',
    });
    expect(engine.model).toEqual(local.model);
    const all = [request, { ...request, n: 3, seed: -1n }, { ...request, tokenIds: [5, 6, 7, 8, 9, 10], logprobs: 2 }];
    const [here, there] = [
      await Promise.all(all.map((r) => idsOf(local, r))),
      await Promise.all(all.map((r) => idsOf(engine, r))),
    ];
    expect(there).toEqual(here);
    expect(here[0]).toHaveLength(6);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, completionTokens: 30, finished: { length: 3 } });
    expect(engine.health()).toEqual({ status: 'ready' });
  });

  it('ends one of n answers within a few steps of being told', async () => {
    await using engine = await open();
    const stream = engine.submit({ ...request, maxTokens: 400, n: 2 });
    const ids: number[][] = [[], []];
    const ends: unknown[] = [];
    for await (const { index, tokenIds, finishReason } of stream) {
      ids[index]!.push(...tokenIds);
      if (finishReason) ends.push([index, finishReason]);
      if (index === 0 && ids[0]!.length === 2) stream.finish(0);
    }
    expect(ends).toEqual([
      [0, 'stop'],
      [1, 'length'],
    ]);
    expect(ids[0]!.length).toBeLessThan(400); // how many are on their way is the machine's to say
    expect(ids[1]).toEqual(await idsOf(engine, { ...request, maxTokens: 400, sequenceIndex: 1 }));
  });

  it('computes with less priority than the thread that answers, where threads have one of their own', async () => {
    await using engine = await open();
    expect(engine.health()).toEqual({ status: 'ready' });
    if (process.platform !== 'linux') return;
    const nice = (thread: string): number =>
      Number(readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ')[1]!.split(' ')[16]);
    const own = nice(String(process.pid));
    expect(getPriority(0)).toBe(own);
    expect(readdirSync('/proc/self/task').map(nice)).toContain(Math.min(19, own + 3));
  });

  it('refuses here what cannot be, before the worker hears of it', async () => {
    await using engine = await open({ maxSequences: 1, maxQueue: 1 });
    expect(() => engine.submit({ tokenIds: [99999] })).toThrow(/token id 99999/);
    expect(() => engine.submit({ prompt: 'a' })).toThrow(/no tokenizer.json/);
    expect(() => engine.tokenizer).toThrow(/no tokenizer.json/);
    const streams = [engine.submit(endless), engine.submit(endless)];
    expect(() => engine.submit(endless)).toThrow(/the queue is full: 2 requests wait, maxQueue = 1/);
    expect(engine.stats().finished.refused).toBe(1);
    for (const stream of streams) stream.cancel(new Error('enough'));
    for (const stream of streams) await expect(stream.next()).rejects.toThrow('enough');
    expect(await idsOf(engine, request)).toHaveLength(6);
  });

  it('a worker that dies fails its requests by name, and can be brought back', async () => {
    await using engine = await open();
    const want = await idsOf(engine, request);
    const stream = engine.submit(endless);
    await stream.next();
    const rest = (async () => {
      for await (const chunk of stream) void chunk;
    })();
    murder.postMessage('die');
    await expect(rest).rejects.toMatchObject({ code: 'ERR_WORKER', message: /died with code 7; restart\(\)/ });
    expect(engine.health()).toMatchObject({ status: 'failed', error: { code: 'ERR_WORKER' } });
    expect(() => engine.submit(request)).toThrow(expect.objectContaining({ code: 'ERR_WORKER' }));
    await engine.restart();
    expect(engine.health()).toEqual({ status: 'ready' });
    expect(await idsOf(engine, request)).toEqual(want);
  });

  it('closes: with a drain after what is under way, without one at once', async () => {
    const engine = await open();
    const ids = idsOf(engine, request);
    const closed = engine.close({ drain: true });
    expect(engine.health().status).toBe('draining');
    expect(() => engine.checkAdmission()).toThrow(/closing and takes no more/);
    expect(await ids).toHaveLength(6);
    await closed;
    expect(engine.health()).toEqual({ status: 'closed' });
    await engine.close();
    const other = await open();
    const stream = other.submit(endless);
    await other.close();
    await expect(stream.next()).rejects.toMatchObject({ code: 'ERR_ENGINE_CLOSED' });
  });

  it('what a load throws keeps its class; what cannot go to a worker is refused', async () => {
    await expect(open({ model: 'no/such/folder' })).rejects.toMatchObject({ code: 'ERR_CHECKPOINT' });
    await expect(open({ load: { thread: 1 } as never })).rejects.toThrow(
      /unknown option "thread"; did you mean "threads"/,
    );
    await expect(open({ maxSequences: 0 })).rejects.toThrow(/maxSequences/);
    await expect(open({ model: TINY, load: { signal: AbortSignal.abort(new Error('stop')) } })).rejects.toThrow('stop');
    const m = await model(MICRO_FLASH, { backend: 'js' });
    await expect(open({ model: m })).rejects.toThrow(/"worker" loads a checkpoint folder itself/);
    await expect(open({ load: { backend: m.backend } })).rejects.toThrow(/backend of your own cannot go to a worker/);
    await expect(openEngineWith(new URL('file:///no/such.mjs'), { model: TINY, worker: true })).rejects.toMatchObject({
      code: 'ERR_WORKER',
    });
  });
});
