import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopChecker, type StopCheckerOptions, type StopReason } from '../src/index';

/** Pushes the pieces (token ids from 100) until a stop; what was shown, piece by piece, and why it ended. */
function run(options: Partial<StopCheckerOptions>, pieces: readonly string[], ids: readonly number[] = []) {
  const checker = new StopChecker({ stopIds: [], ...options });
  const shown: string[] = [];
  let stop: StopReason | undefined;
  for (let i = 0; i < pieces.length && !stop; i++) {
    const result = checker.push(ids[i] ?? 100 + i, pieces[i]!);
    shown.push(result.text);
    stop = result.stop;
  }
  return { shown, stop, rest: checker.flush() };
}

describe('stop ids', () => {
  it('end the output, say which, and are not shown', () => {
    expect(run({ stopIds: [1, 7] }, ['a', 'b', '</s>', 'c'], [5, 6, 7])).toEqual({
      shown: ['a', 'b', ''],
      stop: { reason: 'stop', tokenId: 7 },
      rest: '',
    });
  });
  it('are shown with includeStop', () => {
    expect(run({ stopIds: [7], includeStop: true }, ['a', '</s>'], [5, 7]).shown).toEqual(['a', '</s>']);
  });
  it('release what was held back', () => {
    expect(run({ stopIds: [7], stopStrings: ['END'] }, ['aE', 'x'], [5, 7]).shown).toEqual(['a', 'E']);
    expect(run({ stopIds: [7], stopStrings: ['END'], includeStop: true }, ['aE', 'x'], [5, 7]).shown).toEqual(['a', 'Ex']); // prettier-ignore
  });
  it('win over a stop string in the same token', () => {
    expect(run({ stopIds: [7], stopStrings: ['x'], includeStop: true }, ['axb'], [7])).toMatchObject({
      shown: ['axb'],
      stop: { tokenId: 7 },
    });
  });
  it('ignoreEos goes on past them, but not past those of the request', () => {
    expect(run({ stopIds: [7], ignoreEos: true }, ['a', 'b'], [7, 7])).toEqual({ shown: ['a', 'b'], stop: undefined, rest: '' }); // prettier-ignore
    const both = { stopIds: [7], eosIds: [1, 2], ignoreEos: true };
    expect(run(both, ['a', 'b', 'c'], [1, 2, 7]).stop).toEqual({ reason: 'stop', tokenId: 7 });
    expect(run({ ...both, ignoreEos: false }, ['a', 'b', 'c'], [3, 2, 7]).stop).toEqual({ reason: 'stop', tokenId: 2 });
  });
});

describe('stop strings', () => {
  it('are found inside a token, across tokens, and cut the text before them', () => {
    expect(run({ stopStrings: ['STOP'] }, ['one STOP two'])).toMatchObject({ shown: ['one '], stop: { stopString: 'STOP' } }); // prettier-ignore
    expect(run({ stopStrings: ['STOP'] }, ['one S', 'TO', 'P two'])).toEqual({
      shown: ['one ', '', ''],
      stop: { reason: 'stop', stopString: 'STOP' },
      rest: '',
    });
  });
  it('are shown with includeStop, and nothing after them', () => {
    expect(run({ stopStrings: ['STOP'], includeStop: true }, ['one S', 'TOP two']).shown).toEqual(['one ', 'STOP']);
  });
  it('hold back only what can still become one', () => {
    expect(run({ stopStrings: ['STOP'] }, ['S', 'T', 'x', 'SS', 'ST', 'OSTO']).shown).toEqual(['', '', 'STx', 'S', 'S', 'STO']); // prettier-ignore
    expect(run({ stopStrings: ['\n\n'] }, ['a\n', 'b', '\n', '\n']).shown).toEqual(['a', '\nb', '', '']);
    expect(run({ stopStrings: ['aab'] }, ['aaaa', 'b'])).toMatchObject({
      shown: ['aa', ''],
      stop: { stopString: 'aab' },
    });
    expect(run({ stopStrings: ['x'] }, ['abc'])).toMatchObject({ shown: ['abc'] });
  });
  it('the one that completes first wins, of those the longest', () => {
    expect(run({ stopStrings: ['b', 'a'] }, ['xab'])).toMatchObject({ shown: ['x'], stop: { stopString: 'a' } });
    expect(run({ stopStrings: ['abcd', 'c'] }, ['abcd'])).toMatchObject({ shown: ['ab'], stop: { stopString: 'c' } });
    expect(run({ stopStrings: ['abcd', 'c'] }, ['ab', 'cd'])).toMatchObject({ shown: ['', 'ab'], stop: { stopString: 'c' } }); // prettier-ignore
    expect(run({ stopStrings: ['c', 'bc', 'abc'] }, ['abc'])).toMatchObject({
      shown: [''],
      stop: { stopString: 'abc' },
    });
  });
  it('flush gives the rest when the output ends without a stop', () => {
    const checker = new StopChecker({ stopIds: [], stopStrings: ['STOP'] });
    expect(checker.push(1, 'one STO')).toEqual({ text: 'one ' });
    expect([checker.flush(), checker.flush()]).toEqual(['STO', '']);
  });
  it('wait for minTokens: they must end in a later token, stop ids too', () => {
    const options = { stopStrings: ['ab'], minTokens: 2 };
    expect(run(options, ['ab', 'ab', 'ab'])).toMatchObject({ shown: ['ab', 'ab', ''], stop: { stopString: 'ab' } });
    expect(run(options, ['x', 'a', 'b'])).toMatchObject({ shown: ['x', '', ''], stop: { stopString: 'ab' } });
    expect(run({ stopStrings: ['ab', 'wxyz'], minTokens: 2 }, ['ab', 'w']).shown).toEqual(['ab', '']); // passed over, so not held
    expect(run({ stopIds: [7], minTokens: 2 }, ['a', 'b', 'c'], [7, 7, 7])).toMatchObject({ shown: ['a', 'b', ''] });
  });
  it('cross UTF-8 boundaries: bytes of one character in several tokens', () => {
    const bytes = new TextEncoder().encode('naïve 你好🛑 rest');
    const decoder = new TextDecoder();
    const pieces = [...bytes].map((byte) => decoder.decode(Uint8Array.of(byte), { stream: true }));
    const { shown, stop } = run({ stopStrings: ['好🛑'] }, pieces);
    expect([shown.join(''), stop?.stopString]).toEqual(['naïve 你', '好🛑']);
  });
  it('never show half a surrogate pair', () => {
    expect(run({}, ['a\ud83d', '\uded1b']).shown).toEqual(['a', '🛑b']);
    expect(run({ stopStrings: ['🛑!'] }, ['a\ud83d', '\uded1', 'b']).shown).toEqual(['a', '', '🛑b']);
    expect(run({}, ['a\ud83d'])).toMatchObject({ shown: ['a'], rest: '\ud83d' });
  });
});

/** The text in one piece, searched for the first place where a stop string ends. */
function whole(
  text: string,
  stops: readonly string[],
  includeStop: boolean,
): { text: string; stop: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const done = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length);
    if (done[0]) return { text: text.slice(0, includeStop ? end : end - done[0].length), stop: done[0] };
  }
  return { text, stop: undefined };
}

it('shows the same however the text is cut, never takes back, and holds back no more than it must', () => {
  const letters = (size: object) => fc.array(fc.constantFrom('a', 'b', 'c'), size).map((all) => all.join(''));
  fc.assert(
    fc.property(
      fc.array(letters({ maxLength: 5 }), { maxLength: 12 }),
      fc.array(letters({ minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (pieces, stopStrings, includeStop) => {
        const want = whole(pieces.join(''), stopStrings, includeStop);
        const { shown, stop, rest } = run({ stopStrings, includeStop }, pieces);
        expect(shown.join('') + rest).toBe(want.text);
        expect(stop?.stopString).toBe(want.stop);
        let text = '';
        let visible = '';
        for (let i = 0; i < shown.length - (stop ? 1 : 0); i++) {
          text += pieces[i]!;
          visible += shown[i]!;
          const held = text.slice(visible.length);
          expect(text.startsWith(visible)).toBe(true);
          if (held) expect(stopStrings.some((s) => s.length > held.length && s.startsWith(held))).toBe(true);
        }
      },
    ),
    { numRuns: 2000, seed: 6 },
  );
});

describe('errors', () => {
  const make = (options: object) => () => new StopChecker({ stopIds: [], ...options });
  it('name what is wrong with the options', () => {
    expect(make({ stopIds: [-1] })).toThrow('StopChecker: "stopIds" must be an integer at least 0, got -1');
    expect(make({ eosIds: [0.5] })).toThrow('StopChecker: "eosIds" must be an integer at least 0, got 0.5');
    expect(make({ stopStrings: ['a', ''] })).toThrow('StopChecker: "stopStrings" must not hold an empty string');
    expect(make({ stopStrings: [1] })).toThrow('StopChecker: "stopStrings" must hold strings, got number');
    expect(make({ stopStrings: ['\ud83d'] })).toThrow(
      '"stopStrings" must not hold half a surrogate pair, got "\\ud83d"',
    );
    expect(make({ minTokens: NaN })).toThrow('StopChecker: "minTokens" must be an integer at least 0, got NaN');
    expect(make({ includeStop: 1 })).toThrow('StopChecker: "includeStop" must be a boolean, got number');
    expect(make({ ignoreEos: 'no' })).toThrow('StopChecker: "ignoreEos" must be a boolean, got string');
  });
  it('refuse bad tokens and a push after the end', () => {
    const checker = new StopChecker({ stopIds: [7] });
    expect(() => checker.push(NaN, '')).toThrow('StopChecker.push: "tokenId" must be an integer at least 0, got NaN');
    expect(() => checker.push(1, undefined as unknown as string)).toThrow('StopChecker.push: "text" must be a string, got undefined'); // prettier-ignore
    checker.push(7, '');
    expect(() => checker.push(8, 'x')).toThrow('StopChecker.push: the output has stopped; make a new StopChecker');
  });
});
