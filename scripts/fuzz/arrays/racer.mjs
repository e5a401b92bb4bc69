/** A second thread that rewrites shared memory, forth and back, for as long as the first asks it to. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';

const ROOM = 1 << 16;
const [STATE, END, IDLE] = [0, 1, 2];
const HOSTILE = [-1, 2 ** 31 - 1, -(2 ** 31), 0x7f800001, 1 << 24, 3];

/** The thread, and what is shared with it. */
export function startRacer() {
  const memory = new SharedArrayBuffer(ROOM);
  const control = new Int32Array(new SharedArrayBuffer(16));
  control[IDLE] = 1;
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { memory, control } });
  worker.unref();
  return {
    memory,
    room: ROOM,
    start(end) {
      control[END] = end;
      control[IDLE] = 0;
      Atomics.store(control, STATE, 1);
      Atomics.notify(control, STATE);
    },
    stop() {
      Atomics.store(control, STATE, 0);
      Atomics.wait(control, IDLE, 0, 5000);
    },
  };
}

if (!isMainThread && workerData?.control) {
  const { memory, control } = workerData;
  const words = new Int32Array(memory);
  for (let turn = 0; ; turn++) {
    Atomics.wait(control, STATE, 0);
    const n = control[END] >> 2;
    const was = words.slice(0, n);
    while (Atomics.load(control, STATE) === 1) {
      const value = HOSTILE[turn++ % HOSTILE.length];
      for (let i = 0; i < n; i++) words[i] = value;
      for (let i = 0; i < n; i++) words[i] = was[i];
    }
    Atomics.store(control, IDLE, 1);
    Atomics.notify(control, IDLE);
  }
}
