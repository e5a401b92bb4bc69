import { loadTokenizer, type Tokenizer } from '@megamoe/checkpoint';
import { repositoryFile } from '@megamoe/testkit';
import { readFileSync } from 'node:fs';
import { parseEncoding, type Contract, type Encoding } from '../src/index';

const FILE = repositoryFile('models/tiny/encoding/encoding_dsv4.py');

/** The text of the shipped model's encoder file. */
export const ENCODER = readFileSync(FILE, 'utf8');

/** Its wording, with the contract that is asked for. */
export const encodingOf = (contract?: Contract): Encoding => parseEncoding(ENCODER, FILE, { contract });

/** The shipped model's tokenizer: it has every marker. */
export const tokenizer: Tokenizer = await loadTokenizer(repositoryFile('models/tiny'));

/** A case of goldens/encode.json. */
export interface EncodeCase {
  readonly id: string;
  readonly kind: 'encode' | 'parse';
  readonly contract: 'preview' | 'official' | 'both';
  readonly input: Readonly<Record<string, unknown>>;
  readonly output?: string;
  readonly error?: { readonly type: string; readonly message: string };
}

/** A case of goldens/stream.json. */
export interface StreamCase {
  readonly id: string;
  readonly input: {
    readonly text: string;
    readonly stage: 'thinking' | 'content' | 'tool_calls';
    readonly tools_declared: boolean;
    readonly json_object: boolean;
    readonly stop: readonly string[];
    readonly backend_finish: 'stop' | 'length';
  };
  readonly output: Readonly<Record<string, unknown>>;
}

const golden = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`./goldens/${name}.json`, import.meta.url), 'utf8'));

export const ENCODE_CASES = golden('encode') as readonly EncodeCase[];
export const STREAM_CASES = golden('stream') as readonly StreamCase[];

/** A golden text with the wording of an encoding in the places that the goldens leave open. */
export function worded(text: string, encoding: Encoding): string {
  const parts = (list: Encoding['tools'], after: boolean): string => {
    const at = list.findIndex((p) => 'field' in p && (p.field === 'tool_schemas' || p.field === 'schema'));
    const names: Readonly<Record<string, string>> = {
      dsml_token: '｜DSML｜',
      thinking_start_token: '<think>',
      thinking_end_token: '</think>',
    };
    return (after ? list.slice(at + 1) : list.slice(0, at))
      .map((p) => ('text' in p ? p.text : names[p.field]!))
      .join('');
  };
  const official = encodingOf('official');
  return text
    .replaceAll('{{TOOLS_HEAD}}', () => parts(encoding.tools, false))
    .replaceAll('{{TOOLS_TAIL}}', () => parts(encoding.tools, true))
    .replaceAll('{{SCHEMA_HEAD}}', () => parts(encoding.responseFormat, false))
    .replaceAll('{{EFFORT_H}}', () => official.effortText.high)
    .replaceAll('{{EFFORT_M}}', () => official.effortText.max);
}

/** What a call throws, as "code: message". */
export function thrown(f: () => unknown): string {
  try {
    f();
  } catch (e) {
    const { code, message } = e as Error & { code?: string };
    return `${code}: ${message}`;
  }
  return 'nothing';
}
