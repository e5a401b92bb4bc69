import type { LoadProgress, MemoryPlan, Model } from '@megamoe/model';
import { freemem } from 'node:os';
import type { CliIo } from './io';
import { ProgressLine } from './progress';
import { table } from './table';
import { bytesText } from './units';

/** Loads from here on say what they will put into memory. */
const LARGE_BYTES = 1e9;

/** Says what a load will take before it starts, draws its progress on a terminal, and says afterwards which backend runs and what was noticed. */
export function loadReporter(io: CliIo): {
  plan: (plan: MemoryPlan) => void;
  progress: LoadProgress;
  done: (model: Model) => void;
} {
  const line = new ProgressLine(io);
  return {
    plan: (plan) => {
      if (plan.limitBytes !== undefined || plan.totalBytes > LARGE_BYTES) io.err(planText(plan));
    },
    progress: (at, total, module) => line.update(at, total, module),
    done: (model) => {
      line.clear();
      io.err(`megamoe: backend ${model.backend.description}\n`);
      if (model.formats !== undefined) io.err(`megamoe: weights: ${model.formats}\n`);
      for (const warning of model.warnings) io.err(`megamoe: warning: ${warning}\n`);
    },
  };
}

/** A plan as a table and a verdict. */
export function planText(plan: MemoryPlan, free = freemem()): string {
  const rows = plan.parts.map(({ name, bytes }) => {
    const what =
      name === 'state'
        ? `one sequence of ${plan.stateTokens} tokens`
        : name === 'experts' && plan.fits !== 'resident'
          ? `${plan.pooledExperts} of ${plan.experts} at a time; all are ${bytesText(plan.expertBytes)}`
          : '';
    return [name, bytesText(bytes), what];
  });
  rows.push([
    'total',
    bytesText(plan.totalBytes),
    plan.limitBytes === undefined ? '' : `limit ${bytesText(plan.limitBytes)}`,
  ]);
  const where = plan.device ? 'memory of the GPU' : 'memory';
  return `${table([where, 'bytes', ''], rows)}megamoe: ${verdict(plan, free)}\n`;
}

function verdict(plan: MemoryPlan, free: number): string {
  if (plan.device) {
    const { neededBytes, freeBytes, totalBytes, kvTokens, kvBytesPerToken } = plan.device;
    const there = `${bytesText(freeBytes)} of ${bytesText(totalBytes)} are free on the GPU`;
    if (plan.fits === 'no') return `does not fit: ${bytesText(neededBytes)} are needed, ${there}`;
    return `fits: ${there}; KV pages for a sequence of ${kvTokens} tokens beside the weights (${bytesText(kvBytesPerToken)} a token)`;
  }
  switch (plan.fits) {
    case 'no':
      return `does not fit: at least ${bytesText(plan.leastBytes)} are needed`;
    case 'pool':
      return 'fits with its experts on the disk, read when tokens are routed to them';
    case 'resident':
      if (plan.totalBytes <= free) return 'fits, everything is packed at load';
      return `warning: ${bytesText(free)} of memory are free; with --memory ${Math.max(1, Math.floor(free / 1e9))}G experts stay on the disk until they are needed`;
  }
}
