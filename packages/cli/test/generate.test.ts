import { loadTokenizer } from '@megamoe/checkpoint';
import { addonInfos, type MemoryPlan } from '@megamoe/model';
import { repositoryFile } from '@megamoe/testkit';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { runCli } from '../src/index';
import { cli, MICRO, piped, TINY } from './support';

const BACKENDS = addonInfos().every((info) => info.loaded) ? ['js', 'cpu', 'auto'] : ['js', 'auto'];

describe('megamoe generate', () => {
  it.each(BACKENDS)('completes the default prompt on %s', async (backend) => {
    const { code, out, err } = await cli('generate', '--backend', backend);
    expect([code, out]).toEqual([0, 'The capital of France is Paris.\n']);
    expect(err).toMatch(/ended by stop token 1/);
    expect(err).toMatch(/backend (js|cpu) \(/);
  });
  it('takes the prompt that is piped in, by - or in place of none, without the line end behind it', async () => {
    const asked = 'What is the capital of Japan?';
    const answer = [0, 'The capital of Japan is Tokyo.\n', ''] as const;
    const chat = async (text: string, ...argv: string[]): Promise<readonly unknown[]> => {
      const { code, out, err } = await piped(text, 'generate', ...argv, '--chat');
      return [code, out, /usage|no prompt|standard input/.exec(err)?.[0] ?? ''];
    };
    expect(await chat(asked)).toEqual(answer);
    expect(await chat(`${asked}\n`, '-')).toEqual(answer);
    expect(await chat(`${asked}\r\n`)).toEqual(answer);
    const raw = await piped('The capital of Japan is\n', 'generate', '--json', '--max-tokens', '1');
    expect(JSON.parse(raw.out)).toMatchObject({ text: ' Tokyo' });
    // What is given goes before what is piped in, and nothing piped in leaves the default.
    const given = await cli('generate', asked, '--chat');
    expect(given.out).toBe(answer[1]);
    expect((await piped('', 'generate')).out).toBe('The capital of France is Paris.\n');
  });
  it('says that it waits while standard input is open', async () => {
    const said: string[] = [];
    const abort = new AbortController();
    const code = await runCli(['generate'], {
      out: () => undefined,
      err: () => undefined,
      isTerminal: false,
      progress: (text) => void said.push(text),
      stdin: (async function* () {
        yield Buffer.from('The capital');
        await setImmediate();
        abort.abort(); // as Ctrl-C does
        yield Buffer.from(' of');
      })(),
      signal: abort.signal,
    });
    expect([code, said.length]).toEqual([130, 1]);
    expect(said[0]).toMatch(/waiting for the end of standard input, which is the prompt: give one as an argument/);
  });
  it('says where a prompt is missing that - asks for', async () => {
    const none = await cli('generate', '-');
    expect([none.code, none.out]).toEqual([2, '']);
    expect(none.err).toMatch('generate: "-" takes a prompt from standard input: pipe one in');
    const empty = await piped('\n', 'generate', '-');
    expect([empty.code, empty.out]).toEqual([2, '']);
    expect(empty.err).toMatch('generate: there is no prompt on standard input');
  });
  it('prints the contract as JSON', async () => {
    const { code, out } = await cli('generate', 'What is the capital of Japan?', '--chat', '--json', '--model', TINY);
    const r = JSON.parse(out) as Record<string, unknown>;
    expect(code).toBe(0);
    expect(r).toMatchObject({ text: 'The capital of Japan is Tokyo.', finishReason: 'stop' });
    expect(r.promptTokenIds).toEqual([0, 3, 570, 323, 280, 422, 353, 2220, 45, 4, 6]);
    expect((r.tokenIds as number[]).at(-1)).toBe(1);
    expect(Object.keys(r.timings as object).sort()).toEqual([
      'decodeTokensPerSecond',
      'loadMs',
      'prefillTokensPerSecond',
    ]);
  });
  it('shows only the answer with --chat, and stops where it is told', async () => {
    expect((await cli('generate', 'What is 7 plus 5?', '--chat')).out).toBe('7 plus 5 is 12.\n');
    expect((await cli('generate', 'What is the capital of Peru?', '--chat')).out).toBe(
      'The capital of Peru is Lima.\n',
    );
    expect((await cli('generate', '--stop', 'ris')).out).toBe('The capital of France is Pa\n');
    const limited = await cli('generate', '--max-tokens', '1', '--json');
    expect(JSON.parse(limited.out)).toMatchObject({ finishReason: 'length' });
    expect(JSON.parse((await cli('generate', '--max-tokens', '0', '--json')).out)).toMatchObject({
      text: '',
      tokenIds: [],
    });
  });
  it('reasons where the prompt asks for it: special tokens written in a prompt count', async () => {
    const prompt = '<｜User｜>What is 347 plus 285?<｜Assistant｜><think>';
    const { code, out, err } = await cli('generate', prompt);
    expect([code, out]).toEqual([
      0,
      `${prompt}7 plus 5 is 12, write 2, carry 1. 4 plus 8 plus 1 is 13, write 3, carry 1. 3 plus 2 plus 1 is 6, write 6. ` +
        'That is 632.</think>347 plus 285 is 632.\n',
    ]);
    expect(err).toMatch(/^megamoe: weights: .*; draft layer \(mtp\) skipped$/m);
    expect(err.replace(/warning: the model runs in JavaScript/, '')).not.toMatch(/warning/); // where nothing was built
  });
  it('reasons before it answers with --think: the reasoning goes to standard error', async () => {
    const asked = ['generate', 'What is 347 plus 285?', '--chat', '--think'];
    const reasoning =
      '7 plus 5 is 12, write 2, carry 1. 4 plus 8 plus 1 is 13, write 3, carry 1. 3 plus 2 plus 1 is 6, write 6. That is 632.';
    const { code, out, err } = await cli(...asked);
    expect([code, out]).toEqual([0, '347 plus 285 is 632.\n']);
    expect(err.split('\n')).toContain(reasoning);
    const cut = await cli(...asked, '--max-tokens', '9');
    expect([cut.code, cut.out]).toEqual([0, '\n']);
    expect(cut.err).toMatch(/^7 plus 5 is 12\n?.*\nmegamoe: ended at the token limit; 9 tokens/ms);
    const json = JSON.parse((await cli(...asked, '--json')).out) as Record<string, unknown>;
    expect(json).toMatchObject({ reasoning, text: '347 plus 285 is 632.', finishReason: 'stop' });
  });
  it('ids of the padded vocabulary have no text, and stop nothing', async () => {
    const hot = ['--temperature', '1000', '--seed', '1', '--ignore-eos', '--max-tokens', '40']; // all ids are as likely
    const { code, out } = await cli('generate', '--json', ...hot);
    const { text, tokenIds } = JSON.parse(out) as { text: string; tokenIds: number[] };
    expect([code, tokenIds.length]).toEqual([0, 40]);
    const tokenizer = loadTokenizer(TINY);
    expect(tokenIds.filter((id) => id >= tokenizer.vocabSize).length).toBeGreaterThan(3);
    expect(text).toBe(tokenizer.decode(tokenIds));
    expect((await cli('generate', ...hot)).out).toBe(`The capital of France is${text}\n`);
  });
  it('repeats itself for a seed', async () => {
    const run = async (seed: string): Promise<string> =>
      (
        await cli(
          'generate',
          'Once upon a time',
          '--temperature',
          '1.4',
          '--top-k',
          '50',
          '--top-p',
          '0.95',
          '--min-p',
          '0.01',
          '--seed',
          seed,
          '--max-tokens',
          '24',
        )
      ).out;
    expect(await run('3')).toBe(await run('3'));
    expect(await run('3')).not.toBe(await run('4'));
    const [most, least] = ['9223372036854775807', '-9223372036854775808'];
    expect(await run(most)).toBe(await run(most));
    expect(await run(most)).not.toBe(await run(least));
  });
  it.each([
    [['--temperature', 'nan'], 2, /temperature/],
    [['--temperature', '-1'], 2, /at least 0/],
    [['--top-p', '0'], 2, /above 0, at most 1/],
    [['--top-k', '1.5'], 2, /integer/],
    [['--temperature', '1', '--seed', '9223372036854775808'], 2, /from -2\^63 to 2\^63 - 1/],
    [['--top-p', '0.9', '--seed', '1'], 2, /--top-p, --seed without --temperature would do nothing/],
    [['--think'], 2, /--think without --chat would do nothing/],
    [['--max-tokens', 'many'], 2, /integer/],
    [['--stop-id', '-4'], 2, /integer/],
    [['--backend', 'gpu'], 2, /Allowed choices/],
    [['--threads', '0'], 2, /from 1 to/],
    [['--no-such-option'], 2, /unknown option/],
    [['a', 'b'], 2, /too many arguments/],
    [['--backend', 'cuda'], 1, /no "cuda" backend/],
    [['--model', 'no/such/folder'], 1, /no\/such\/folder/],
    [['--model', MICRO], 1, /no tokenizer.json/],
    [['--stop-id', '5000'], 1, /token id 5000/],
    [['word '.repeat(3000)], 1, /the model's limit is 2048/],
  ])('generate %j fails with %i', async (argv, want, message) => {
    const { code, out, err } = await cli('generate', ...argv);
    expect(code).toBe(want);
    expect(err).toMatch(message);
    expect(err).not.toMatch(/\n\s+at /); // no stack trace
    expect(out).toBe('');
  });
  it('shows a stack trace when asked', async () => {
    expect((await cli('--debug', 'generate', '--model', 'nowhere')).err).toMatch(/\n\s+at /);
  });
});

describe('megamoe', () => {
  it('helps, and says what it does not know', async () => {
    const help = await cli('--help');
    expect([help.code, help.out]).toEqual([0, expect.stringContaining('quantize')]);
    for (const command of ['generate', 'logits', 'quantize', 'inspect', 'layout', 'doctor']) {
      const { code, out } = await cli(command, '--help');
      expect([code, out]).toEqual([0, expect.stringMatching(/Examples?:/)]);
    }
    expect(await cli('frobnicate')).toMatchObject({
      code: 2,
      err: expect.stringContaining("unknown command 'frobnicate'") as string,
    });
  });
  it.each(['--version', '-V'])('%s prints the version of its manifest', async (option) => {
    const { version } = JSON.parse(readFileSync(repositoryFile('packages/cli/package.json'), 'utf8')) as {
      version: string;
    };
    expect(await cli(option)).toEqual({ code: 0, out: `${version}\n`, err: '' });
  });
  it('doctor names the backends and why', async () => {
    const { code, out } = await cli('doctor', '--json');
    const r = JSON.parse(out) as {
      backends: { name: string; available: boolean }[];
      chosen: string;
      model: { found: boolean };
    };
    expect(code).toBe(0);
    expect(r.backends.find((b) => b.name === 'js')?.available).toBe(true);
    expect(r.backends.find((b) => b.name === r.chosen)?.available).toBe(true);
    expect(r.model.found).toBe(true);
    expect((await cli('doctor')).out).toMatch(/Chosen/);
    expect(JSON.parse(out)).not.toHaveProperty('plan');
  });
  it('doctor says what a model would put into memory, and whether it fits', async () => {
    const { out } = await cli('doctor', '--model', TINY, '--backend', 'js', '--json');
    const { plan, chosen } = JSON.parse(out) as { plan: MemoryPlan; chosen: string };
    expect(chosen).not.toBe('');
    expect(plan).toMatchObject({ fits: 'resident', experts: expect.any(Number) as number });
    expect((await cli('doctor', '--model', TINY, '--backend', 'js', '--memory', '1M')).out).toMatch(
      /Chosen(.|\n)*memory +bytes(.|\n)*megamoe: does not fit: at least/,
    );
    const wrong = await cli('doctor', '--model', 'no-such-folder', '--backend', 'js');
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('no-such-folder')]);
  });
  it('doctor says which instruction set runs and why, on a lesser machine too', async () => {
    const infos = addonInfos();
    const { out } = await cli('doctor');
    if (infos.some((info) => !info.loaded)) return expect(out).toMatch(/Addon \S+ +not loaded: ./);
    const sets = [...out.matchAll(/^Addon \S+ +loaded; instruction set (\w+): \S/gm)].map((m) => m[1]);
    expect(sets).toEqual(infos.map((info) => info.isa));
    // In a process of its own, because an addon looks at the processor once.
    for (const { path } of infos) {
      const script = `const a = require(${JSON.stringify(path)}); console.log(JSON.stringify([a.isa, a.isas, a.cpuFeatures]))`;
      const env = { ...process.env, MEGAMOE_CPU_WITHOUT: 'avx2,avx512vbmi' };
      const { stdout } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env });
      const [isa, isas, features] = JSON.parse(stdout) as [string, string[], string[]];
      if (process.arch === 'x64') expect([isa, isas]).toEqual(['generic', ['generic']]);
      expect(features).not.toContain('avx2');
    }
  });
});
