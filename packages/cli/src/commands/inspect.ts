import { openCheckpoint, type Checkpoint } from '@megamoe/checkpoint';
import { Command } from 'commander';
import { setImmediate } from 'node:timers/promises';
import { inspectCheckpoint, type InspectReport } from '../inspect';
import type { CliIo } from '../io';
import { checkTargets, writeFile } from '../files';
import { standaloneSvg } from '../html/index';
import { faultText, inspectHtml, scalePicture } from '../inspect-html';
import { MODEL_HELP, modelFolder, revisionOption } from '../model-folder';
import { ProgressLine } from '../progress';
import { table } from '../table';
import { CheckFailed } from '../errors';
import { fileToWrite } from '../options';
import { bytesText } from '../units';

interface InspectFlags {
  readonly json?: boolean;
  readonly html?: string;
  readonly svg?: string;
  readonly revision?: string;
}

/** `megamoe inspect DIR`. */
export function inspectCommand(io: CliIo): Command {
  return new Command('inspect')
    .description('Show what a checkpoint holds: formats by module, bytes, parameters, and the health of its scales.')
    .argument('<dir>', MODEL_HELP)
    .addOption(revisionOption())
    .option('--json', 'print one JSON object')
    .option('--html <file>', 'write the report as a page', fileToWrite)
    .option('--svg <file>', 'draw where the scales of each layer lie', fileToWrite)
    .addHelpText('after', '\nExample:\n  megamoe inspect models/tiny')
    .action(async (model: string, { json, html, svg, revision }: InspectFlags) => {
      const dir = modelFolder(io.err, model, revision);
      checkTargets('inspect', { 'the checkpoint': dir }, { '--html': html, '--svg': svg });
      const checkpoint = openCheckpoint(dir);
      try {
        const report = await run(io, checkpoint);
        io.out(json ? `${JSON.stringify(report)}\n` : text(report));
        if (html !== undefined) await writeFile(html, inspectHtml(report), io.signal);
        if (svg !== undefined) await writeFile(svg, standaloneSvg(scalePicture(report, true)), io.signal);
        for (const file of [html, svg]) if (file !== undefined) io.err(`megamoe: wrote ${file}\n`);
        const fault = faultText(report);
        if (fault !== undefined) throw new CheckFailed(`inspect: ${fault}`);
      } finally {
        checkpoint.close();
      }
    });
}

/** Milliseconds between two looks at the event loop. */
const TURN_MS = 50;

async function run(io: CliIo, checkpoint: Checkpoint): Promise<InspectReport> {
  const line = new ProgressLine(io);
  const steps = inspectCheckpoint(checkpoint);
  let turn = performance.now();
  try {
    for (;;) {
      const step = steps.next();
      if (step.done) return step.value;
      io.signal.throwIfAborted();
      line.update(step.value.done, step.value.total, step.value.what);
      if (performance.now() - turn < TURN_MS) continue;
      await setImmediate(); // lets an interrupt be heard
      turn = performance.now();
    }
  } finally {
    line.clear();
  }
}

function text(r: InspectReport): string {
  const percent = (n: number): string => (r.scales.blocks === 0 ? '0' : `${((100 * n) / r.scales.blocks).toFixed(2)}%`);
  const modules = table(
    ['module', 'format', 'count', 'shape', 'parameters', 'bytes'],
    r.modules.map((m) => [
      m.module,
      m.convention ? `${m.format} (${m.convention})` : m.format,
      m.count,
      `[${m.shape.join(', ')}]`,
      m.parameters,
      m.bytes,
    ]),
  );
  const scales =
    r.scales.blocks === 0
      ? ''
      : `\nNVFP4 block scales: ${r.scales.blocks}; saturated at 448: ${percent(r.scales.saturatedScales)}, at the minimum 2^-9: ${percent(r.scales.minimumScales)}, ` +
        `zero: ${percent(r.scales.zeroScales)}, NaN: ${r.scales.nanScales}\n`;
  const drafts =
    r.draft.layers === 0
      ? ''
      : `\nmtp.*: ${r.draft.layers} draft layer${r.draft.layers === 1 ? '' : 's'}, ${bytesText(r.draft.bytes)} in ${r.draft.tensors} tensors, skipped when computing\n`;
  const { problems, nonFinite, refused, garbage } = r.health;
  const errors = [...refused, ...garbage].map((w) => `error: ${w}\n`).join('');
  const odd = [
    ...problems.filter((p) => !garbage.includes(p)),
    ...nonFinite.map((t) => `${t.tensor}: ${t.nan} NaN, ${t.infinite} infinite`),
    ...r.warnings,
  ];
  const warnings = odd.map((w) => `warning: ${w}\n`).join('');
  return `${r.dir}: ${r.parameters} parameters, ${bytesText(r.bytes)} in ${r.tensors} tensors\n\n${modules}${scales}${drafts}${errors}${warnings}`;
}
