import { appendFileSync, mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { CheckpointError } from '@megamoe/core';
import { describe, expect, it } from 'vitest';
import { dtypeBits, SafetensorsFile } from '../src/index';
import { rawFile, rawSafetensors, temporaryFolder, thrown } from './helpers';

const HEADER =
  '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"e":{"dtype":"F32","shape":[0],"data_offsets":[11,11]}}';
const DATA = new Uint8Array([0, 0, 128, 63, 0, 0, 0, 192, 7, 8, 9]);

describe('SafetensorsFile', () => {
  it('reads tensors and parts of them into buffers of their own', () => {
    const { path } = rawFile(HEADER, DATA);
    const file = new SafetensorsFile(path);
    const a = file.read('a');
    expect([a.byteOffset, a.buffer.byteLength]).toEqual([0, 8]); // aligned for any typed array, though b is not in the file
    expect([...new Float32Array(a.buffer)]).toEqual([1, -2]);
    expect([...file.read('b')]).toEqual([7, 8, 9]);
    expect([...file.read('b', 1)]).toEqual([8, 9]);
    expect([...file.read('b', 1, 2)]).toEqual([8]);
    expect(file.read('e').length).toBe(0);
    expect(file.bytes).toBe(8 + HEADER.length + 11);
    a.fill(0xcc);
    expect([...file.read('a')]).toEqual([...DATA.subarray(0, 8)]);
    file.close();
    file.close();
  });

  it('reads nothing that is not asked for', () => {
    const { path } = rawFile(HEADER, DATA);
    const file = new SafetensorsFile(path);
    writeFileSync(
      path,
      rawSafetensors(
        HEADER,
        DATA.map((b) => b ^ 0xff),
      ),
    );
    expect([...file.read('b')]).toEqual([7 ^ 0xff, 8 ^ 0xff, 9 ^ 0xff]);
    file.close();
  });

  it('small reads, which come out of shared blocks, give the bytes of the file in any order', () => {
    const count = 80_000; // 4 bytes each: several blocks, and more of them than are kept
    const names = Array.from({ length: count / 8 }, (_, i) => `t${i}`); // 32 bytes each, the header is odd: some cross a border
    const header = names.map(
      (name, i) => `"${name}":{"dtype":"F32","shape":[8],"data_offsets":[${32 * i},${32 * i + 32}]}`,
    );
    const data = new Uint8Array(Uint32Array.from({ length: count }, (_, i) => Math.imul(i, 0x9e3779b1)).buffer);
    const { path } = rawFile(`{${header.join(',')}} `, data);
    const file = new SafetensorsFile(path);
    for (let i = 0; i < names.length; i++) {
      const at = (i * 7919) % names.length; // a prime: every tensor once, far apart
      const got = file.read(names[at]!, 0, 32);
      if (!Buffer.from(got).equals(data.subarray(32 * at, 32 * at + 32))) expect.fail(`tensor ${at} differs`);
    }
    expect(file.read('t0', 5, 5)).toEqual(new Uint8Array(0));
    file.close();
    expect(thrown(() => file.read('t0'))).toMatch(/the file has been closed$/);
  });

  it('names what is wrong', () => {
    const { path, dir } = rawFile(HEADER, DATA);
    const file = new SafetensorsFile(path);
    const at = 'ERR_CHECKPOINT: DIR/model.safetensors: tensor';
    expect(thrown(() => file.read('x'), dir)).toBe(`${at} "x": no such tensor in this file`);
    expect(thrown(() => file.read('b', 1, 4), dir)).toBe(`${at} "b": cannot read bytes [1, 4) of 3`);
    expect(thrown(() => file.read('b', -1), dir)).toBe(`${at} "b": cannot read bytes [-1, 3) of 3`);
    expect(thrown(() => file.read('b', 2, 1), dir)).toBe(`${at} "b": cannot read bytes [2, 1) of 3`);
    expect(thrown(() => file.read('b', 0.5), dir)).toBe(`${at} "b": cannot read bytes [0.5, 3) of 3`);
    truncateSync(path, 8 + HEADER.length + 9);
    expect(thrown(() => file.read('b'), dir)).toBe(
      `${at} "b": truncated: expected 3 bytes at ${8 + HEADER.length + 8}, found 1`,
    );
    file.close();
    expect(thrown(() => file.read('b'), dir)).toBe(`${at} "b": the file has been closed`);
  });

  it('opens regular files only', () => {
    const dir = temporaryFolder();
    mkdirSync(join(dir, 'folder'));
    expect(thrown(() => new SafetensorsFile(join(dir, 'none')), dir)).toMatch(
      /^ERR_CHECKPOINT: DIR\/none: cannot be opened: ENOENT/,
    );
    expect(thrown(() => new SafetensorsFile(join(dir, 'folder')), dir)).toBe(
      'ERR_CHECKPOINT: DIR/folder: expected a regular file',
    );
    if (process.platform !== 'win32') {
      expect(thrown(() => new SafetensorsFile('/dev/null'), dir)).toBe(
        'ERR_CHECKPOINT: /dev/null: expected a regular file',
      );
    }
  });

  it('refuses a file that is shorter or longer than its header says', () => {
    const { path, dir } = rawFile(HEADER, DATA);
    truncateSync(path, 8 + HEADER.length + 10);
    expect(thrown(() => new SafetensorsFile(path), dir)).toBe(
      'ERR_CHECKPOINT: DIR/model.safetensors: tensor "b": data_offsets: expected begin <= end <= 10 (the data bytes of the file), found [8, 11]',
    );
    appendFileSync(path, Buffer.alloc(2));
    expect(thrown(() => new SafetensorsFile(path), dir)).toBe(
      'ERR_CHECKPOINT: DIR/model.safetensors: the tensors cover 11 bytes, but 12 bytes follow the header',
    );
  });

  it('opens and reads tensors that lie past 4 GB', () => {
    const dir = temporaryFolder();
    const path = join(dir, 'big.safetensors');
    const far = 5 * 2 ** 30;
    const header = `{"a":{"dtype":"U8","shape":[${far}],"data_offsets":[0,${far}]},"b":{"dtype":"U8","shape":[2],"data_offsets":[${far},${far + 2}]}}`;
    writeFileSync(path, rawSafetensors(header));
    truncateSync(path, 8 + header.length + far); // a hole on the disk, not in the format
    appendFileSync(path, Uint8Array.of(5, 6));
    const file = new SafetensorsFile(path);
    expect([...file.read('b')]).toEqual([5, 6]);
    expect([...file.read('a', far - 2)]).toEqual([0, 0]);
    file.close();
  });

  it('a mutated header never makes it hand out other bytes than the file holds', () => {
    const dir = temporaryFolder();
    const path = join(dir, 'm.safetensors');
    const original = rawSafetensors(HEADER, DATA);
    let accepted = 0;
    fc.assert(
      fc.property(fc.nat(HEADER.length - 1), fc.constantFrom(...'0123456789 abU8FI'), (at, char) => {
        const bytes = Buffer.from(original);
        bytes[8 + at] = char.charCodeAt(0);
        writeFileSync(path, bytes);
        let file: SafetensorsFile;
        try {
          file = new SafetensorsFile(path);
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
          return;
        }
        accepted++;
        const all = Buffer.concat([...file.tensors.keys()].map((name) => file.read(name)));
        expect([...all]).toEqual([...DATA]);
        for (const [name, { dtype, shape }] of file.tensors) {
          expect(file.read(name).length * 8).toBe(shape.reduce((x, y) => x * y, 1) * dtypeBits(dtype));
        }
        file.close();
      }),
      { numRuns: 600 },
    );
    expect(accepted).toBeGreaterThan(10);
  });
});
