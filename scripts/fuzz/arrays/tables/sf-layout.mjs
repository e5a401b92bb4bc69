/** Valid calls of sf-layout. */
const LAYOUTS = ['128x4', '8x4', 'linear'];
const shape = (r) => ({
  rows: r.pick([1, 7, 40, 130]),
  kSf: r.pick([1, 4, 6]),
  l: r.int(1, 2),
  layout: r.pick(LAYOUTS),
});
const up = (n, to) => Math.ceil(n / to) * to;
const tileOf = (layout) => ({ '128x4': 128, '8x4': 8, linear: 1 })[layout];
const kPad = (layout, kSf) => (layout === 'linear' ? kSf : up(kSf, 4));

/** Ends of experts, and what an assembly of their rows takes. */
function ragged(r) {
  const layout = r.pick(LAYOUTS);
  const [kSf, ends] = [r.int(1, 6), r.ends(r.int(1, 4), 20)];
  const rows = ends.at(-1);
  let [start, padded] = [0, 0];
  for (const end of ends) {
    padded += up(end - start, tileOf(layout));
    start = end;
  }
  return { layout, kSf, ends, rows, bytes: padded * kPad(layout, kSf) };
}

const optional = (r, args) => args.slice(0, r.pick([args.length, args.length, args.length, 3]));
const packed = (r) => ({
  rows: r.int(0, 9),
  kSf: r.int(0, 9),
  l: r.int(1, 2),
  order: r.pick(['mn-major', 'row-major']),
});

export const calls = {
  rowsPerTile: (r) => ({ args: [r.pick(LAYOUTS)] }),
  padKSf: (r) => ({ args: [r.pick(LAYOUTS), r.int(0, 9)] }),
  kSfOf: (r) => ({ args: [r.int(0, 99), r.pick([16, 32])] }),
  createSfGeometry: (r) => ({ args: [shape(r)] }),
  rowMajor: (r) => ({ args: [shape(r)] }),
  sfOffset(r, m) {
    const g = m.createSfGeometry(shape(r));
    return { args: [g, r.below(g.rows), r.below(g.kSf), r.below(g.l)], says: ['createSfGeometry'] };
  },
  sfCoordinate(r, m) {
    const g = m.createSfGeometry(shape(r));
    return { args: [g, r.below(g.allocationBytes)] };
  },
  sfOffsetTable(r, m) {
    const g = m.createSfGeometry(shape(r));
    return { args: [g, new Uint32Array(g.l * g.rows * g.kSf)], writes: ['1'] };
  },
  swizzleScales(r, m) {
    const g = m.createSfGeometry(shape(r));
    const byColumns = { row: 1, kSf: g.rows, l: g.rows * g.kSf };
    const args = [
      r.bytes(g.l * g.rows * g.kSf),
      g,
      r.bytes(g.allocationBytes + r.below(3)),
      r.pick([m.rowMajor(g), byColumns]),
    ];
    return { args: args.slice(0, r.int(2, 4)), writes: ['2'] };
  },
  unswizzleScales(r, m) {
    const g = m.createSfGeometry(shape(r));
    const byColumns = { row: 1, kSf: g.rows, l: g.rows * g.kSf };
    const args = [
      r.bytes(g.allocationBytes),
      g,
      r.bytes(g.l * g.rows * g.kSf + r.below(3)),
      r.pick([m.rowMajor(g), byColumns]),
    ];
    return { args: args.slice(0, r.int(2, 4)), writes: ['2'] };
  },
  checkSwizzled(r, m) {
    const g = m.createSfGeometry(shape(r));
    const sf = r.bytes(g.l * g.rows * g.kSf);
    return { args: [m.swizzleScales(sf, g), sf, g, m.rowMajor(g)] };
  },
  verifySwizzle(r, m) {
    const g = m.createSfGeometry({ ...shape(r), rows: 9, l: 1 });
    const options = { seed: r.below(9), unswizzle: (s, geometry) => m.unswizzleScales(s, geometry) };
    const swizzle = (s, geometry) => m.swizzleScales(s, geometry);
    return { args: [swizzle, g, options], says: ['swizzleScales'] };
  },
  paddedSfOffsets(r) {
    const { ends, layout } = ragged(r);
    return { args: [ends, r.pick([ends, new Int32Array(ends.length), undefined]), layout], writes: ['1'] };
  },
  raggedKSfOffsets(r) {
    const { ends } = ragged(r);
    return { args: [ends, r.pick([16, 32]), r.pick([ends, new Int32Array(ends.length), undefined])], writes: ['2'] };
  },
  sfCapacityRows: (r) => ({ args: [r.int(0, 99), r.int(0, 9), r.pick(LAYOUTS)] }),
  assembleScales2d3d(r) {
    const { layout, kSf, ends, rows, bytes } = ragged(r);
    const args = [r.bytes(rows * kSf), ends, { kSf, layout }, r.bytes(bytes + r.below(3)), r.ints(ends.length, 0, 9)];
    return { args: optional(r, args), writes: ['3', '4'], says: ['paddedSfOffsets'] };
  },
  disassembleScales2d3d(r) {
    const { layout, kSf, ends, rows, bytes } = ragged(r);
    const args = [r.bytes(bytes), ends, { kSf, layout }, r.bytes(rows * kSf)];
    return { args: optional(r, args), writes: ['3'], says: ['paddedSfOffsets'] };
  },
  assembleScales2d3dFixed(r, m) {
    const { layout, kSf, ends, rows } = ragged(r);
    const capacity = m.sfCapacityRows(rows, ends.length, layout) * kPad(layout, kSf);
    const args = [r.bytes(rows * kSf), ends, { rows, kSf, layout }, r.bytes(capacity), r.ints(ends.length, 0, 9)];
    return { args: optional(r, args), writes: ['3', '4'], says: ['sfCapacityRows', 'rowsPerTile'] };
  },
  assembleScales3d(r) {
    const s = { numExperts: r.int(1, 2), n: r.pick([3, 130]), kSf: r.int(1, 6), layout: r.pick(LAYOUTS) };
    const out = r.bytes(s.numExperts * up(s.n, tileOf(s.layout)) * kPad(s.layout, s.kSf));
    const args = [r.bytes(s.numExperts * s.n * s.kSf), s, out, { row: s.kSf, kSf: 1, l: s.n * s.kSf }];
    return { args: args.slice(0, r.int(2, 4)), writes: ['2'], says: ['swizzleScales', 'createSfGeometry'] };
  },
  assembleScales2d2d(r) {
    const { layout, ends } = ragged(r);
    const rows = r.int(0, 9);
    let [start, padded] = [0, 0];
    for (const end of ends) {
      padded += kPad(layout, end - start);
      start = end;
    }
    const out = r.bytes(padded * up(rows, tileOf(layout)) + r.below(3));
    const args = [r.bytes(rows * ends.at(-1)), ends, { rows, layout }, out, r.ints(ends.length, 0, 9)];
    return { args: optional(r, args), writes: ['3', '4'], says: ['rowsPerTile'] };
  },
  packedSfLength: (r) => ({ args: [packed(r)] }),
  packSfWords(r, m) {
    const s = packed(r);
    const args = [r.bytes(s.l * s.rows * s.kSf + r.below(3)), s, new Uint32Array(m.packedSfLength(s) + r.below(3))];
    return { args: args.slice(0, r.int(2, 3)), writes: ['2'] };
  },
  unpackSfWords(r, m) {
    const s = packed(r);
    const args = [new Uint32Array(m.packedSfLength(s)), s, r.bytes(s.l * s.rows * s.kSf)];
    return { args: args.slice(0, r.int(2, 3)), writes: ['2'] };
  },
};
