/** Asks a server for /health every 50 ms, in a thread of its own: what is measured is the server, not who else this process listens to. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';

const times = [];
let done = false;
parentPort.once('message', () => (done = true));
while (!done) {
  const started = performance.now();
  await (await fetch(`${workerData}/health`)).text();
  times.push(performance.now() - started);
  await sleep(50);
}
parentPort.postMessage(times);
