/** What makes a server and asks it: arguments of wrong kinds. */
import { expect, it } from 'vitest';
import { createServer, jsonLogger, type MegamoeServer } from '../src/index';

const never = (v: unknown): never => v as never;
const open = (): Promise<never> => new Promise(() => undefined);
const make = (o: object): MegamoeServer => createServer({ open, port: 0, ...o });

it.each<[string, () => unknown]>([
  ['createServer: "options" must be an object, got null', () => createServer(never(null))],
  ['createServer: "host" must be a string, got Object', () => make({ host: {} })],
  ['createServer: "log" must be a function, got 3', () => make({ log: 3 })],
  ['createServer: "apiKeys" must be an array of strings, got 3', () => make({ apiKeys: 3 })],
  ['createServer: "apiKeys[1]" must be a string, got Object', () => make({ apiKeys: ['key', {}] })],
  ['createServer: "allowedHosts[0]" must be a string, got null', () => make({ allowedHosts: [null] })],
  ['createServer: "cors[0]" must be a string, got 3', () => make({ cors: [3] })],
  ['jsonLogger: "write" must be a function, got undefined', () => jsonLogger(never(undefined))],
  ['MegamoeServer.fetch: "request" must be a Request, got undefined', () => make({}).fetch(never(undefined))],
  ['MegamoeServer.fetch: "request" must be a Request, got Object', () => make({}).fetch(never({ url: '/' }))],
])('%s', (message, call) => expect(call).toThrow(message));

it('names an option of close that cannot be, and closes all the same afterwards', async () => {
  const server = make({});
  await expect(server.close(never(null))).rejects.toThrow('MegamoeServer.close: "options" must be an object, got null');
  await expect(server.close({ timeoutMs: NaN })).rejects.toThrow('MegamoeServer.close: "timeoutMs" must be a finite');
  await server.close({ timeoutMs: 0 });
});

it('reads an option once', () => {
  let asked = 0;
  const options = {
    get open() {
      return asked++ === 0 ? open : never(3);
    },
  };
  expect(createServer(options).status).toBe(make({}).status);
  expect(asked).toBe(1);
});
