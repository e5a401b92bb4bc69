import {
  encodeConversation,
  readEncoding,
  readJson,
  type Contract,
  type ConversationRequest,
  type JsonObject,
} from '@megamoe/chat';
import { loadTokenizer } from '@megamoe/checkpoint';
import { ValueError } from '@megamoe/core';
import { Command, Option } from 'commander';
import { readText } from '../input';
import type { CliIo } from '../io';
import { MODEL_HELP } from '../model-folder';
import { addModelOption } from '../options';

interface PromptFlags {
  readonly model: string;
  readonly encoder?: string;
  readonly contract?: Contract;
  readonly json?: boolean;
}

/** `megamoe prompt [FILE]`. */
export function promptCommand(io: CliIo): Command {
  return addModelOption(new Command('prompt'), `${MODEL_HELP}: its tokenizer, and its encoding/encoding_dsv4.py`)
    .description('Render a conversation as the model gets it, special tokens and all.')
    .argument('[file]', 'JSON: a Chat Completions request, or a list of messages (default: standard input)')
    .option('--encoder <file>', "take the wording from this encoding_dsv4.py instead of the checkpoint's")
    .addOption(
      new Option('--contract <name>', "what the efforts mean (default: the encoder file's own)").choices([
        'preview',
        'official',
      ]),
    )
    .option('--json', 'print {text, tokenIds, thinking, effort, contract}')
    .addHelpText(
      'after',
      '\nExample:\n  megamoe prompt request.json --json' +
        '\n  echo \'{"messages": [{"role": "user", "content": "Hi"}], "reasoning_effort": "max"}\' | megamoe prompt' +
        "\n\nThe request's thinking, reasoning_effort, tools, tool_choice, response_format, prefix and" +
        "\ncontinue_final_message count; thinking_mode, effort, drop_thinking and context are the encoder's own.",
    )
    .action((file: string | undefined, flags: PromptFlags) => runPrompt(io, file, flags));
}

/** The request of a text; nothing that JSON says is lost. */
function requestOf(text: string, name: string): JsonObject {
  const value = readJson(text.replace(/^\ufeff/, ''), { name: `prompt: ${name}` });
  if (Array.isArray(value)) return new Map([['messages', value]]);
  if (!(value instanceof Map)) {
    throw new ValueError(`prompt: ${name} must hold a request with "messages", or a list of messages`);
  }
  // This command is the encoder: its effort null adds no text. Left out, the effort is the API's default.
  if (value.get('reasoning_effort') === null && !value.has('effort')) value.set('effort', null);
  return value;
}

async function runPrompt(io: CliIo, file: string | undefined, flags: PromptFlags): Promise<void> {
  const request = requestOf(
    await readText(io, 'prompt', file),
    file === undefined || file === '-' ? 'standard input' : file,
  );
  const tokenizer = await loadTokenizer(flags.model);
  const source = flags.encoder ?? flags.model;
  const encoding = await readEncoding(source, { contract: flags.contract });
  if (!encoding && (flags.encoder !== undefined || flags.contract !== undefined)) {
    throw new ValueError(`prompt: there is no encoding_dsv4.py in ${source}; name one with --encoder FILE`);
  }
  const encoded = encodeConversation(request as JsonObject | ConversationRequest, { encoding, tokenizer });
  const { text, tokenIds, thinking, effort, contract } = encoded;
  if (flags.json) {
    io.out(`${JSON.stringify({ text, tokenIds, thinking, effort, contract })}\n`);
    return;
  }
  io.out(`${text}\n`);
  const how = thinking ? `thinking with effort ${effort}` : 'without thinking';
  const where = encoding ? `${contract} contract of ${encoding.source}` : 'no encoder file';
  io.err(`megamoe: ${tokenIds.length} tokens, ${how}, ${where}\n`);
}
