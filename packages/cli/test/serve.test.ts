import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runCli } from '../src/index';
import { temporaryFolder, TINY } from './support';

const dir = temporaryFolder();

/** The command, in this process; the worker of an engine is there only when it is built. */
function serve(...args: string[]) {
  const abort = new AbortController();
  let [out, err] = ['', ''];
  let wake: () => void = () => undefined;
  const add = (): void => wake();
  const io = {
    out: (text: string) => {
      out += text;
      add();
    },
    err: (text: string) => void (err += text),
    isTerminal: false,
    signal: abort.signal,
  };
  const code = runCli(['serve', '--model', TINY, '--port', '0', '--in-process', ...args], io);
  /** Waits until a text has been printed; gives what follows it on its line. */
  const printed = async (text: string): Promise<string> => {
    while (!out.includes(text)) await new Promise<void>((resolve) => (wake = resolve));
    return out.slice(out.indexOf(text) + text.length).split('\n')[0]!;
  };
  return { code, printed, stop: () => abort.abort(new Error('interrupted')), text: () => ({ out, err }) };
}

it('serves the shipped model, says what it serves, and ends with code 0 when it is stopped', async () => {
  const keys = join(dir, 'keys');
  writeFileSync(keys, '# for tests\nsk-file\n\n');
  const { code, printed, stop, text } = serve('--api-key', 'sk-one', '--api-key-file', keys, '--served-name', 'mine');
  const url = (await printed('Listening on ')).split(',')[0]!;
  await printed('queue');
  const ask = (key: string, body: object) =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify(body),
    });
  const body = {
    model: 'mine',
    messages: [{ role: 'user', content: 'What is the capital of France?' }],
    temperature: 0,
    thinking: false,
  };
  for (const key of ['sk-one', 'sk-file']) {
    const response = await ask(key, body);
    expect(await response.json()).toMatchObject({
      model: 'mine',
      choices: [{ message: { content: 'The capital of France is Paris.' } }],
    });
  }
  expect((await ask('sk-other', body)).status).toBe(401);
  stop();
  expect(await code).toBe(0);
  const { out, err } = text();
  expect(out).toMatch(/model +mine\n/);
  expect(out).toMatch(/contract +official, from /);
  expect(out).toMatch(/thinking +on by default, effort high/);
  expect(out).toMatch(/context +2048 tokens/);
  expect(out).toMatch(/queue +256 requests/); // nobody's queue is without end
  expect(out).toMatch(/KV memory +[\d.]+ kB a token/);
  const events = err.trimEnd().split('\n').map((line) => JSON.parse(line) as { event: string; status?: number }); // prettier-ignore
  expect(events.map(({ event }) => event)).toEqual(['request', 'request', 'request', 'stopping', 'stopped']);
  expect(err).not.toContain('capital');
  await expect(fetch(url)).rejects.toThrow();
});

it.each([
  [['--host', '0.0.0.0'], /0\.0\.0\.0 can be reached from other machines.*--api-key/],
  [['--cors', 'example.com'], /"cors" must hold origins/],
  [['--api-key-file', join(dir, 'none')], /--api-key-file .* cannot be read/],
  [['--port', '70000'], /Expected an integer from 0 to 65535/],
])('%j is a mistake of usage', async (args, message) => {
  const { code, text } = serve(...args);
  expect(await code).toBe(2);
  expect(text().err).toMatch(message);
});

it('a pulled model has the name that it was pulled by', async () => {
  const snapshots = join(dir, 'models--org--tiny-model', 'snapshots');
  mkdirSync(snapshots, { recursive: true });
  symlinkSync(TINY, join(snapshots, '0123abc'));
  const { code, printed, stop, text } = serve('--model', join(snapshots, '0123abc'));
  await printed('queue');
  stop();
  expect(await code).toBe(0);
  expect(text().out).toMatch(/model +org\/tiny-model\n/);
});

it('a folder without a model is an error, and nothing stays behind', async () => {
  const { code, text } = serve('--model', dir);
  expect(await code).toBe(1);
  expect(text().err).toMatch(/config\.json/);
});
