/** Several files as one input: a line of JSON with names and lengths, then their bytes. */

export function bundle(files) {
  const head = Object.fromEntries([...files].map(([name, bytes]) => [name, bytes.length]));
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), ...files.values()]);
}

/** The files of an input, or undefined when it is none that {@link bundle} made; what changes have cut off is missing. */
export function unbundle(input) {
  const end = input.indexOf(10);
  let head;
  try {
    head = JSON.parse(input.subarray(0, end).toString('utf8'));
  } catch {
    return undefined;
  }
  const files = new Map();
  let at = end + 1;
  for (const [name, length] of Object.entries(Object(head))) {
    if (!/^[a-z0-9_-]+(?:\.[a-z0-9_]+)*$/i.test(name) || !Number.isSafeInteger(length) || length < 0) return undefined;
    files.set(name, input.subarray(at, at + length));
    at += length;
  }
  return files;
}
