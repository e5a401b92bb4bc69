import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli, temporaryFolder } from './support';

const dir = temporaryFolder();

it('megamoe layout --json gives offsets in [l][row][kSf] order', async () => {
  const { code, out } = await cli('layout', '--rows', '129', '--k', '80', '--l', '2', '--json');
  const r = JSON.parse(out) as { allocationBytes: number; offsets: number[] };
  expect(code).toBe(0);
  // kSf = 5 pads to 8 columns, 129 rows to 256: 2 * 256 * 8 bytes.
  expect(r.allocationBytes).toBe(4096);
  expect(r.offsets).toHaveLength(2 * 129 * 5);
  const at = (l: number, row: number, k: number): number => r.offsets[(l * 129 + row) * 5 + k]!;
  expect([at(0, 0, 0), at(0, 1, 0), at(0, 32, 0), at(0, 0, 1), at(0, 0, 4), at(0, 128, 0), at(1, 0, 0)]).toEqual([
    0, 16, 4, 1, 512, 1024, 2048,
  ]);
});

it('takes 32 elements a scale, other layouts, and nothing at all', async () => {
  expect(JSON.parse((await cli('layout', '--rows', '4', '--k', '128', '--sf-vec', '32', '--json')).out)).toMatchObject({
    allocationBytes: 512,
  });
  expect(
    JSON.parse((await cli('layout', '--rows', '2', '--k', '32', '--layout', 'linear', '--json')).out),
  ).toMatchObject({ offsets: [0, 1, 2, 3] });
  expect(JSON.parse((await cli('layout', '--rows', '0', '--k', '32', '--json')).out)).toMatchObject({ offsets: [] });
  const many = await cli('layout', '--rows', '1000000000000', '--k', '16', '--json');
  expect(many.code).not.toBe(0);
  expect(many.err).toContain(
    'layout: --json lists at most 33554432 scale factors, "rows", "k" and "l" give 1000000000000; give a smaller operand',
  );
  expect((await cli('layout', '--rows', '200', '--k', '256')).out).toMatch(/128x4: 200 rows x 16 scales .* 4096 bytes/);
});

it('draws', async () => {
  const file = join(dir, 'a.svg');
  expect((await cli('layout', '--rows', '200', '--k', '256', '--svg', file)).code).toBe(0);
  const svg = readFileSync(file, 'utf8');
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
  expect(svg).toContain('>516<'); // row 32, k 4
});

it('shows where a chosen scale lies, in text and as its tile in memory', async () => {
  const file = join(dir, 'tile.svg');
  const { code, out } = await cli('layout', '--rows', '200', '--k', '96', '--row', '33', '--at-k', '85', '--svg', file);
  // Scale column 85 / 16 = 5 is in the second k tile: 512 + (33 % 32) * 16 + (33 / 32) * 4 + 5 % 4.
  expect([code, out]).toEqual([
    0,
    'row 33, k 85: scale column 5, byte 533 of 2048\n' +
      'tile (0, 1) starts at byte 512, in it (33 % 32) * 16 + (33 / 32 % 4) * 4 + 5 % 4 = 21\n',
  ]);
  const svg = readFileSync(file, 'utf8');
  expect(svg).toMatch(/^<svg .*<\/svg>\n$/s);
  const cells = [...svg.matchAll(/<rect x="(\d+)" y="(\d+)" width="62" height="17" fill="(\S+)"/g)].map((m) =>
    m.slice(1).join(' '),
  );
  expect(cells).toHaveLength(512 + 1); // the tile and the frame
  const [x, y] = [70 + 5 * 62, 84 + 17]; // byte 21 = line 1, place 5
  expect(cells.at(-1)).toBe(`${x} ${y} none`);
  expect(svg).toContain('>33, 5</text>');
  expect(svg.match(/fill="#e5e5e5"/g)).toHaveLength(256); // columns 6 and 7 are padding
  expect(
    (await cli('layout', '--rows', '9', '--k', '64', '--layout', '8x4', '--row', '8', '--at-k', '63')).out,
  ).toMatch(/byte 35 of 64\ntile \(1, 0\) starts at byte 32, in it \(8 % 8\) \* 4 \+ 3 % 4 = 3\n/);
  expect(
    (await cli('layout', '--rows', '9', '--k', '64', '--layout', 'linear', '--row', '8', '--at-k', '63', '--svg', file))
      .out,
  ).toMatch(/linear: 8 \* 4 \+ 3 = 35/);
});

it.each([
  [['--rows', '4', '--k', '16', '--row', '1'], /--row and --at-k go together/],
  [['--rows', '4', '--k', '16', '--row', '4', '--at-k', '0'], /--row must be below --rows 4, got 4/],
  [['--rows', '4', '--k', '16', '--row', '0', '--at-k', '16'], /--at-k must be below --k 16, got 16/],
  [['--rows', '-1', '--k', '16'], /at least 0/],
  [['--rows', '4'], /required option '--k/],
  [['--rows', '4', '--k', '16', '--sf-vec', '8'], /Allowed choices are 16, 32/],
  [['--rows', '4', '--k', '16', '--layout', '9x9'], /Allowed choices/],
])('layout %j is a usage error', async (argv, message) => {
  const { code, err } = await cli('layout', ...argv);
  expect(err).toMatch(message);
  expect(code).toBe(2);
});
