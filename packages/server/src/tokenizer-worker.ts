/** What runs in the thread that turns long texts into tokens and back. */
import { loadTokenizer } from '@megamoe/checkpoint';
import { parentPort, workerData } from 'node:worker_threads';
import { answerOrder, type TokenizerOrder, type TokenizerReport } from './tokens/orders';

const port = parentPort!;
const send = (report: TokenizerReport): void => port.postMessage(report);
const tokenizer = loadTokenizer((workerData as { readonly directory: string }).directory);

port.on('message', (order: TokenizerOrder) => {
  try {
    send({ result: answerOrder(tokenizer, order) });
  } catch (error) {
    const { message, code } = error as Error & { readonly code?: string };
    send({ error: { message, code } });
  }
});
send({ ready: true });
