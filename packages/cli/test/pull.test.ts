import { HubServer, seeded, sha256, type HubServerFile } from '@megamoe/testkit';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { builtCli } from '../src/built-cli';
import { cli, MICRO, temporaryFolder, TINY } from './support';

const dir = temporaryFolder();
const NAME = 'megamoe-test/Tiny';

/** A folder as the Hub has it: what is large lies in LFS. */
function filesOf(folder: string, skip: RegExp): Record<string, HubServerFile> {
  const files: Record<string, HubServerFile> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path).replaceAll('\\', '/');
    if (!entry.isFile() || skip.test(name)) continue;
    const data = readFileSync(path);
    files[name] = { data, lfs: data.length > 50_000 };
  }
  return files;
}

const NOT_OF_THE_MODEL = /^(?:package\.json|index\.(?:js|d\.ts)|node_modules\/.*|.*\.pyc)$/;
const tiny = new HubServer(NAME, {
  ...filesOf(TINY, NOT_OF_THE_MODEL),
  'model.gguf': { data: Buffer.alloc(100), lfs: true },
});
const micro = new HubServer('megamoe-test/Micro', filesOf(MICRO, /golden|\.py$/));

beforeAll(async () => void (await Promise.all([tiny.start(), micro.start()])));
afterAll(() => Promise.all([tiny.stop(), micro.stop()]));

/** What the commands of a test see of the world. */
function environment(cache: string, server: HubServer): Record<string, string> {
  return {
    HF_HUB_CACHE: join(dir, cache),
    HF_ENDPOINT: server.url,
    HF_TOKEN: '',
    HF_HUB_OFFLINE: '',
    HF_TOKEN_PATH: join(dir, 'none'),
  };
}

beforeEach(() => {
  for (const [name, value] of Object.entries(environment('cache', micro))) vi.stubEnv(name, value);
});
afterEach(() => {
  vi.unstubAllEnvs();
  for (const server of [tiny, micro]) server.reset();
  for (const server of [tiny, micro]) server.pauseMs = 0;
  rmSync(join(dir, 'cache'), { recursive: true, force: true });
});

const loaded = (server: HubServer): string[] =>
  Object.keys(server.files)
    .filter((path) => !/^README|gguf$/.test(path))
    .sort();

interface Child {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
  readonly afterSignalMs: number;
}

/** Runs the built command in a process of its own; `when` sends it a signal as soon as it is true. */
function run(argv: string[], env: Record<string, string>, signal?: NodeJS.Signals, when = () => false): Promise<Child> {
  const main = builtCli();
  if (main === undefined) throw new Error('the command line is not built; run "npm start" once');
  const child = spawn(process.execPath, [main, ...argv], { env: { ...process.env, ...env } });
  let [out, err, at] = ['', '', NaN];
  child.stdout.on('data', (text) => (out += String(text)));
  child.stderr.on('data', (text) => (err += String(text)));
  const watch = setInterval(() => {
    if (!when()) return;
    clearInterval(watch);
    at = performance.now();
    child.kill(signal);
  }, 1);
  return new Promise((resolve) => {
    child.on('close', (code, by) => {
      clearInterval(watch);
      resolve({ code, signal: by, out, err, afterSignalMs: performance.now() - at });
    });
  });
}

describe('megamoe pull', () => {
  it('brings the model whole after ten kills at random, and generate answers from it', async () => {
    const env = environment('killed', tiny);
    const blobs = join(env.HF_HUB_CACHE!, `models--${NAME.replace('/', '--')}`, 'blobs');
    const paths = loaded(tiny);
    const total = paths.reduce((sum, path) => sum + tiny.files[path]!.data.length, 0);
    const random = seeded(11);
    tiny.pauseMs = 1;
    for (let round = 0; round < 10; round++) {
      const before = tiny.sent;
      const target = round % 4 === 0 ? 0 : before + random.int(total / 12); // 0: at its first request
      const requests = tiny.requests.length;
      const killed = (): boolean => tiny.requests.length > requests && tiny.sent >= target;
      expect(await run(['pull', NAME], env, 'SIGKILL', killed)).toMatchObject({ code: null, signal: 'SIGKILL' });
    }
    expect(tiny.requests.filter(({ from }) => from !== undefined).length).toBeGreaterThan(0);
    expect(existsSync(join(blobs, '..', 'refs'))).toBe(false);
    const there = readdirSync(blobs).reduce((sum, blob) => sum + statSync(join(blobs, blob)).size, 0);
    expect(there).toBeGreaterThan(total / 20);
    tiny.sent = 0;
    tiny.pauseMs = 0;
    const { code, out, err } = await run(['pull', NAME, '--json'], env);
    expect([code, err]).toEqual([0, expect.stringContaining(`${NAME} is whole`)]);
    expect(tiny.sent).toBe(total - there); // not a byte twice
    const pulled = JSON.parse(out) as {
      dir: string;
      files: unknown[];
      leftOut: { path: string }[];
      fetchedBytes: number;
    };
    expect(pulled.fetchedBytes).toBe(total - there);
    const hashes = (folder: string) =>
      Object.fromEntries(paths.map((path) => [path, sha256(readFileSync(join(folder, path)))]));
    expect(hashes(pulled.dir)).toEqual(hashes(TINY));
    expect(readdirSync(blobs).filter((name) => !/^[0-9a-f]{40}(?:[0-9a-f]{24})?$/.test(name))).toEqual([]);
    expect(pulled.leftOut.map(({ path }) => path)).toEqual(['README.md', 'model.gguf']);

    vi.stubEnv('HF_HUB_CACHE', env.HF_HUB_CACHE);
    vi.stubEnv('HF_HUB_OFFLINE', '1'); // looking it up needs no network
    const answer = await cli('generate', 'The capital of France is', '--model', NAME, '--max-tokens', '1', '--json');
    expect(JSON.parse(answer.out)).toMatchObject({ text: ' Paris' });
    expect(answer.err).toContain(`megamoe: ${NAME} is commit ${tiny.commit} in ${pulled.dir}\n`);
  });

  it('says on stderr what it takes and leaves, a line a file where there is no terminal, and on stdout where it is', async () => {
    micro.files['README.md'] = { data: Buffer.from('a model') };
    const { code, out, err } = await cli('pull', micro.name);
    const [files, bytes] = [
      loaded(micro),
      loaded(micro).reduce((sum, path) => sum + micro.files[path]!.data.length, 0),
    ];
    const snapshot = join(dir, 'cache', 'models--megamoe-test--Micro', 'snapshots', micro.commit);
    expect([code, out]).toEqual([0, `${snapshot}\n`]);
    const lines = err.split('\n');
    expect(lines[0]).toBe(`megamoe: ${micro.name} at main, commit ${micro.commit}`);
    expect(lines[1]).toMatch(
      new RegExp(`^megamoe: ${files.length} files, [\\d.]+ [kM]B; [\\d.]+ [kM]B to fetch, [\\d.]+ [MG]B free$`),
    );
    expect(lines[2]).toBe("megamoe: left out: 1 file, 0.0 kB (README.md); --include '*' takes all");
    for (const path of files) expect(err).toMatch(new RegExp(`^megamoe: ${path} \\(\\d of ${files.length}, `, 'm'));
    expect(err).not.toContain('\r');
    const again = await cli('pull', micro.name, '--json');
    expect(JSON.parse(again.out)).toMatchObject({
      name: micro.name,
      revision: 'main',
      dir: snapshot,
      bytes: 0,
      fetchedBytes: 0,
    });
    const all = await cli('pull', micro.name, '--include', 'README.md', '--include', 'conf*', '--json');
    expect(JSON.parse(all.out)).toMatchObject({ files: [{ path: 'README.md' }, { path: 'config.json' }] });
    expect(bytes).toBeGreaterThan(1000);
  });

  it('ends within a second of Ctrl-C with exit code 130', async () => {
    tiny.pauseMs = 30;
    const interrupted = await run(
      ['pull', NAME],
      environment('interrupted', tiny),
      'SIGINT',
      () => tiny.sent > 200_000,
    );
    expect(interrupted).toMatchObject({ code: 130, err: expect.stringContaining('interrupted') as string, out: '' });
    expect(interrupted.afterSignalMs).toBeLessThan(1000);
  });

  it.each<[string[], number, RegExp]>([
    [['name'], 2, /Expected ORG\/NAME/],
    [[], 2, /missing required argument/],
    [['a/b', '--revision', '../x'], 1, /^megamoe: pullModel: "revision" must be a branch/],
    [['a/b'], 1, /^megamoe: a\/b is not at http:\/\/127\.0\.0\.1:\d+, or it is private/],
    [['megamoe-test/Micro', '--revision', 'v9'], 1, /^megamoe: megamoe-test\/Micro has no such revision/],
    [
      ['megamoe-test/Micro', '--include', '*.bin'],
      1,
      /^megamoe: pullModel: no file of megamoe-test\/Micro matches \*\.bin/,
    ],
  ])('pull %j fails with %i', async (argv, want, message) => {
    const { code, out, err } = await cli('pull', ...argv);
    expect([code, out]).toEqual([want, '']);
    expect(err).toMatch(message);
  });

  it('helps', async () => {
    const { code, out } = await cli('pull', '--help');
    expect([code, out]).toEqual([0, expect.stringMatching(/HF_HOME[^]*Examples:/)]);
  });

  it('refuses when the network is forbidden', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', 'yes');
    expect(await cli('pull', micro.name)).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^megamoe: pullModel: HF_HUB_OFFLINE is set/) as string,
    });
    expect(micro.requests).toEqual([]);
  });
});

describe('a model by name', () => {
  it('is taken by every command that takes a folder, which then is protected like one', async () => {
    const { dir: snapshot } = JSON.parse((await cli('pull', micro.name, '--json')).out) as { dir: string };
    const said = `megamoe: ${micro.name} is commit ${micro.commit} in ${snapshot}\n`;
    const out = join(dir, 'out');
    mkdirSync(out);
    const commands: string[][] = [
      ['inspect', micro.name, '--json'],
      ['inspect', micro.name, '--json', '--revision', micro.commit],
      ['logits', '--model', micro.name, '--token-ids', '1,2', '--backend', 'js', '--out', join(out, 'logits')],
      ['verify', '--model', micro.name, '--token-ids', '1,2', '--decode', '0', '--backend', 'js'],
      ['quantize', '--in', micro.name, '--out', join(out, 'nvfp4'), '--backend', 'js'],
    ];
    for (const argv of commands) {
      const { code, err } = await cli(...argv);
      expect([argv, code, err.startsWith(said)]).toEqual([argv, 0, true]);
    }
    const refused = await cli(
      'logits',
      '--model',
      micro.name,
      '--token-ids',
      '1',
      '--out',
      join(snapshot, 'model.safetensors'),
    );
    expect(refused).toMatchObject({
      code: 2,
      err: expect.stringContaining('must be another file than those of --model') as string,
    });
  });

  it.each<[string[], RegExp]>([
    [
      ['generate', '--model', 'megamoe-test/None'],
      /^megamoe: findModel: there is no folder "megamoe-test\/None" in .*, and the Hugging Face cache .*cache \(HF_HUB_CACHE\) has no model of that name; "megamoe pull megamoe-test\/None" downloads it$/m,
    ],
    [
      ['inspect', 'megamoe-test/None', '--revision', 'v1'],
      /"megamoe pull megamoe-test\/None --revision v1" downloads it$/m,
    ],
    [
      ['generate', '--revision', 'v1'],
      /^megamoe: findModel: "revision" is for models of the cache, and ".*tiny" is a folder here$/m,
    ],
    [['quantize', '--in', 'no/such/folder', '--out', 'x'], /there is no folder "no\/such\/folder" in/],
  ])('%j says where it looked', async (argv, message) => {
    const { code, out, err } = await cli(...argv);
    expect([code, out]).toEqual([1, '']);
    expect(err).toMatch(message);
  });

  it('that is not whole is an error that names what is missing', async () => {
    await cli('pull', micro.name, '--include', 'config.json');
    const { code, err } = await cli('inspect', micro.name);
    expect([code, err]).toEqual([
      1,
      expect.stringMatching(
        /^megamoe: findModel: megamoe-test\/Micro is incomplete .* lacks model\.safetensors.*; "megamoe pull megamoe-test\/Micro" fetches what is missing$/m,
      ),
    ]);
  });
});
