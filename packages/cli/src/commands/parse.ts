import { CHAT_TOKENS, OutputParser, readJson, type JsonObject, type ParsedOutput, type Stage } from '@megamoe/chat';
import { ValueError } from '@megamoe/core';
import { Command, Option } from 'commander';
import { readText } from '../input';
import type { CliIo } from '../io';
import { collect } from '../options';

interface ParseFlags {
  readonly stage: Stage | 'reasoning';
  /** A file, or false with --no-tools. */
  readonly tools?: string | false;
  readonly jsonObject?: boolean;
  readonly stop?: string[];
  readonly finish: 'stop' | 'length';
  readonly json?: boolean;
}

/** `megamoe parse [FILE]`. */
export function parseCommand(io: CliIo): Command {
  return new Command('parse')
    .description('Take model output apart: reasoning, content, tool calls.')
    .argument('[file]', 'text as the model wrote it, with its markers (default: standard input)')
    .addOption(
      new Option('--stage <name>', 'where the output begins; reasoning is thinking')
        .choices(['thinking', 'reasoning', 'content', 'tool_calls'])
        .default('content'),
    )
    .option('--tools <file>', 'JSON with the tools that may be called, as a list or in a request (default: any tool)')
    .option('--no-tools', 'no tool may be called: markup of calls is text')
    .option('--json-object', 'the content is JSON: drop what stands around it')
    .option('--stop <text>', 'text that ends the content; may be given several times', collect(String))
    .addOption(new Option('--finish <why>', 'why generation ended').choices(['stop', 'length']).default('stop'))
    .option('--json', 'print {reasoning, content, tool_calls: [{name, arguments}], finish_reason, stop_sequence}')
    .addHelpText('after', '\nExample:\n  megamoe parse output.txt --stage thinking --tools request.json --json')
    .action((file: string | undefined, flags: ParseFlags) => runParse(io, file, flags));
}

/** The tools of a file: a list, or the `tools` of a request. */
async function readTools(io: CliIo, file: string): Promise<JsonObject[]> {
  const text = (await readText(io, 'parse', file)).replace(/^\ufeff/, '');
  const value = readJson(text, { name: `parse: ${file}` });
  const tools = value instanceof Map ? value.get('tools') : value;
  if (Array.isArray(tools)) return tools as JsonObject[];
  throw new ValueError(`parse: ${file} must hold a list of tools, or a request with "tools"`);
}

async function runParse(io: CliIo, file: string | undefined, flags: ParseFlags): Promise<void> {
  const tools = typeof flags.tools === 'string' ? await readTools(io, flags.tools) : (flags.tools ?? true);
  const text = await readText(io, 'parse', file);
  const stage = flags.stage === 'reasoning' ? 'thinking' : flags.stage;
  const parser = new OutputParser({ stage, tools, jsonObject: flags.jsonObject, stop: flags.stop });
  const end = text.indexOf(CHAT_TOKENS.eos); // which ends generation, and is no part of the answer
  parser.push(end < 0 ? text : text.slice(0, end));
  parser.end(flags.finish);
  const { reasoning, content, toolCalls, finishReason, stopSequence } = parser.result;
  if (!flags.json) {
    io.out(forPeople(parser.result));
    return;
  }
  const shown = {
    reasoning,
    content,
    tool_calls: toolCalls,
    finish_reason: finishReason,
    stop_sequence: stopSequence,
  };
  io.out(`${JSON.stringify(shown)}\n`);
}

function forPeople({ reasoning, content, toolCalls, finishReason, stopSequence }: ParsedOutput): string {
  const parts: [string, string | null][] = [
    ['reasoning', reasoning],
    ['content', content],
    ...toolCalls.map(({ name, arguments: args }): [string, string] => [`call of ${name}`, args]),
  ];
  const shown = parts.flatMap(([title, text]) => (text === null ? [] : [`${title}:\n${text}\n\n`]));
  const why = stopSequence === null ? finishReason! : `${finishReason}, at the text ${JSON.stringify(stopSequence)}`;
  return `${shown.join('')}finish: ${why}\n`;
}
