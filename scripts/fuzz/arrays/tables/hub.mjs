/** Valid calls of hub, in a cache of its own; what would be fetched is answered here. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const COMMIT = 'c'.repeat(40);
function cacheIn(root) {
  const cache = join(root, 'hub');
  const model = join(cache, 'models--a--b');
  const snapshot = join(model, 'snapshots', COMMIT);
  mkdirSync(join(model, 'refs'), { recursive: true });
  mkdirSync(snapshot, { recursive: true });
  writeFileSync(join(model, 'refs', 'main'), COMMIT);
  for (const file of ['config.json', 'model.safetensors']) writeFileSync(join(snapshot, file), '{}');
  return cache;
}
let cache;
const env = (root) => ({ HF_HOME: root, HF_ENDPOINT: 'http://127.0.0.1:9', HF_TOKEN: 'token', HOME: root });
/** No server: every request fails at once. */
const offline = () => Promise.reject(new TypeError('fetch failed'));

export const calls = {
  HubError: () => ({ args: ['words'], mayThrow: () => true, mayRefuse: true, anyObject: true }),
  findModel(r, m, { root }) {
    cache ??= cacheIn(root);
    const given = { revision: r.pick(['main', COMMIT, undefined]), cacheDir: cache, cwd: root, env: env(root) };
    return { args: ['a/b', given], says: ['hubSettings'] };
  },
  hubSettings: (r, m, { root }) => ({ args: [env(root)], anyObject: true }),
  isModelName: (r) => ({ args: [r.pick(['a/b', 'a', '../a'])], anyObject: true }),
  printable: (r) => ({ args: [r.pick(['text', '\u001b[2J'])], anyObject: true }),
  pullModel(r, m, { root }) {
    cache ??= cacheIn(root);
    const given = {
      ...{
        revision: 'main',
        include: ['*.json'],
        cacheDir: join(root, 'pulled'),
        env: env(root),
        concurrency: 2,
        fetch: offline,
      },
      ...{
        retry: { attempts: 1, baseMs: 1, maxWaitMs: 1, stallMs: 50 },
        onPlan: () => 0,
        onProgress: () => 0,
        onNotice: () => 0,
      },
    };
    return {
      args: ['a/b', given],
      isAsync: true,
      patience: 50,
      mayRefuse: true,
      says: ['a/b', '127.0.0.1', 'hubSettings'],
    };
  },
};
