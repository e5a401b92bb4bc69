import { addonInfos, createBackend, cudaReport, planModel, type BackendName, type MemoryPlan } from '@megamoe/model';
import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import type { CliIo } from '../io';
import { messageOf } from '../errors';
import { planText } from '../load-progress';
import { MODEL_HELP, modelFolder, revisionOption } from '../model-folder';
import { backendOption, defaultModel, deviceOption, memoryOption } from '../options';

interface DoctorOptions {
  readonly json?: boolean;
  readonly model?: string;
  readonly revision?: string;
  readonly backend: BackendName;
  readonly device?: number;
  readonly memory?: number;
}

/** `megamoe doctor`. */
export function doctorCommand(io: CliIo): Command {
  return new Command('doctor')
    .description('Say what is installed, which backend would run and why; with --model also what the model takes.')
    .option('--model <dir>', `${MODEL_HELP}: say what loading it puts into memory, and whether it fits`)
    .addOption(revisionOption())
    .addOption(backendOption())
    .addOption(deviceOption())
    .addOption(memoryOption())
    .option('--json', 'print one JSON object')
    .addHelpText('after', '\nExamples:\n  megamoe doctor\n  megamoe doctor --model DIR --backend cuda')
    .action(({ json, ...options }: DoctorOptions) => {
      const plan = planOf(io, options);
      const report = { ...diagnose(), ...(plan && { plan }) };
      io.out(json ? `${JSON.stringify(report)}\n` : `${text(report)}${plan ? `\n${planText(plan)}` : ''}`);
    });
}

/** What loading the model that was asked about would put into memory. */
function planOf(io: CliIo, { model, revision, backend, device, memory }: DoctorOptions): MemoryPlan | undefined {
  if (model === undefined) return undefined;
  const dir = modelFolder((line) => io.err(line), model, revision);
  return planModel(dir, { backend, device, memoryLimit: memory });
}

/** What the machine and the installation offer. */
function diagnose() {
  const addons = addonInfos();
  const gpu = cudaReport();
  const backends = (['js', 'cpu', 'cuda'] as const).map((name) => {
    try {
      const backend = createBackend({ backend: name });
      const { description } = backend;
      backend.dispose();
      return { name, available: true, description: name === 'cuda' ? gpu.reason : description };
    } catch (e) {
      return { name, available: false, description: messageOf(e) };
    }
  });
  const model = defaultModel();
  return {
    node: process.versions.node,
    platform: `${process.platform}-${process.arch}`,
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    processors: availableParallelism(),
    memoryBytes: totalmem(),
    addons,
    backends,
    chosen: gpu.available ? 'cuda' : createBackend().name,
    model: { path: model, found: existsSync(join(model, 'config.json')) },
  };
}

function text(r: ReturnType<typeof diagnose>): string {
  const lines: [string, string][] = [
    ['Node', `${r.node} on ${r.platform}`],
    ['Processor', `${r.processor}, ${r.processors} available, ${(r.memoryBytes / 2 ** 30).toFixed(1)} GiB of memory`],
    ['Features', r.addons.find((a) => a.cpuFeatures)?.cpuFeatures?.join(' ') ?? 'unknown (no addon loaded)'],
    ...r.addons.map((a): [string, string] => [
      `Addon ${a.name}`,
      a.loaded ? `loaded; instruction set ${a.isaReason ?? 'unknown'}` : `not loaded: ${a.reason}`,
    ]),
    ...r.backends.map((b): [string, string] => [
      `Backend ${b.name}`,
      `${b.available ? 'yes' : 'no'}: ${b.description}`,
    ]),
    ['Chosen', `${r.chosen} (--backend overrides)`],
    ['Default model', r.model.found ? r.model.path : `${r.model.path}: not found; give --model`],
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join('');
}
