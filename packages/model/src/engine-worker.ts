/** What runs in the worker of an engine: a model and the core that serves requests with it. Orders come and reports go as messages. */
import { getPriority, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { EngineCore } from './engine/core';
import { factsOf } from './engine/local';
import { limitsFor } from './engine/options';
import {
  flattenError,
  Happenings,
  type Order,
  type Report,
  type WorkerSetup,
  type WorkerState,
} from './engine/protocol';
import type { Job, Sink } from './engine/job';
import { loadModel } from './load';

const port = parentPort!;
const send = (report: Report): void => port.postMessage(report);

async function serve({ directory, id, load, limits: asked, reports }: WorkerSetup): Promise<void> {
  const model = await loadModel(directory, {
    ...load,
    ...(reports.plan ? { onPlan: (plan) => send({ type: 'plan', plan }) } : {}),
    ...(reports.progress ? { onProgress: (done, total, name) => send({ type: 'progress', done, total, name }) } : {}),
  });
  const limits = limitsFor('openEngine', asked, model);
  const core = new EngineCore(model, limits);
  const jobs = new Map<number, Job>();
  let seen = 0;
  const happened = new Happenings();
  let isFlushing = false;

  const state = (): WorkerState => ({ seen, load: core.load, stats: core.stats() });
  /** Reports once for all that happens in a step. */
  const report = (): void => {
    if (isFlushing) return;
    isFlushing = true;
    queueMicrotask(() => {
      isFlushing = false;
      send({ type: 'served', happened: happened.take(), state: state() });
    });
  };
  const sinkOf = (request: number): Sink => {
    return {
      wants: true,
      push: (chunk) => {
        happened.chunk(request, chunk);
        report();
      },
      end: () => {
        jobs.delete(request);
        happened.add({ id: request, ended: true });
        report();
      },
      fail: (error) => {
        jobs.delete(request);
        happened.add({ id: request, error: flattenError(error) });
        report();
      },
    };
  };

  core.onStep = report;
  port.on('message', (order: Order) => {
    if (order.type === 'add') {
      seen = order.id;
      jobs.set(order.id, core.add(order.request, sinkOf(order.id)));
    } else {
      const job = jobs.get(order.id);
      if (job !== undefined && order.type === 'finish') core.finish(job, order.index);
      else if (job !== undefined) core.cancel(job, new Error('cancelled'));
    }
    report();
  });
  send({ type: 'ready', model: factsOf(model, id, limits), maxSequences: limits.maxSequences, state: state() });
}

/** How much the threads that compute give way to the one that answers: beside it they would not let it in for milliseconds. */
const NICE = 3;

/** On Linux a thread has a nice value of its own, and the pool's threads take it from this one, which starts them. */
function giveWay(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, Math.min(19, getPriority(0) + NICE));
  } catch {
    // not allowed here: then they share as equals
  }
}

giveWay();
serve(workerData as WorkerSetup).catch((error: unknown) => {
  send({ type: 'failed', error: flattenError(error) });
  port.close();
});
