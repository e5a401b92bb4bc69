import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { repositoryFile } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import type { Dtype, TensorToWrite } from '../src/index';
import { DTYPES, dtypeBits, openTensorStore, SafetensorsFile, writeCheckpoint, writeSafetensors } from '../src/index';
import { rejected, temporaryFolder } from './helpers';

const u8 = (name: string, ...data: number[]): TensorToWrite => ({
  name,
  dtype: 'U8',
  shape: [data.length],
  data: Uint8Array.from(data),
});

/** The tensors of a file as things to write, read when their turn comes. */
function rewritten(file: SafetensorsFile): TensorToWrite[] {
  return [...file.tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape, data: () => file.read(name) }));
}

describe('writeSafetensors', () => {
  it.each(['models/tiny/model-00002-of-00002.safetensors', 'models/micro-flash/model.safetensors'])(
    'writes %s as the official library wrote it, byte for byte',
    async (name) => {
      const path = repositoryFile(name);
      const file = new SafetensorsFile(path);
      const out = join(temporaryFolder(), 'out.safetensors');
      await writeSafetensors(out, rewritten(file).reverse());
      file.close();
      expect(readFileSync(out).equals(readFileSync(path))).toBe(true);
    },
  );

  it('writes the exact bytes of a small file', async () => {
    const path = join(temporaryFolder(), 'f.safetensors');
    await writeSafetensors(
      path,
      [
        { name: 'bé', dtype: 'U8', shape: [1], data: Uint8Array.of(9) },
        { name: 'b', dtype: 'BF16', shape: [], data: Uint16Array.of(0x3f80) },
        { name: 'a', dtype: 'BF16', shape: [2], data: Uint16Array.of(1, 2) },
        { name: 'z', dtype: 'I64', shape: [1, 1], data: BigInt64Array.of(-1n) },
      ],
      { metadata: { y: '2', x: '1' } },
    );
    const header =
      '{"__metadata__":{"x":"1","y":"2"},"z":{"dtype":"I64","shape":[1,1],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"b":{"dtype":"BF16","shape":[],"data_offsets":[12,14]},"bé":{"dtype":"U8","shape":[1],"data_offsets":[14,15]}}';
    const json = Buffer.from(header);
    const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
    const length = Buffer.alloc(8);
    length.writeUInt32LE(padded.length);
    const data = Buffer.from([255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 2, 0, 0x80, 0x3f, 9]);
    expect(readFileSync(path)).toEqual(Buffer.concat([length, padded, data]));
  });

  it('what is written is read back, whatever the tensors', async () => {
    const tensor = fc.record({
      name: fc.string({ minLength: 1, unit: 'binary' }).filter((s) => s !== '__metadata__'),
      dtype: fc.constantFrom(...DTYPES.filter((d) => dtypeBits(d) >= 8)),
      shape: fc.array(fc.nat(4), { maxLength: 3 }),
      fill: fc.nat(255),
    });
    const dir = temporaryFolder();
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 6 }), async (list) => {
        const path = join(dir, 'f.safetensors');
        const tensors = list.map(({ name, dtype, shape, fill }) => {
          const bytes = (shape.reduce((a, b) => a * b, 1) * dtypeBits(dtype)) / 8;
          return { name, dtype, shape, data: new Uint8Array(bytes).fill(fill) };
        });
        await writeSafetensors(path, tensors);
        const file = new SafetensorsFile(path);
        expect(new Set(file.tensors.keys())).toEqual(new Set(tensors.map((t) => t.name)));
        for (const { name, dtype, shape, data } of tensors) {
          expect(file.entry(name)).toMatchObject({ dtype, shape });
          expect(file.read(name)).toEqual(data);
        }
        file.close();
      }),
      { numRuns: 60 },
    );
    expect(readdirSync(dir)).toEqual(['f.safetensors']);
  });

  it('takes a view at an odd offset, and no tensors at all', async () => {
    const dir = temporaryFolder();
    await writeSafetensors(join(dir, 'v'), [
      { name: 't', dtype: 'U8', shape: [2], data: Uint8Array.of(0xcc, 1, 2, 0xcc).subarray(1, 3) },
    ]);
    const file = new SafetensorsFile(join(dir, 'v'));
    expect([...file.read('t')]).toEqual([1, 2]);
    file.close();
    await writeSafetensors(join(dir, 'none'), [], { metadata: {} });
    expect(readFileSync(join(dir, 'none'), 'latin1')).toBe('\x08\0\0\0\0\0\0\0{}      ');
  });

  it('aligns every tensor to its elements', async () => {
    const path = join(temporaryFolder(), 'f');
    const shapes: [Dtype, number][] = [
      ['U8', 3],
      ['F32', 1],
      ['BF16', 3],
      ['I64', 1],
      ['F8_E4M3', 5],
    ];
    await writeSafetensors(
      path,
      shapes.map(([dtype, n]) => ({
        name: dtype,
        dtype,
        shape: [n],
        data: new Uint8Array((n * dtypeBits(dtype)) / 8),
      })),
    );
    const file = new SafetensorsFile(path);
    const start = file.bytes - 8 - 4 - 6 - 5 - 3;
    for (const { dtype, begin } of file.tensors.values()) expect((start + begin) % (dtypeBits(dtype) / 8)).toBe(0);
    file.close();
  });

  it('asks for data one tensor at a time and tells how far it is', async () => {
    const path = join(temporaryFolder(), 'f');
    const events: string[] = [];
    const lazy = (name: string): TensorToWrite => ({
      name,
      dtype: 'U8',
      shape: [2],
      data: async () => {
        events.push(name);
        return await Promise.resolve(new Uint8Array(2));
      },
    });
    await writeSafetensors(path, [lazy('b'), lazy('a')], {
      onProgress: (done, total) => events.push(`${done}/${total}`),
    });
    expect(events).toEqual(['b', '2/4', 'a', '4/4']); // in the order given, whatever the order in the file
  });

  it('takes data in pieces, and writes the bytes that it would write of the whole', async () => {
    const dir = temporaryFolder();
    const [whole, pieces] = [join(dir, 'whole'), join(dir, 'pieces')];
    const progress: number[] = [];
    const data = Float32Array.of(1, 2, 3, 4, 5);
    const tensor = { name: 't', dtype: 'F32' as const, shape: [5] };
    await writeSafetensors(whole, [u8('a', 1), { ...tensor, data }, u8('b', 2)]);
    await writeSafetensors(
      pieces,
      [
        u8('b', 2),
        { ...tensor, data: () => [data.subarray(0, 2), new Uint8Array(data.buffer, 8, 4), data.subarray(3)] },
        u8('a', 1),
      ],
      { onProgress: (done) => progress.push(done) },
    );
    expect(readFileSync(pieces)).toEqual(readFileSync(whole));
    expect(progress).toEqual([1, 9, 13, 21, 21, 22]);
  });

  it('removes what a killed process has left of the same file, and nothing else', async () => {
    const dir = temporaryFolder();
    const dead = 2 ** 22 - 3; // no process has this number: Linux gives none above 2^22
    const left = [
      `.f.tmp-${dead}-0123abcd`,
      `.other.tmp-${dead}-0123abcd`,
      `.f.tmp-${process.pid}-0123abcd`,
      '.f.tmp-x',
    ];
    for (const name of left) writeFileSync(join(dir, name), 'x');
    await writeSafetensors(join(dir, 'f'), [u8('a', 1)]);
    expect(readdirSync(dir).sort()).toEqual([...left.slice(1), 'f'].sort());
    const shard = `.model-00002-of-00009.safetensors.tmp-${dead}-89abcdef`;
    writeFileSync(join(dir, shard), 'x');
    await writeCheckpoint(dir, [u8('a', 1)], { files: { other: 'text' } });
    expect(readdirSync(dir).sort()).toEqual([...left.slice(2), 'f', 'model.safetensors', 'other'].sort());
  });

  it.each<[string, TensorToWrite[]]>([
    [
      'ERR_SHAPE: writeSafetensors: the data of "t" must have 2 bytes for U8 [2], got 1',
      [{ name: 't', dtype: 'U8', shape: [2], data: () => [new Uint8Array(1)] }],
    ],
    [
      'ERR_SHAPE: writeSafetensors: the data of "t" must have 2 bytes for U8 [2], got 3',
      [{ name: 't', dtype: 'U8', shape: [2], data: () => [new Uint8Array(1), new Uint8Array(2)] }, u8('u', 1)],
    ],
    [
      'ERR_KIND: writeSafetensors: the data of "t" must be a typed array, got undefined',
      [{ name: 't', dtype: 'U8', shape: [2], data: () => undefined as unknown as Uint8Array }],
    ],
    [
      'ERR_SHAPE: writeSafetensors: the data of "t" must have 8 bytes for F32 [2], got 4',
      [{ name: 't', dtype: 'F32', shape: [2], data: new Float32Array(1) }],
    ],
    [
      'ERR_KIND: writeSafetensors: the data of "t" must be Uint16Array or bytes for BF16, got Float32Array',
      [{ name: 't', dtype: 'BF16', shape: [2], data: new Float32Array(1) }],
    ],
    [
      'ERR_KIND: writeSafetensors: the data of "t" must be bytes for F8_E4M3, got Int8Array',
      [{ name: 't', dtype: 'F8_E4M3', shape: [2], data: new Int8Array(2) }],
    ],
    [
      'ERR_KIND: writeSafetensors: the data of "t" must be a typed array, got Array',
      [{ name: 't', dtype: 'U8', shape: [2], data: [1, 2] as unknown as Uint8Array }],
    ],
    [
      'ERR_SHAPE: writeSafetensors: "t" must have a shape of non-negative integers, got [-1]',
      [{ name: 't', dtype: 'U8', shape: [-1], data: new Uint8Array(0) }],
    ],
    [
      'ERR_SHAPE: writeSafetensors: "t" F4 [3] is not a whole number of bytes below 2^53',
      [{ name: 't', dtype: 'F4', shape: [3], data: new Uint8Array(2) }],
    ],
    [
      'ERR_VALUE: writeSafetensors: "t.dtype" must be one of ' + DTYPES.join(', ') + ', got F31',
      [{ name: 't', dtype: 'F31' as Dtype, shape: [3], data: new Uint8Array(2) }],
    ],
    ['ERR_VALUE: writeSafetensors: two tensors are named "t"', [u8('t', 1), u8('t', 2)]],
    ['ERR_VALUE: writeSafetensors: "__metadata__" cannot be a tensor\'s name', [u8('__metadata__', 1)]],
    ['ERR_VALUE: writeSafetensors: "\\ud800" cannot be a tensor\'s name', [u8('\ud800', 1)]],
    [
      'Error: the disk is gone',
      [u8('a', 1), { name: 'b', dtype: 'U8', shape: [1], data: () => Promise.reject(new Error('the disk is gone')) }],
    ],
  ])('leaves nothing behind after %s', async (message, tensors) => {
    const dir = temporaryFolder();
    expect(await rejected(writeSafetensors(join(dir, 'f'), tensors))).toBe(message);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('leaves the old file alone when it fails or is aborted', async () => {
    const dir = temporaryFolder();
    const path = join(dir, 'f');
    await writeSafetensors(path, [u8('a', 1)]);
    const before = readFileSync(path);
    const abort = new AbortController();
    const stop: TensorToWrite = { name: 'a', dtype: 'U8', shape: [1], data: () => (abort.abort(), Uint8Array.of(2)) };
    expect(await rejected(writeSafetensors(path, [stop], { signal: abort.signal }))).toBe(
      '20: This operation was aborted',
    );
    expect(await rejected(writeSafetensors(path, [u8('a', 3)], { signal: abort.signal }))).toBe(
      '20: This operation was aborted',
    );
    mkdirSync(join(dir, 'taken', 'x'), { recursive: true });
    expect(await rejected(writeSafetensors(join(dir, 'taken'), [u8('a', 3)]))).toMatch(
      /^ERR_CHECKPOINT: .*taken: cannot be written: it is a folder$/,
    );
    expect(await rejected(writeSafetensors(join(dir, 'no', 'where'), [u8('a', 3)]))).toMatch(
      /^ERR_CHECKPOINT: .*where: cannot be written: ENOENT/,
    );
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(dir).sort()).toEqual(['f', 'taken']);
  });
});

describe('writeCheckpoint', () => {
  it('fills shards in order and writes the index as Hugging Face does', async () => {
    const dir = join(temporaryFolder(), 'new', 'folder');
    const progress: number[] = [];
    await writeCheckpoint(
      dir,
      [u8('c', 1, 2, 3), u8('a', 4), u8('b', 5, 6), u8('d', ...new Array<number>(9).fill(7))],
      {
        maxShardBytes: 4,
        files: { 'config.json': { model_type: 'x' }, 'notes.txt': 'hi', 'raw.bin': Uint8Array.of(1) },
        onProgress: (done, total) => progress.push(done, total),
      },
    );
    expect(readdirSync(dir).sort()).toEqual([
      'config.json',
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
      'notes.txt',
      'raw.bin',
    ]);
    expect(readFileSync(join(dir, 'model.safetensors.index.json'), 'utf8')).toBe(
      `{
  "metadata": {
    "total_size": 15
  },
  "weight_map": {
    "a": "model-00001-of-00003.safetensors",
    "b": "model-00002-of-00003.safetensors",
    "c": "model-00001-of-00003.safetensors",
    "d": "model-00003-of-00003.safetensors"
  }
}
`,
    );
    expect(readFileSync(join(dir, 'config.json'), 'utf8')).toBe('{\n  "model_type": "x"\n}\n');
    expect(progress).toEqual([3, 15, 4, 15, 6, 15, 15, 15]);
    const store = openTensorStore(dir);
    expect([...store.read('b')]).toEqual([5, 6]);
    expect(store.warnings).toEqual([]);
    store.close();
  });

  it('writes one file when all fits', async () => {
    const dir = temporaryFolder();
    await writeCheckpoint(dir, [u8('a', 1)]);
    expect(readdirSync(dir)).toEqual(['model.safetensors']);
  });

  it('does not overwrite unless told to, and then leaves no old shards', async () => {
    const dir = temporaryFolder();
    await writeCheckpoint(dir, [u8('a', 1), u8('b', 2)], { maxShardBytes: 1, files: { 'config.json': '{}' } });
    writeFileSync(join(dir, 'tokenizer.json'), 'kept');
    expect(await rejected(writeCheckpoint(dir, [u8('a', 9)]), dir)).toBe(
      'ERR_CHECKPOINT: DIR: would overwrite "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"; nothing has been written',
    );
    expect(await rejected(writeCheckpoint(dir, [], { files: { 'tokenizer.json': 'x' } }), dir)).toMatch(
      /"tokenizer.json"; nothing has been written$/,
    );
    await writeCheckpoint(dir, [u8('a', 9)], { overwrite: true });
    expect(readdirSync(dir).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(openTensorStore(dir).read('a')[0]).toBe(9);
  });

  it('leaves nothing behind after a failure in a later shard, not even the folder', async () => {
    const parent = temporaryFolder();
    const dir = join(parent, 'a', 'b');
    const bad: TensorToWrite = { name: 'z', dtype: 'U8', shape: [1], data: () => Promise.reject(new Error('no')) };
    expect(await rejected(writeCheckpoint(dir, [u8('a', 1), bad], { maxShardBytes: 1, files: { x: 'y' } }))).toBe(
      'Error: no',
    );
    expect(readdirSync(parent)).toEqual([]);
  });

  it('writes files in folders, asks before it overwrites them, and removes what it made after a failure', async () => {
    const parent = temporaryFolder();
    const dir = join(parent, 'new');
    const files = { 'encoding/x.py': 'a', 'encoding/deep/y.json': [1], 'z.txt': 'z' };
    await writeCheckpoint(dir, [u8('a', 1)], { files });
    expect(readdirSync(dir, { recursive: true }).sort()).toEqual(
      ['encoding', 'encoding/deep', 'encoding/deep/y.json', 'encoding/x.py', 'model.safetensors', 'z.txt'].map((name) =>
        join(name),
      ),
    );
    expect(readFileSync(join(dir, 'encoding', 'deep', 'y.json'), 'utf8')).toBe('[\n  1\n]\n');
    rmSync(join(dir, 'model.safetensors'));
    expect(await rejected(writeCheckpoint(dir, [], { files: { 'encoding/x.py': 'b' } }), dir)).toBe(
      'ERR_CHECKPOINT: DIR: would overwrite "encoding/x.py"; nothing has been written',
    );
    const dead = `.x.py.tmp-${2 ** 22 - 3}-0123abcd`; // what a killed process left
    writeFileSync(join(dir, 'encoding', dead), '');
    await writeCheckpoint(dir, [], { files: { 'encoding/x.py': 'b' }, overwrite: true });
    expect(readFileSync(join(dir, 'encoding', 'x.py'), 'utf8')).toBe('b');
    expect(readdirSync(join(dir, 'encoding')).sort()).toEqual(['deep', 'x.py']);
    const bad: TensorToWrite = { name: 'z', dtype: 'U8', shape: [1], data: () => Promise.reject(new Error('no')) };
    expect(await rejected(writeCheckpoint(join(parent, 'other'), [bad], { files }))).toBe('Error: no');
    const inTheWay = { ...files, 'z.txt/within.txt': '' }; // z.txt cannot be a file and a folder
    expect(await rejected(writeCheckpoint(join(parent, 'other'), [], { files: inTheWay }), parent)).toMatch(
      /^ERR_CHECKPOINT: DIR\/other\/z.txt: cannot be written: /,
    );
    expect(readdirSync(parent)).toEqual(['new']);
  });

  it('leaves an old checkpoint readable after a failure', async () => {
    const dir = temporaryFolder();
    await writeCheckpoint(dir, [u8('a', 1)]);
    const abort = new AbortController();
    const options = {
      overwrite: true,
      maxShardBytes: 1,
      signal: abort.signal,
      onProgress: (done: number) => done === 1 && abort.abort(),
    };
    expect(await rejected(writeCheckpoint(dir, [u8('a', 2), u8('b', 3)], options as never))).toBe(
      '20: This operation was aborted',
    );
    expect(readdirSync(dir)).toEqual(['model.safetensors']);
    expect(openTensorStore(dir).read('a')[0]).toBe(1);
  });

  it('says when the folder is a file or cannot be made', async () => {
    const parent = temporaryFolder();
    writeFileSync(join(parent, 'file'), '');
    const file = join(parent, 'file');
    expect(await rejected(writeCheckpoint(file, [u8('a', 1)]), parent)).toMatch(
      /^ERR_CHECKPOINT: DIR\/file: cannot be written: /,
    );
    expect(await rejected(writeCheckpoint(join(file, 'x'), [u8('a', 1)]), parent)).toMatch(
      /^ERR_CHECKPOINT: DIR\/file\/x: cannot be written: /,
    );
    mkdirSync(join(parent, 'd', 'model.safetensors', 'x'), { recursive: true });
    const blocked = writeCheckpoint(join(parent, 'd'), [u8('a', 1)], { overwrite: true });
    expect(await rejected(blocked, parent)).toMatch(/^ERR_CHECKPOINT: DIR\/d\/model.safetensors: cannot be written: /);
    expect(readdirSync(join(parent, 'd'))).toEqual(['model.safetensors']);
  });

  it('refuses names that leave the folder or stand for the model', async () => {
    const dir = temporaryFolder();
    for (const name of [
      '../x',
      'a/../../x',
      'a/./b',
      'a//b',
      '/a',
      'a/',
      'a\\b',
      '..',
      '',
      'model.safetensors',
      'model-1-of-2.safetensors',
      'model.safetensors.index.json',
    ]) {
      expect(await rejected(writeCheckpoint(dir, [], { files: { [name]: '' } }))).toBe(
        `ERR_VALUE: writeCheckpoint: "files" must have names within the folder, other than the model's own, got ${JSON.stringify(name)}`,
      );
    }
    expect(await rejected(writeCheckpoint(dir, [], { maxShardBytes: 0 }))).toBe(
      'ERR_VALUE: writeCheckpoint: "maxShardBytes" must be an integer at least 1, got 0',
    );
    expect(await rejected(writeCheckpoint(dir, [u8('a', 1), u8('a', 1)], { maxShardBytes: 1 }))).toBe(
      'ERR_VALUE: writeCheckpoint: two tensors are named "a"',
    );
    expect(readdirSync(dir)).toEqual([]);
    expect(statSync(dir).isDirectory()).toBe(true);
  });
});
