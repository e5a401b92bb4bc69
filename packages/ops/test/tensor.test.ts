import { describe, expect, it } from 'vitest';
import { adoptTensor, bytesOf, hostArray, HostTensor, hostTensor, type Dtype } from '../src/index';

describe('tensors on the host', () => {
  it.each<[Dtype, number, object]>([
    ['f32', 4, Float32Array],
    ['i32', 4, Int32Array],
    ['u8', 1, Uint8Array],
    ['bf16', 2, Uint16Array],
    ['e4m3', 1, Uint8Array],
  ])('%s: %i bytes an element', (dtype, bytes, array) => {
    const t = hostTensor(dtype, [2, 3]);
    expect([t.dtype, t.shape, t.length, bytesOf(dtype)]).toEqual([dtype, [2, 3], 6, bytes]);
    expect(t.data).toBeInstanceOf(array);
    expect(t.data.every((v) => v === 0)).toBe(true);
    expect(hostArray('f', 'x', t, dtype)).toBe(t.data);
  });

  it('adopt memory: bf16 for Uint16Array, u8 for Uint8Array, one axis where no shape is given', () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const t = adoptTensor(data, [2, 2]);
    expect(t.data).toBe(data);
    expect([adoptTensor(data).shape, adoptTensor(new Int32Array(1)).dtype]).toEqual([[4], 'i32']);
    expect([adoptTensor(new Uint16Array(1)).dtype, adoptTensor(new Uint8Array(1)).dtype]).toEqual(['bf16', 'u8']);
  });

  it('views share memory, and disposing of one does nothing', () => {
    const t = hostTensor('f32', [4, 2]);
    const v = t.view(1, 2);
    v.data.fill(5);
    expect(Array.from(t.data)).toEqual([0, 0, 5, 5, 5, 5, 0, 0]);
    expect([v.shape, v.length, v.view(1, 1).data[0]]).toEqual([[2, 2], 4, 5]);
    v.dispose();
    expect(v.data[0]).toBe(5);
    expect(t.view(4, 0).length).toBe(0);
    expect(() => t.view(5, 0)).toThrow('tensor.view: "from" must be an integer in [0, 4], got 5');
    expect(() => t.view(3, 2)).toThrow('tensor.view: "rows" must be an integer in [0, 1], got 2');
  });

  it('are gone after dispose', () => {
    const t = hostTensor('i32', [4, 2]);
    t.dispose();
    t[Symbol.dispose]();
    expect(() => t.data).toThrow('tensor: a i32 tensor [4, 2] has been disposed');
    expect(() => hostArray('add', 'x', t, 'i32')).toThrow('has been disposed');
  });

  it('are refused where they do not fit, by name', () => {
    const t = hostTensor('f32', [1]);
    expect(() => hostArray('add', 'x', t, 'i32')).toThrow('add: "x" must be a host tensor of i32, got a tensor of f32');
    expect(() => hostArray('add', 'x', null, 'f32')).toThrow('add: "x" must be a host tensor of f32, got null');
    expect(() => hostArray('add', 'x', new Float32Array(1), 'f32')).toThrow('got Float32Array');
    expect(() => new HostTensor('f32', [2, 2], new Float32Array(3))).toThrow('tensor: "data" must have length 2*2 = 4, got 3'); // prettier-ignore
    expect(() => hostTensor('f32', [2, -1])).toThrow('alloc: "shape[1]" must be an integer at least 0, got -1');
  });
});
