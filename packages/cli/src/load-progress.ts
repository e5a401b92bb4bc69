import type { LoadProgress, Model } from '@megamoe/model';
import type { CliIo } from './io';

/** Draws the progress of a load on a terminal, and says afterwards which backend runs and what was noticed. */
export function loadReporter(io: CliIo): { progress: LoadProgress; done: (model: Model) => void } {
  const started = performance.now();
  let drawn = false;
  return {
    progress: (at, total, module) => {
      // Short loads show nothing: a bar that flashes by helps nobody.
      if (!io.isTerminal || (!drawn && performance.now() - started < 500)) return;
      drawn = true;
      const width = 30;
      const full = Math.round((width * at) / total);
      io.err(`\r${'#'.repeat(full)}${'.'.repeat(width - full)} ${module.padEnd(12)}`);
    },
    done: (model) => {
      if (drawn) io.err(`\r${' '.repeat(48)}\r`);
      io.err(`megamoe: backend ${model.ops.description}\n`);
      for (const warning of model.warnings) io.err(`megamoe: warning: ${warning}\n`);
    },
  };
}
