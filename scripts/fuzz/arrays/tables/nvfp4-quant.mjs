/** Valid calls of nvfp4-quant. */
const shape = (r, of) => ({ m: r.int(0, 3), k: of * r.int(1, 2) });
const scale = (r) => r.pick([1, 0.5, 2 ** -7, 3.3]);
const count = ({ m, k }, per) => (m * k) / per;
const some = (r, required, args) => args.slice(0, r.pick([required, args.length, args.length]));

const number = (values) => (r) => ({ args: [r.pick(values)] });
const quantize = (key) => (r) => {
  const s = shape(r, 16);
  const args = [
    r.floats(count(s, 1)),
    { ...s, [key]: scale(r) },
    r.bytes(count(s, 2) + r.below(2)),
    r.bytes(count(s, 16)),
  ];
  return { args: some(r, 2, args), writes: ['2', '3'] };
};
const dequantize = (key) => (r) => {
  const s = shape(r, 16);
  const args = [
    r.bytes(count(s, 2)),
    r.scales(count(s, 16)),
    { ...s, [key]: scale(r) },
    r.floats(count(s, 1) + r.below(2)),
  ];
  return { args: some(r, 3, args), writes: ['3'] };
};

export const calls = {
  amaxOf: (r) => ({ args: some(r, 1, [r.floats(8), r.int(0, 8)]) }),
  compressedTensorsGlobalScale: number([0, 1, 448]),
  gemmAlpha: (r) => ({ args: [scale(r), scale(r)] }),
  globalDecodeScale: number([1, 0.5]),
  globalDecodeScaleFromAmax: number([0, 1, 3e38]),
  globalEncodeScale: number([1, 2]),
  likelyDirection: number([1, 1e-3, 100]),
  toGlobalDecodeScale: number([1, 100]),
  toGlobalEncodeScale: number([1, 0.01]),
  quantizeNvfp4: quantize('globalDecodeScale'),
  dequantizeNvfp4: dequantize('globalDecodeScale'),
  quantizeCompressedTensors: quantize('globalEncodeScale'),
  dequantizeCompressedTensors: dequantize('globalEncodeScale'),
  packNibbles(r) {
    const s = shape(r, 2);
    return { args: some(r, 2, [r.bytes(count(s, 1), 16), s, r.bytes(count(s, 2))]), writes: ['2'] };
  },
  unpackNibbles(r) {
    const s = shape(r, 2);
    return { args: some(r, 2, [r.bytes(count(s, 2)), s, r.bytes(count(s, 1))]), writes: ['2'] };
  },
  reorderNibbles(r) {
    const s = shape(r, 16);
    const codes = r.bytes(count(s, 2));
    const order = () => r.pick(['low-first', 'high-first', 'half-split']);
    return {
      args: some(r, 2, [codes, { ...s, from: order(), to: order() }, r.pick([codes, r.bytes(codes.length)])]),
      writes: ['2'],
    };
  },
  packGguf(r) {
    const s = shape(r, 64);
    const args = [r.bytes(count(s, 2)), r.scales(count(s, 16)), s, r.bytes((count(s, 1) / 64) * 36)];
    return { args: some(r, 3, args), writes: ['3'] };
  },
  unpackGguf(r, m) {
    const s = shape(r, 64);
    const blocks = m.packGguf(r.bytes(count(s, 2)), r.scales(count(s, 16)), s);
    return { args: some(r, 2, [blocks, s, r.bytes(count(s, 2)), r.bytes(count(s, 16))]), writes: ['2', '3'] };
  },
  castMxfp4ToNvfp4(r) {
    const s = { ...shape(r, 32), ...(r.flag() && { maxExponent: r.int(-5, 9) }) };
    const args = [r.bytes(count(s, 2)), r.bytes(count(s, 32), 255), s, r.bytes(count(s, 2)), r.bytes(count(s, 16))];
    return { args: some(r, 3, args), writes: ['3', '4'] };
  },
  dequantizeMxfp4(r) {
    const s = shape(r, 32);
    const args = [r.bytes(count(s, 2)), r.bytes(count(s, 32), 255), s, r.floats(count(s, 1))];
    return { args: some(r, 3, args), writes: ['3'] };
  },
  mxfp4MaxExponent: (r) => ({ args: [r.bytes(4, 255), r.bytes(2, 255)].slice(0, r.int(0, 2)) }),
  quantizationError: (r) => ({ args: [r.floats(9), r.floats(9)] }),
  saturationStatistics(r) {
    const s = shape(r, 16);
    return { args: [r.bytes(count(s, 2)), r.bytes(count(s, 16)), s] };
  },
};
