import { CheckpointError } from '@megamoe/core';

/** A {@link CheckpointError} whose message starts with the file and, when one is to blame, the tensor. */
export function badFile(
  file: string,
  message: string,
  options: { tensor?: string; cause?: unknown } = {},
): CheckpointError {
  const { tensor, cause } = options;
  const name = file === '' ? '""' : file;
  const where = tensor === undefined ? name : `${name}: tensor ${quote(tensor)}`;
  return new CheckpointError(`${where}: ${message}`, {
    file,
    ...(tensor === undefined ? {} : { tensor }),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** `text` in double quotes, control characters escaped, cut to a length that fits in a message. */
export function quote(text: string): string {
  const cut = text.length > 200 ? `${text.slice(0, 200)}...` : text;
  return JSON.stringify(cut);
}

/** A shape as `[2, 3]`. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** The first `limit` of `names`, quoted, with a count of the others. */
export function listText(names: readonly string[], limit = 5): string {
  const shown = names.slice(0, limit).map(quote).join(', ');
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}

/** The message of whatever was thrown. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
