import { ValueError } from '@megamoe/core';
import { readFile } from 'node:fs/promises';
import { UsageError } from './errors';
import type { CliIo } from './io';

/** Most bytes of a text that a command takes in. */
const MAX_BYTES = 64 << 20;

/** The text of a file, or of what is piped in when none is named; UTF-8. */
export async function readText(io: CliIo, command: string, file: string | undefined): Promise<string> {
  const name = file ?? 'standard input';
  const bytes = file === undefined ? await readPiped(io, command) : await readNamed(command, file);
  if (bytes.length > MAX_BYTES) throw tooLarge(command, name);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ValueError(`${command}: ${name} is no UTF-8 text`, { cause });
  }
}

const tooLarge = (command: string, name: string): ValueError =>
  new ValueError(`${command}: ${name} has more than ${MAX_BYTES >> 20} MiB`);

async function readNamed(command: string, file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new Error(`${command}: cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
}

async function readPiped(io: CliIo, command: string): Promise<Uint8Array> {
  const { stdin } = io; // asked for once: a command in a worker has it piped in when it asks
  if (!stdin) throw new UsageError(`${command}: name a file, or pipe one in`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stdin) {
    io.signal.throwIfAborted();
    chunks.push(chunk);
    if ((length += chunk.length) > MAX_BYTES) throw tooLarge(command, 'standard input');
  }
  return Buffer.concat(chunks);
}
