/** A device that has no more memory at any point of a load: the error comes through, and nothing is held on the device afterwards. */
import { overlaid, type Backend } from '@megamoe/ops';
import { repositoryFile } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { createBackend, loadModel } from '../src/index';

const MICRO = repositoryFile('models/micro-flash');

/** A backend whose things are only counted, and of which `room` can be made. */
function counting(room: number): { readonly backend: Backend; made: number; readonly held: Set<object> } {
  const at = { made: 0, held: new Set<object>() };
  const make = <T>(fields: object = {}): T => {
    if (at.made >= room) throw new Error('no memory left on the GPU');
    at.made++;
    const thing = { ...fields, bytes: 1, dispose: () => void at.held.delete(thing) };
    at.held.add(thing);
    return thing as T;
  };
  const backend = overlaid(createBackend({ backend: 'js' }), {
    alloc: () => make(),
    tensor: () => make(),
    packLinear: ({ name }) => make({ name }),
    packExperts: ({ name, format, numExperts, parts, read }) => {
      for (let e = 0; e < numExperts; e++) for (let p = 0; p < (parts ?? 1); p++) read(e, p);
      return make({ name, format });
    },
    packCompressor: () => make({ kind: 'compressor' }),
    createRope: () => make({ ropeDim: 2 }),
    createStaged: () => make(),
    createStep: () => make(),
    createCache: () => make({ grow: () => undefined, copyPage: () => undefined }),
    createReadMemory: () => make({ take: (n: number) => new Uint8Array(n), rewind: () => undefined }),
  });
  return Object.assign(at, { backend });
}

it('wherever memory ends, all of it is given back', async () => {
  const whole = counting(Infinity);
  const m = await loadModel(MICRO, { backend: whole.backend });
  expect(whole.held.size).toBe(whole.made - 1); // but for what files were read into
  m.dispose();
  expect(whole.held.size).toBe(0);
  expect(whole.made).toBeGreaterThan(150);
  // Every kind of thing fails at least once: the first, some weights, and each buffer of a step, cache and table at the end.
  const rooms = [0, 1, 2, ...Array.from({ length: 4 }, (_, i) => 30 * (i + 1))];
  for (let room = whole.made - 40; room < whole.made; room++) rooms.push(room);
  for (const room of rooms) {
    const { backend, held } = counting(room);
    await expect(loadModel(MICRO, { backend }), `${room}`).rejects.toThrow('no memory left on the GPU');
    expect(held.size, `after ${room} of ${whole.made}`).toBe(0);
  }
});
