/** What signals do to `megamoe serve`, in a process of its own. */
import { spawn } from 'node:child_process';
import { expect, it } from 'vitest';
import { builtCli } from '../src/built-cli';
import { TINY } from './support';

/** Starts it, and waits until it has said so much. */
async function serve(ready: string) {
  const child = spawn(process.execPath, [builtCli()!, 'serve', '--model', TINY, '--port', '0', '--drain', '60']);
  let out = '';
  child.stderr.resume();
  const closed = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
  await new Promise<void>((resolve) =>
    child.stdout.on('data', (text) => {
      out += String(text);
      if (out.includes(ready)) resolve();
    }),
  );
  const url = /Listening on (\S+),/.exec(out)![1]!;
  const ask = (body: object): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages: [{ role: 'user', content: 'Tell me a story.' }], ignore_eos: true, ...body }),
    });
  return { child, closed, url, ask };
}

it('SIGTERM lets the answers of serve end, refuses others meanwhile, and ends with code 0', async () => {
  const { child, closed, url, ask } = await serve('queue');
  const stream = await ask({ stream: true, max_tokens: 250 });
  child.kill('SIGTERM');
  while ((await fetch(`${url}/health`)).status === 200);
  const refused = await ask({});
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
  expect(await refused.json()).toMatchObject({ error: { type: 'unavailable_error', code: 'stopping' } });
  const text = await stream.text();
  expect(text).toMatch(/"finish_reason":"length"[^]*data: \[DONE\]\n\n$/);
  expect(await closed).toBe(0);
});

it('a second signal ends serve at once, and one while it loads ends it too', async () => {
  const { child, closed, url, ask } = await serve('queue');
  const stream = await ask({ stream: true, max_tokens: 1900 });
  child.kill('SIGINT');
  while ((await fetch(`${url}/health`)).status === 200);
  child.kill('SIGTERM');
  await expect(stream.text()).rejects.toThrow();
  expect(await closed).toBe(143);
  const loading = await serve('Listening');
  loading.child.kill('SIGTERM');
  expect(await loading.closed).toBe(0);
});
