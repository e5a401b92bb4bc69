import { findModel } from '@megamoe/hub';
import { Option } from 'commander';
import type { CliIo } from './io';

/** What a command that takes a checkpoint says of it. */
export const MODEL_HELP = 'checkpoint folder, or a model of the Hugging Face cache as ORG/NAME';

/** `--revision`, beside an option or argument that may be a name. */
export function revisionOption(): Option {
  return new Option('--revision <name>', 'branch, tag or commit of a model of the cache (default: main)');
}

/** The folder of a checkpoint: what was given, or the snapshot of the Hugging Face cache that a name means, which is then said. */
export function modelFolder(err: CliIo['err'], model: string, revision: string | undefined): string {
  const { dir, name, commit } = findModel(model, { revision });
  if (name !== undefined) err(`megamoe: ${name} is commit ${commit} in ${dir}\n`);
  return dir;
}
