import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryFile } from '@megamoe/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeConversation, MAX_ENCODING_BYTES, parseEncoding, readEncoding } from '../src/index';
import { readPythonLiterals } from '../src/python-literals';
import { ENCODER, thrown, tokenizer } from './support';

const constants = (source: string) => Object.fromEntries(readPythonLiterals(source).constants);

describe('readPythonLiterals', () => {
  // The values are CPython's, from ast.literal_eval of the right-hand sides.
  it.each<[string, string, unknown]>([
    [
      'quotes',
      `A = 'x'\nB = "y"\nC = '''a\n'b'\n'''\nD = """c\n"d"\n"""`,
      { A: 'x', B: 'y', C: "a\n'b'\n", D: 'c\n"d"\n' },
    ],
    ['annotations', 'A: str = "x"\nB : Dict[str, "=str"] = "y"', { A: 'x', B: 'y' }],
    [
      'strings side by side',
      'A = "x" \'y\'\nB = (\n  "x"  # one\n\n  r"\\n"\n)\nC = "x" \\\n  "y"',
      { A: 'xy', B: 'x\\n', C: 'xy' },
    ],
    ['brackets in brackets', 'A = (("x"))\nB = ( # c\n("x" "y") )', { A: 'x', B: 'xy' }],
    [
      'escapes',
      String.raw`A = "\n\t\r\\\'\"\a\b\f\v\0\101\x41\u00e9\U0001f642\q\8"` + '\nB = "a\\\nb"',
      { A: '\n\t\r\\\'"\x07\b\f\v\0AAé🙂\\q\\8', B: 'ab' },
    ],
    ['raw and unicode prefixes', String.raw`A = r"\n\""` + "\nB = u'x'\nC = R'''\\'''", { A: '\\n\\"', B: 'x' }],
    [
      'what is no literal of strings',
      'A = "x" + "y"\nB = f"x"\nC = b"x"\nD = 5\nE = "x".strip()\nF = ("x",)\nG = ["x"]\nH = rb"x"\nI = "x",',
      {},
    ],
    [
      'broken escapes',
      String.raw`A = "\x4"` + '\n' + String.raw`B = "\N{DASH}"` + '\n' + String.raw`C = "\U00110000"` + '\nD = "x"',
      { D: 'x' },
    ],
    ['the last assignment counts', 'A = "x"\nA = "y"\nB = "x"\nB = f()\nC = "x"\nC += "y"', { A: 'y' }],
    ['only the top level', 'def f():\n    A = "x"\nclass C:\n  B = "y"\nif True:\n\tC = "z"\nD = "x"', { D: 'x' }],
    [
      'what looks like assignments',
      '"""A = "x"\nB = "y"\n"""\nf(\nC = "x",\n)\n# D = "x"\nE == "x"\nimport os; F = "x"\nG = "g"',
      { G: 'g' },
    ],
    ['line ends of Windows and of old Macs', 'A = "x"\r\nB = """a\r\nb"""\rC = "z"', { A: 'x', B: 'a\nb', C: 'z' }],
    ['a byte order mark, no last line end, a comment', '\ufeffA = "x" # y', { A: 'x' }],
    ['a string that does not end', 'A = "x\nB = "y"\nC = """z', { B: 'y' }],
    ['brackets that do not close', 'A = ("x"\nB = "y"', {}],
    ['more after the value', 'A = "x" if y else "z"\nB = C = "x"\nD = "x"; E = "y"\nF = "x" G', {}],
    ['nothing', '', {}],
  ])('%s', (_, source, wanted) => expect(constants(source)).toEqual(wanted));

  it('dictionaries of strings', () => {
    expect(
      readPythonLiterals(
        'A = {"a": "x", \'b\': ("y" "z"),\n # c\n"a": "w",}\nB = {}\nC = {"a": 1}\nD = {"a"}\nE = {**A}',
      ).constants,
    ).toEqual(
      new Map([
        [
          'A',
          new Map([
            ['a', 'w'],
            ['b', 'yz'],
          ]),
        ],
        ['B', new Map()],
      ]),
    );
  });

  it('names that are assigned, whatever they hold', () => {
    expect([...readPythonLiterals('A = 1\nB: int\nC: int = f(x=2)\nD[0] = 1\nE += 1\nF = "x"').assigned]).toEqual([
      'A',
      'C',
      'E',
      'F',
    ]);
  });

  it('takes what is long or deep', () => {
    expect(constants(`A = ${'('.repeat(10_000)}"x"${')'.repeat(10_000)}\nB = "y"`)).toEqual({ B: 'y' });
    const long = 'x\\n'.repeat(100_000);
    expect(constants(`A = "${long}"`)).toEqual({ A: 'x\n'.repeat(100_000) });
  });
});

/** The shipped file, changed. */
const changed = (from: string | RegExp, to: string): string => {
  expect(ENCODER).toMatch(from);
  return ENCODER.replace(from, to);
};
const official = 'REASONING_EFFORT_PROMPTS = {"low": "", "high": "H", "max": "M"}\nDEFAULT_REASONING_EFFORT = "low"\n';
const templates =
  'response_format_template = "{schema}"\nTOOLS_TEMPLATE = "{dsml_token}{thinking_start_token}{thinking_end_token}{tool_schemas}"\n';

describe('parseEncoding', () => {
  it('tells the contracts apart', () => {
    expect(parseEncoding(ENCODER, 'f').contract).toBe('official');
    const preview = parseEncoding(`${templates}REASONING_EFFORT_MAX = ("H"\n"H")`, 'f');
    expect([preview.contract, preview.effortText]).toEqual(['preview', { low: '', high: '', max: 'HH' }]);
    expect(parseEncoding(templates + official, 'f').effortText).toEqual({ low: '', high: 'H', max: 'M' });
    // As SGLang does: without the default tier the table alone is no sign of the official contract.
    const undecided = official.replace(/DEFAULT.*/, '');
    expect(parseEncoding(templates + undecided, 'f')).toMatchObject({
      contract: 'preview',
      effortText: { high: '', max: 'H' },
    });
    expect(parseEncoding(`${templates}${official}REASONING_EFFORT_MAX = "old"\n`, 'f').contract).toBe('official');
  });

  it('a forced contract takes text H from where it stands', () => {
    const forced = parseEncoding(templates + official, 'f', { contract: 'preview' });
    expect([forced.contract, forced.effortText]).toEqual(['preview', { low: '', high: '', max: 'H' }]);
    expect(thrown(() => parseEncoding(`${templates}REASONING_EFFORT_MAX = "H"`, 'f', { contract: 'official' }))).toBe(
      'ERR_UNSUPPORTED: parseEncoding: f has the preview contract and no wording for the official one (REASONING_EFFORT_PROMPTS)',
    );
    expect(thrown(() => parseEncoding(ENCODER, 'f', { contract: 'final' as 'preview' }))).toBe(
      'ERR_VALUE: parseEncoding: "contract" must be one of preview, official, got final',
    );
  });

  it.each<[string, string, string]>([
    [
      'V4.1 by its efforts',
      `${ENCODER}REASONING_EFFORT_MAPPINGS = {"low": 10}\n`,
      'f is of DeepSeek-V4.1, whose prompts have another format',
    ],
    [
      'V4.1 by its tags',
      changed(/<\{dsml_token\}invoke name="\$TOOL"/, '<{dsml_token} invoke name="$TOOL"'),
      'f is of DeepSeek-V4.1',
    ],
    [
      'another token',
      changed('<｜User｜>', '<|User|>'),
      'USER_SP_TOKEN is "<|User|>", DeepSeek-V4 has "<｜User｜>"; the prompt format has changed',
    ],
    ['another block', changed('= "tool_calls"', '= "function_calls"'), 'tool_calls_block_name is "function_calls"'],
    ['another call', changed('</{dsml_token}invoke>"\n)', '</{dsml_token}invocation>"\n)'), 'tool_call_template is'],
    ['another task', changed('<｜read_url｜>', '<｜extracted_url｜>'), 'DS_TASK_SP_TOKENS is {'],
    [
      'a template of messages',
      `${ENCODER}user_msg_template: str = "User: {content}"\n`,
      'user_msg_template is "User: {content}"',
    ],
    ['tokens of another kind', `${ENCODER}bos_token = {"a": "b"}\n`, 'bos_token is {a: "b"}, DeepSeek-V4 has'],
    ['no efforts', templates, 'f has neither REASONING_EFFORT_MAX nor REASONING_EFFORT_PROMPTS as plain text'],
    [
      'efforts that are computed',
      `${templates}REASONING_EFFORT_MAX = open("x").read()\n`,
      'REASONING_EFFORT_MAX is no plain text',
    ],
    [
      'no tools',
      official + 'response_format_template = "{schema}"',
      'f has no TOOLS_TEMPLATE that is plain text with {dsml_token}, {thinking_start_token}, {thinking_end_token}, {tool_schemas}',
    ],
    [
      'a field too few',
      official + templates.replace('{thinking_end_token}', ''),
      'TOOLS_TEMPLATE must have the fields',
    ],
    [
      'a field too many',
      official + templates.replace('"{schema}"', '"{schema}{x}"'),
      'response_format_template must have the fields {schema}, it has {schema}, {x}',
    ],
    [
      'a format with a conversion',
      official + templates.replace('"{schema}"', '"{schema!r}"'),
      'has no response_format_template that is plain text with {schema}',
    ],
    ['a single brace', official + templates.replace('"{schema}"', '"{schema}}"'), 'has no response_format_template'],
  ])('refuses %s', (_, source, message) => {
    const said = thrown(() => parseEncoding(source, 'f'));
    expect(said).toContain('ERR_UNSUPPORTED: parseEncoding: f');
    expect(said).toContain(message);
  });

  it('a doubled brace is one, and markers in the wording are tokens', () => {
    const source = official + templates.replace('"{schema}"', '"{{x}} <think> {schema}"');
    const encoding = parseEncoding(source, 'f');
    const { text, tokenIds } = encodeConversation(
      {
        messages: [{ role: 'user', content: 'q' }],
        response_format: { type: 'json_schema', json_schema: { schema: { title: '<think>' } } },
        thinking: false,
      },
      { encoding, tokenizer },
    );
    expect(text).toBe('<｜begin▁of▁sentence｜>\n\n{x} <think> {"title": "<think>"}<｜User｜>q<｜Assistant｜></think>');
    const think = tokenizer.specialIds.get('<think>')!;
    expect(tokenIds.filter((id) => id === think)).toHaveLength(1); // the wording's, not the schema's
  });

  it('what a file does not say is not compared', () => {
    expect(parseEncoding(templates + official, 'f').contract).toBe('official');
    expect(
      parseEncoding(`${ENCODER}thinking_template = "{reasoning}"\nassistant_msg_template = "x" + eos_token\n`, 'f')
        .contract,
    ).toBe('official');
  });
});

describe('readEncoding', () => {
  const dir = mkdtempSync(join(tmpdir(), 'megamoe-chat-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, data: string | Uint8Array): string => {
    writeFileSync(join(dir, name), data);
    return join(dir, name);
  };
  const rejected = async (path: string): Promise<string> => {
    try {
      await readEncoding(path);
      return 'nothing';
    } catch (e) {
      return `${(e as { code?: string }).code}: ${(e as Error).message}`;
    }
  };

  it('takes a file or a folder that may have one', async () => {
    const tiny = repositoryFile('models/tiny');
    const encoding = await readEncoding(tiny);
    expect(encoding).toMatchObject({ contract: 'official', source: join(tiny, 'encoding', 'encoding_dsv4.py') });
    expect((await readEncoding(file('e.py', ENCODER), { contract: 'preview' }))?.contract).toBe('preview');
    expect(await readEncoding(dir)).toBeUndefined();
  });

  it('refuses what cannot be one', async () => {
    expect(await rejected(join(dir, 'missing.py'))).toMatch(
      /^ERR_VALUE: readEncoding: .*missing\.py cannot be read: ENOENT/,
    );
    expect(await rejected(file('large.py', ' '.repeat(MAX_ENCODING_BYTES + 1)))).toContain(
      'has 1048577 bytes; an encoder has at most 1048576',
    );
    expect(await rejected(file('latin.py', Uint8Array.of(0x22, 0xe9, 0x22)))).toContain('is no UTF-8');
    expect(await rejected('/dev/null')).toContain('is no file');
    mkdirSync(join(dir, 'odd', 'encoding', 'encoding_dsv4.py'), { recursive: true });
    expect(await rejected(join(dir, 'odd'))).toContain('encoding_dsv4.py is no file');
    expect(await rejected(file('other.py', 'x = 1'))).toContain('it is no encoding_dsv4.py of DeepSeek-V4');
  });
});
