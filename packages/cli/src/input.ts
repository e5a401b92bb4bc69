import { ValueError } from '@megamoe/core';
import { UsageError } from './errors';
import type { CliIo } from './io';
import { readInput } from './read-file';

/** Most bytes of a text that a command takes in. */
const MAX_BYTES = 64 << 20;

/** The text of a file, or of what is piped in when none is named, or `-`; UTF-8. */
export async function readText(io: CliIo, command: string, file: string | undefined): Promise<string> {
  if (file !== undefined && file !== '-') return textOf(command, file, await readNamed(command, file, io.signal));
  const { stdin } = io; // asked for once: a command in a worker has it piped in when it asks
  if (!stdin) throw new UsageError(`${command}: name a file, or pipe one in`);
  return readPiped(stdin, io.signal, command);
}

/**
 * A prompt that may be an argument: `-` takes what is piped in, and so does none where something is; else it is `otherwise`. The line end that
 * echo or an editor puts behind it is no part of it.
 */
export async function readPrompt(
  io: CliIo,
  command: string,
  prompt: string | undefined,
  otherwise: string,
): Promise<string> {
  if (prompt !== undefined && prompt !== '-') return prompt;
  const { stdin } = io;
  if (prompt === '-' && !stdin) throw new UsageError(`${command}: "-" takes a prompt from standard input: pipe one in`);
  if (stdin)
    io.progress?.('waiting for the end of standard input, which is the prompt: give one as an argument instead');
  const text = stdin ? (await readPiped(stdin, io.signal, command)).replace(/\r?\n$/, '') : '';
  if (prompt === '-' && text === '') throw new UsageError(`${command}: there is no prompt on standard input`);
  return text === '' ? otherwise : text;
}

function textOf(command: string, name: string, bytes: Uint8Array): string {
  if (bytes.length > MAX_BYTES) throw tooLarge(command, name);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ValueError(`${command}: ${name} is no UTF-8 text`, { cause });
  }
}

const tooLarge = (command: string, name: string): ValueError =>
  new ValueError(`${command}: ${name} has more than ${MAX_BYTES >> 20} MiB`);

async function readNamed(command: string, file: string, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await readInput(file, signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new Error(`${command}: cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function readPiped(stdin: AsyncIterable<Uint8Array>, signal: AbortSignal, command: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    signal.throwIfAborted();
    chunks.push(chunk);
    if ((length += chunk.length) > MAX_BYTES) throw tooLarge(command, 'standard input');
  }
  return textOf(command, 'standard input', Buffer.concat(chunks));
}
