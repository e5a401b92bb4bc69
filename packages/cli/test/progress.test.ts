import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { planText } from '../src/load-progress';
import { ProgressLine, progressText, Pulse } from '../src/progress';
import { bytesText, durationText, parseBytes } from '../src/units';
import { cli, TINY } from './support';

describe('amounts', () => {
  it.each([
    ['8G', 8e9],
    ['1.5GB', 1.5e9],
    ['900MiB', 900 * 2 ** 20],
    ['2 tb', 2e12],
    ['4096', 4096],
    ['0', undefined],
    ['-1G', undefined],
    ['8X', undefined],
    ['', undefined],
    ['9999999T', undefined],
  ])('%s', (text, want) => expect(parseBytes(text)).toBe(want));
  it('are written for people', () => {
    expect([9.468e9, 1.26e6, 512].map(bytesText)).toEqual(['9.47 GB', '1.3 MB', '0.5 kB']);
    expect([-5, 48_200, 200_000, 7_500_000].map(durationText)).toEqual(['0 s', '48 s', '3 min 20 s', '2 h 5 min']);
  });
});

describe('progress', () => {
  it('shows share, rate and the time that is left', () => {
    expect(progressText(5e8, 2e9, 2000, 'layers.3')).toBe(
      '######..................  25%  500.0 MB of 2.00 GB  250.0 MB/s  6 s left  layers.3',
    );
    expect(progressText(0, 2e9, 0, 'embed')).toMatch(/ 0% {2}0\.0 kB of 2\.00 GB {2}0\.0 kB\/s {2}\? left/);
    expect(progressText(0, 0, 1, '')).toMatch(/100%/);
  });
  it('is drawn on a terminal only, not at once, ten times a second at most, and taken away', () => {
    vi.useFakeTimers({ toFake: ['performance'] });
    try {
      const drawn: string[] = [];
      const line = new ProgressLine({ err: (text) => void drawn.push(text), isTerminal: true });
      line.update(1, 10, 'a');
      vi.advanceTimersByTime(600);
      line.update(2, 10, 'a longer name');
      line.update(3, 10, 'b');
      vi.advanceTimersByTime(101);
      line.update(4, 10, 'c');
      line.clear();
      line.clear();
      expect(drawn).toHaveLength(3);
      expect(drawn[1]!.length).toBe(drawn[0]!.length); // a shorter text covers the longer one
      expect(drawn[2]).toMatch(/^\r +\r$/);
      const quiet = new ProgressLine({ err: () => expect.fail('drawn into a file'), isTerminal: false });
      vi.advanceTimersByTime(1000);
      quiet.update(1, 2, 'a');
      quiet.clear();
      const told: string[] = [];
      const piped = new ProgressLine(
        { err: () => expect.fail(), isTerminal: false, progress: (t) => told.push(t) },
        String,
      );
      vi.advanceTimersByTime(1000);
      piped.update(5, 10, 'op');
      piped.clear();
      expect(told).toEqual([' 50%  5 of 10  5/s  1 s left  op'.trim()]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('a silent command', () => {
  const written = (isTerminal: boolean, during: (pulse: Pulse) => void): string[] => {
    vi.useFakeTimers();
    try {
      const out: string[] = [];
      const pulse = new Pulse('inspect', isTerminal, (text) => void out.push(text));
      during(pulse);
      pulse.stop();
      vi.advanceTimersByTime(60_000);
      return out;
    } finally {
      vi.useRealTimers();
    }
  };
  it('says how far it is after 2 seconds, and then ever less often', () => {
    const lines = written(false, (pulse) => {
      vi.advanceTimersByTime(1900);
      pulse.note('40% of it');
      vi.advanceTimersByTime(40_200);
    });
    expect(lines).toEqual([2, 12, 42].map((s) => `megamoe: inspect: 40% of it, ${s} s\n`));
  });
  it('is left alone while it writes', () => {
    const lines = written(false, (pulse) => {
      for (let i = 0; i < 20; i++) {
        vi.advanceTimersByTime(1500);
        pulse.beat();
      }
    });
    expect(lines).toEqual([]);
  });
  it('has one line on a terminal, which goes away before anything else is written', () => {
    const lines = written(true, (pulse) => {
      vi.advanceTimersByTime(2600);
      pulse.beat();
    });
    expect(lines[0]).toBe('\rmegamoe: inspect: at work, 2 s');
    expect(lines.at(-1)).toBe(`\r${' '.repeat(lines[0]!.length - 1)}\r`);
    expect(lines.filter((line) => line.includes('\n'))).toEqual([]);
  });
});

describe('--memory', () => {
  const tokens = ['--token-ids', '0,1000,2000', '--out', join(tmpdir(), 'megamoe-never-written')];
  it('prints a plan and says when experts stay on the disk', async () => {
    const ran = await cli('generate', '--memory', '4G', '--max-tokens', '3');
    expect([ran.code, ran.out]).toEqual([0, 'The capital of France is Paris.\n']);
    expect(ran.err).toMatch(
      /^memory +bytes\n[- ]+\nruntime +\d+\.\d MB\n(.|\n)*experts +5\.3 MB\ntotal +\d+\.\d MB +limit 4\.00 GB\n/,
    );
    expect(ran.err).toContain('megamoe: fits, everything is packed at load\n');
  });
  it('says how much would be needed, before reading', async () => {
    const ran = await cli('logits', '--model', TINY, '--memory', '1M', ...tokens);
    expect([ran.code, ran.out]).toEqual([1, '']);
    expect(ran.err).toMatch(
      /megamoe: does not fit: at least \d+\.\d MB are needed\nmegamoe: loadModel: this model needs at least \d+ MB/,
    );
  });
  it('refuses what is no amount', async () => {
    const ran = await cli('generate', '--memory', 'lots');
    expect([ran.code, ran.err]).toEqual([2, expect.stringMatching(/Expected an amount of memory, as in 8G/)]);
  });
  it('recommends itself where memory is short', () => {
    const plan = {
      parts: [{ name: 'experts' as const, bytes: 9e9 }],
      ...{
        stateTokens: 4096,
        totalBytes: 9e9,
        loadBytes: 9e9,
        expertBytes: 9e9,
        limitBytes: undefined,
        leastBytes: 1e9,
      },
      ...{ pooledExperts: 8, experts: 8, device: undefined },
    };
    expect(planText({ ...plan, fits: 'resident' }, 5.5e9)).toMatch(
      /5\.50 GB of memory are free; with --memory 5G experts stay/,
    );
    expect(planText({ ...plan, fits: 'pool', limitBytes: 8e9, pooledExperts: 3 }, 5e9)).toMatch(
      /experts +9\.00 GB +3 of 8 at a time; all are 9\.00 GB\n(.|\n)*read when tokens are routed to them/,
    );
    const device = { freeBytes: 5e9, totalBytes: 24e9, neededBytes: 9.5e9, kvBytesPerToken: 1234, kvTokens: 0 };
    expect(planText({ ...plan, fits: 'no', device }, 500e9)).toMatch(
      /^memory of the GPU +bytes\n(.|\n)*does not fit: 9\.50 GB are needed, 5\.00 GB of 24\.00 GB are free on the GPU\n$/,
    );
    expect(planText({ ...plan, fits: 'resident', device: { ...device, freeBytes: 20e9, kvTokens: 5678 } }, 1)).toMatch(
      /fits: 20\.00 GB of 24\.00 GB are free on the GPU; KV pages for a sequence of 5678 tokens .* \(1\.2 kB a token\)\n$/,
    );
  });
});
