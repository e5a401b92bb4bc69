/** Valid calls of server: its options, and requests without a socket to one whose model never comes. Hostile requests: `fuzz.mjs` and its own tests. */
const never = () => new Promise(() => undefined);
const options = (r) => ({
  ...{ open: never, host: '127.0.0.1', port: 0, apiKeys: ['key'], allowPublic: false, allowedHosts: ['a.example'] },
  ...{ cors: ['https://a.example'], thinking: r.flag(), maxBodyBytes: 1000, maxConnections: 3, headersTimeoutMs: 1000 },
  ...{
    requestTimeoutMs: 1000,
    keepAliveMs: 1000,
    maxUnsentBytes: 1000,
    stallMs: 1000,
    log: () => 0,
    logContent: false,
  },
});
const server = (r, m) => m.createServer(options(r));

export const parts = (m) => {
  const made = m.createServer({ open: never });
  return { Server: Object.getPrototypeOf(made) };
};

export const calls = {
  createServer: (r) => ({ args: [options(r)], observe: (s) => s.status }),
  jsonLogger: (r, m) => ({
    args: [() => 0],
    f: (write) => m.jsonLogger(write)('info', 'event', { field: r.below(2) }),
  }),
  'Server.status': (r, m) => ({ self: server(r, m), args: [] }),
  'Server.fetch': (r, m) => ({
    self: server(r, m),
    args: [
      new globalThis.Request('http://127.0.0.1/v1/models', {
        headers: { authorization: 'Bearer key', host: '127.0.0.1' },
      }),
    ],
    isAsync: true,
    observe: ({ status }) => status,
  }),
  'Server.listen': (r, m) => ({
    args: [],
    isAsync: true,
    async f(...args) {
      const made = server(r, m);
      const { host } = await made.listen(...args);
      await made.close({ timeoutMs: 0 });
      return host;
    },
  }),
  'Server.load': (r, m) => ({ self: server(r, m), args: [], isAsync: true, patience: 5, mayRefuse: true }),
  'Server.close': (r, m) => ({ self: server(r, m), args: [{ timeoutMs: r.int(0, 5) }], isAsync: true }),
};
