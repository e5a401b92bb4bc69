import { checkObject, checkOneOf, checkString, KindError, takeList, UnsupportedError, ValueError } from '@megamoe/core';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CALLS_BLOCK, CHAT_TOKENS, TASK_TOKENS } from './markers';
import { fieldsOf, parseTemplate, type TemplatePart } from './python-format';
import { readPythonLiterals, type PythonLiteral, type PythonModule } from './python-literals';

/**
 * Which meaning the effort tiers have. `preview` (April 2026): low and high add nothing, max adds text H. `official` (from 0731 on): low adds
 * nothing, high text H, max text M.
 */
export type Contract = 'preview' | 'official';

/** A tier of reasoning effort, as the model knows it. */
export type Effort = 'low' | 'high' | 'max';

/** The wording of a checkpoint's prompts, from its `encoding/encoding_dsv4.py`. */
export interface Encoding {
  readonly contract: Contract;
  /** Where the wording came from, for messages. */
  readonly source: string;
  /** The tools block, with the fields dsml_token, thinking_start_token, thinking_end_token and tool_schemas. */
  readonly tools: readonly TemplatePart[];
  /** The response format, with the field schema. */
  readonly responseFormat: readonly TemplatePart[];
  /** What each tier puts before the conversation, in thinking mode. */
  readonly effortText: Readonly<Record<Effort, string>>;
}

/** How {@link parseEncoding} reads. */
export interface EncodingOptions {
  /** Take this contract instead of the file's own. */
  readonly contract?: Contract | undefined;
}

/** Where a checkpoint keeps the file. */
export const ENCODING_FILE = 'encoding/encoding_dsv4.py';

/** Largest file that is read: DeepSeek's has 30 KB. */
export const MAX_ENCODING_BYTES = 1 << 20;

const CONTRACTS: readonly Contract[] = ['preview', 'official'];

/** What DeepSeek-V4's file says of the syntax that our code writes; several where copies differ. */
const SYNTAX: Readonly<Record<string, readonly string[]>> = {
  bos_token: [CHAT_TOKENS.bos],
  eos_token: [CHAT_TOKENS.eos],
  thinking_start_token: [CHAT_TOKENS.think],
  thinking_end_token: [CHAT_TOKENS.endThink],
  dsml_token: [CHAT_TOKENS.dsml],
  USER_SP_TOKEN: [CHAT_TOKENS.user],
  ASSISTANT_SP_TOKEN: [CHAT_TOKENS.assistant],
  LATEST_REMINDER_SP_TOKEN: [CHAT_TOKENS.latestReminder],
  system_msg_template: ['{content}'],
  user_msg_template: ['{content}'],
  latest_reminder_msg_template: ['{content}'],
  assistant_msg_wo_eos_template: ['{reasoning}{content}{tool_calls}'],
  thinking_template: ['{reasoning_content}', '{reasoning}'],
  tool_call_template: ['<{dsml_token}invoke name="{name}">\n{arguments}\n</{dsml_token}invoke>'],
  tool_calls_template: ['<{dsml_token}{tc_block_name}>\n{tool_calls}\n</{dsml_token}{tc_block_name}>'],
  tool_calls_block_name: [CALLS_BLOCK],
  tool_output_template: ['<tool_result>{content}</tool_result>'],
};

const TOOLS_FIELDS = ['dsml_token', 'thinking_start_token', 'thinking_end_token', 'tool_schemas'];

/**
 * Takes the wording out of the text of an `encoding_dsv4.py` (docs/formats.md B5). Its constants are read as literals; the file is never run.
 * @param source for messages: the file's path
 * @throws UnsupportedError when the file is not DeepSeek-V4's format: a changed one (V4.1), or no encoder at all
 */
export function parseEncoding(text: string, source: string, options: EncodingOptions = {}): Encoding {
  if (typeof text !== 'string') throw new KindError(`parseEncoding: "text" must be a string, got ${typeof text}`);
  checkString('parseEncoding', 'source', source);
  const { contract: wanted } = takeOptions('parseEncoding', options);
  const module = readPythonLiterals(text);
  checkSyntax(module, source);
  const own = contractOf(module);
  if (own === undefined) {
    throw new UnsupportedError(
      `parseEncoding: ${source} has neither REASONING_EFFORT_MAX nor REASONING_EFFORT_PROMPTS as plain text; it is no encoding_dsv4.py of DeepSeek-V4`,
    );
  }
  const contract = wanted ?? own;
  return keep({
    contract,
    source,
    tools: template(module, source, 'TOOLS_TEMPLATE', TOOLS_FIELDS),
    responseFormat: template(module, source, 'response_format_template', ['schema']),
    effortText: effortTexts(module, source, own, contract),
  });
}

/** What was read here, and cannot have changed since. */
const kept = new WeakSet<Encoding>();

function keep(encoding: Encoding): Encoding {
  for (const part of [...encoding.tools, ...encoding.responseFormat]) Object.freeze(part);
  for (const inner of [encoding.tools, encoding.responseFormat, encoding.effortText]) Object.freeze(inner);
  kept.add(Object.freeze(encoding));
  return encoding;
}

/** Throws unless it is the wording that {@link parseEncoding} gave, or a copy of it. */
export function takeEncoding(fn: string, encoding: Encoding): Encoding {
  checkObject(fn, 'encoding', encoding);
  if (kept.has(encoding)) return encoding;
  const { contract, source, tools, responseFormat, effortText } = encoding;
  checkOneOf(fn, 'encoding.contract', contract, CONTRACTS);
  checkString(fn, 'encoding.source', source);
  checkObject(fn, 'encoding.effortText', effortText);
  const { low, high, max } = effortText;
  for (const [tier, text] of Object.entries({ low, high, max })) checkString(fn, `encoding.effortText.${tier}`, text);
  return keep({
    contract,
    source,
    tools: takeParts(fn, 'encoding.tools', tools, TOOLS_FIELDS),
    responseFormat: takeParts(fn, 'encoding.responseFormat', responseFormat, ['schema']),
    effortText: { low, high, max },
  });
}

/** More than a template has: it names a handful of fields. */
const MOST_PARTS = 2 ** 16;

/** A template that a caller passed, each part read once. */
function takeParts(fn: string, arg: string, parts: readonly TemplatePart[], fields: readonly string[]): TemplatePart[] {
  return takeList(fn, arg, parts, MOST_PARTS, (part, i) => {
    checkObject(fn, `${arg}[${i}]`, part);
    const { text, field } = part as { readonly text?: unknown; readonly field?: unknown };
    if (field === undefined) {
      checkString(fn, `${arg}[${i}].text`, text);
      return { text };
    }
    checkOneOf(fn, `${arg}[${i}].field`, field, fields);
    return { field };
  });
}

function takeOptions(fn: string, options: EncodingOptions): EncodingOptions {
  checkObject(fn, 'options', options);
  const { contract } = options;
  if (contract !== undefined) checkOneOf(fn, 'contract', contract, CONTRACTS);
  return { contract };
}

/** Refuses a format that our code does not write. What a file does not have as a literal is not compared. */
function checkSyntax({ constants, assigned }: PythonModule, source: string): void {
  const tools = constants.get('TOOLS_TEMPLATE');
  if (
    assigned.has('REASONING_EFFORT_MAPPINGS') ||
    (typeof tools === 'string' && /\{dsml_token\}\s+(calls|invoke|parameter)/.test(tools))
  ) {
    throw new UnsupportedError(
      `parseEncoding: ${source} is of DeepSeek-V4.1, whose prompts have another format (numeric efforts, spaced tags); only DeepSeek-V4's is known here`,
    );
  }
  for (const [name, wanted] of Object.entries(SYNTAX)) {
    const found = constants.get(name);
    if (found === undefined || (typeof found === 'string' && wanted.includes(found))) continue;
    throw new UnsupportedError(
      `parseEncoding: ${source}: ${name} is ${shown(found)}, DeepSeek-V4 has ${JSON.stringify(wanted[0])}; the prompt format has changed and is not known here`,
    );
  }
  const tasks = constants.get('DS_TASK_SP_TOKENS');
  if (tasks === undefined) return;
  const same =
    typeof tasks !== 'string' &&
    tasks.size === TASK_TOKENS.size &&
    [...TASK_TOKENS].every(([task, token]) => tasks.get(task) === token);
  if (!same) {
    throw new UnsupportedError(
      `parseEncoding: ${source}: DS_TASK_SP_TOKENS is ${shown(tasks)}, DeepSeek-V4 has ${shown(TASK_TOKENS)}; the prompt format has changed and is not known here`,
    );
  }
}

const shown = (value: PythonLiteral): string =>
  typeof value === 'string' ? JSON.stringify(value) : `{${[...value].map(([k, v]) => `${k}: ${shown(v)}`).join(', ')}}`;

/** The contract that a file speaks of, as SGLang tells them apart (python/sglang/srt/entrypoints/openai/chat_encoding.py). */
function contractOf({ constants, assigned }: PythonModule): Contract | undefined {
  const prompts = constants.get('REASONING_EFFORT_PROMPTS');
  const tiers =
    typeof prompts === 'object' && ['low', 'high', 'max'].every((tier) => typeof prompts.get(tier) === 'string');
  if (tiers && constants.get('DEFAULT_REASONING_EFFORT') === 'low') return 'official';
  if (assigned.has('REASONING_EFFORT_MAX')) return 'preview';
  return tiers ? 'preview' : undefined;
}

function effortTexts(
  { constants }: PythonModule,
  source: string,
  own: Contract,
  contract: Contract,
): Record<Effort, string> {
  const prompts = constants.get('REASONING_EFFORT_PROMPTS');
  const official = typeof prompts === 'object' ? prompts : undefined;
  const max = constants.get('REASONING_EFFORT_MAX');
  if (contract === 'preview') {
    // Text H has moved from tier max to tier high between the contracts.
    const h = typeof max === 'string' ? max : official?.get('high');
    if (typeof h !== 'string')
      throw new UnsupportedError(`parseEncoding: ${source}: REASONING_EFFORT_MAX is no plain text`);
    return { low: '', high: '', max: h };
  }
  if (!official || own !== 'official') {
    throw new UnsupportedError(
      `parseEncoding: ${source} has the ${own} contract and no wording for the official one (REASONING_EFFORT_PROMPTS)`,
    );
  }
  const text = (tier: Effort): string => official.get(tier) as string;
  return { low: text('low'), high: text('high'), max: text('max') };
}

function template(
  { constants }: PythonModule,
  source: string,
  name: string,
  fields: readonly string[],
): TemplatePart[] {
  const text = constants.get(name);
  const parts = typeof text === 'string' ? parseTemplate(text) : undefined;
  const wanted = fields.map((f) => `{${f}}`).join(', ');
  if (!parts) {
    throw new UnsupportedError(`parseEncoding: ${source} has no ${name} that is plain text with ${wanted}`);
  }
  const found = fieldsOf(parts);
  if (found.size === fields.length && fields.every((f) => found.has(f))) return parts;
  const has = [...found].map((f) => `{${f}}`).join(', ') || 'none';
  throw new UnsupportedError(`parseEncoding: ${source}: ${name} must have the fields ${wanted}, it has ${has}`);
}

/**
 * Reads an `encoding_dsv4.py`.
 * @param path the file, or a checkpoint's folder that may have it as `encoding/encoding_dsv4.py`
 * @returns undefined for a folder without it: prompts then go without tools, schemas and efforts above low
 * @throws ValueError for a file that cannot be read, is over 1 MiB or no UTF-8; what {@link parseEncoding} throws
 */
export async function readEncoding(path: string, given: EncodingOptions = {}): Promise<Encoding | undefined> {
  checkString('readEncoding', 'path', path);
  const options = takeOptions('readEncoding', given);
  let file = path;
  try {
    let info = await stat(file);
    if (info.isDirectory()) {
      file = join(path, ENCODING_FILE);
      try {
        info = await stat(file);
      } catch (e) {
        if ((e as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw e;
      }
    }
    if (!info.isFile()) throw new ValueError(`readEncoding: ${file} is no file`);
    if (info.size > MAX_ENCODING_BYTES) throw tooLarge(file, info.size);
    const bytes = await readFile(file);
    if (bytes.length > MAX_ENCODING_BYTES) throw tooLarge(file, bytes.length);
    return parseEncoding(new TextDecoder('utf-8', { fatal: true }).decode(bytes), file, options);
  } catch (cause) {
    if (cause instanceof ValueError || cause instanceof UnsupportedError) throw cause;
    const why = cause instanceof TypeError ? 'is no UTF-8' : `cannot be read: ${(cause as Error).message}`;
    throw new ValueError(`readEncoding: ${file} ${why}`, { cause });
  }
}

const tooLarge = (file: string, bytes: number): ValueError =>
  new ValueError(`readEncoding: ${file} has ${bytes} bytes; an encoder has at most ${MAX_ENCODING_BYTES}`);
