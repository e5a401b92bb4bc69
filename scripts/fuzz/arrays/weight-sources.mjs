/** Weights as callers give them, for the tables of packages that take them. */

/** Rows of a weight, `n` of `k`. */
const rowsOf = (r, format, n, k) =>
  ({
    f32: () => ({ data: r.floats(n * k) }),
    bf16: () => ({ data: r.halves(n * k) }),
    fp8: () => ({ codes: r.scales(n * k), scales: r.floats(n * Math.ceil(k / 128)).map(Math.abs) }),
    nvfp4: () => ({ codes: r.bytes((n * k) / 2), sf: r.scales((n * k) / 16) }),
  })[format]();

/** A source of a dense weight: its rows at once, or by a function. */
export function linearSource(r, dtype = r.pick(['f32', 'bf16', 'fp8', 'nvfp4']), groups = r.pick([1, 2])) {
  const [n, k] = [2 * r.int(1, 2), dtype === 'nvfp4' ? 16 * r.int(1, 2) : r.pick([3, 16])];
  const isDense = dtype === 'f32' || dtype === 'bf16';
  const all = rowsOf(r, dtype, n * groups, k);
  const whole = isDense ? all.data : all;
  const per = { codes: dtype === 'fp8' ? k : k / 2, sf: k / 16, scales: Math.ceil(k / 128), data: k };
  const cut = (v, key, row0, rows) => v.subarray(row0 * per[key], (row0 + rows) * per[key]);
  const data = isDense
    ? (row0, rows) => cut(whole, 'data', row0, rows)
    : (row0, rows) => Object.fromEntries(Object.entries(all).map(([key, v]) => [key, cut(v, key, row0, rows)]));
  return {
    ...{ n, k, groups, dtype, data: r.flag() ? whole : data, name: 'a.weight' },
    ...(dtype === 'nvfp4' && { parts: 1, weightGlobalDecodeScale: Float32Array.of(0.5) }),
    ...(dtype === 'nvfp4' && { inputGlobalDecodeScale: r.pick([0.5, 'row']) }),
  };
}

/** A source of expert weights. */
export function expertsSource(r, format = r.pick(['f32', 'bf16', 'nvfp4'])) {
  const [numExperts, parts, k] = [r.int(1, 3), r.pick([1, 2]), format === 'nvfp4' ? 16 * r.int(1, 2) : r.pick([3, 16])];
  const n = parts * r.int(1, 3);
  const rows = Array.from({ length: numExperts * parts }, () => rowsOf(r, format, n / parts, k));
  return { numExperts, n, k, parts, format, read: (expert, part) => rows[expert * parts + part] };
}
