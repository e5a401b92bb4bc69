import { isThere, SafetensorsFile, writeSafetensors } from '@megamoe/checkpoint';
import { explainSteps, type Dump, type DumpTensor, type Explanation, type FoundMistake } from '@megamoe/reference';
import { Command, Option } from 'commander';
import { setImmediate } from 'node:timers/promises';
import { dumpTemplate, TEMPLATE_OPS } from '../dump-template';
import { UsageError } from '../errors';
import { packageFile } from '../files';
import type { CliIo } from '../io';
import { table } from '../table';

/** `megamoe explain DUMP.safetensors`. */
export function explainCommand(io: CliIo): Command {
  return new Command('explain')
    .description('Find which known mistake explains a tensor that disagrees.')
    .argument('<dump>', 'safetensors file with the inputs, the suspicious output and, in its metadata, the operation')
    .option('--json', 'print {op, agrees, level, compared, elements, mistakes, nearest, notes}')
    .addOption(
      new Option('--template <op>', 'write <dump> instead: small inputs of an operation, outputs to replace').choices(
        TEMPLATE_OPS,
      ),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  megamoe explain gemm-out.safetensors\n  megamoe explain new.safetensors --template rope\n\nHow to write a dump: ' +
        packageFile('docs/dumps.md') +
        '\nExit code 0: there is an answer, whatever it is; 1: the dump cannot be read.',
    )
    .action(async (file: string, { json, template }: { json?: boolean; template?: string }) => {
      if (template !== undefined) {
        await writeTemplate(io, file, template);
        return;
      }
      const explanation = await explain(io, readDump(file));
      io.out(json ? `${JSON.stringify(explanationJson(explanation))}\n` : explanationText(explanation));
    });
}

async function writeTemplate(io: CliIo, file: string, op: string): Promise<void> {
  if (isThere(file)) throw new UsageError(`explain: ${file} is there already: name a new file for the template`);
  const { metadata, tensors } = dumpTemplate(op);
  await writeSafetensors(file, tensors, { metadata });
  const rows = tensors.map(({ name, dtype, shape }) => [name, dtype, `[${shape.join(', ')}]`]);
  io.out(
    `${table(['tensor', 'type', 'shape'], rows)}\nwrote ${file}: put your kernel's inputs and outputs in the place of these\n`,
  );
}

/** Reads the inputs and outputs of a dump. */
function readDump(path: string): Dump {
  const file = new SafetensorsFile(path);
  try {
    const tensors = new Map<string, DumpTensor>();
    for (const [name, { dtype, shape }] of file.tensors) {
      const wanted = name === 'out' || name.startsWith('in.') || name.startsWith('out.');
      // What else the file holds is named in the answer, and not read.
      tensors.set(name, { dtype, shape, bytes: wanted ? file.read(name) : new Uint8Array() });
    }
    return { metadata: file.metadata, tensors, file: path };
  } finally {
    file.close();
  }
}

async function explain(io: CliIo, dump: Dump): Promise<Explanation> {
  const steps = explainSteps(dump);
  const wipe = (): void => void (io.isTerminal && io.err('\r\x1b[K'));
  try {
    for (;;) {
      await setImmediate(); // lets an interrupt be heard
      io.signal.throwIfAborted();
      const step = steps.next();
      if (step.done) return step.value;
      const text = `trying ${step.value.done} of ${step.value.total}`;
      if (io.isTerminal) io.err(`\r\x1b[K${text}`);
      else io.progress?.(text);
    }
  } finally {
    wipe();
  }
}

const number = (x: number): string =>
  x === 0 ? '0' : Math.abs(x) < 1e-3 || Math.abs(x) >= 1e6 ? x.toExponential(2) : x.toPrecision(4);

function mistakeText({ id, cosine, maxAbs, evidence, rule }: FoundMistake, at: number): string {
  return `${at + 1}. ${id}   cosine ${cosine.toFixed(9)}, max abs ${number(maxAbs)}\n   ${evidence}\n   Right: ${rule}\n`;
}

/** The answer for programs. */
export function explanationJson({ op, agrees, level, right, mistakes, nearest, notes }: Explanation): object {
  const { compared, elements } = right;
  return { op, agrees, level, compared, elements, mistakes, nearest, notes };
}

/** The answer for people, best first. */
export function explanationText(explanation: Explanation): string {
  const { op, agrees, levelText, constant, mistakes, nearest, right, notes } = explanation;
  const { compared, elements, outside } = right;
  const of = compared < elements ? `${compared} sampled elements of ${elements}` : `${elements} elements`;
  const parts: string[] = [];
  if (agrees)
    parts.push(
      `${op}: agrees${levelText && `, ${levelText}`}. The right computation reproduces all of ${of} within the precision of the output.\n`,
    );
  else if (constant) parts.push(`${op}: nothing can be said.\n`);
  else {
    const many = mistakes.length > 1 ? `${mistakes.length} known mistakes reproduce` : 'a known mistake reproduces';
    parts.push(
      mistakes.length > 0
        ? `${op}: ${many} the output${levelText && `, ${levelText}`}.\n`
        : `${op}: none of the known mistakes reproduces the output.\n`,
      `The right computation: cosine ${right.cosine.toFixed(6)}, max abs ${number(right.maxAbs)}, ${outside} of ${of} differ.\n`,
    );
  }
  if (mistakes.length > 0) parts.push(`\n${mistakes.map(mistakeText).join('\n')}`);
  if (mistakes.length === 0 && nearest.length > 0) {
    const rows = nearest.map((m) => [
      m.id,
      m.cosine.toFixed(6),
      number(m.maxAbs),
      m.cosine > m.rightCosine ? 'nearer than right' : '',
    ]);
    const first = nearest[0]!;
    parts.push(
      `\n${table(['nearest', 'cosine', 'max abs', ''], rows)}`,
      `\n${first.id}: ${first.evidence}\nRight: ${first.rule}\n`,
    );
  }
  if (notes.length > 0) parts.push(`\n${notes.map((note) => `Note: ${note}\n`).join('')}`);
  return parts.join('');
}
