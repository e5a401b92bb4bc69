import { OutputParser, type OutputEvent } from '@megamoe/chat';

/** Reasoning and answer of a piece of output. */
export interface SplitText {
  readonly reasoning: string;
  readonly text: string;
}

const join = (events: readonly OutputEvent[], type: 'reasoning' | 'content'): string =>
  events.reduce((all, event) => (event.type === type ? all + event.text : all), '');

const split = (events: readonly OutputEvent[]): SplitText => ({
  reasoning: join(events, 'reasoning'),
  text: join(events, 'content'),
});

/** Parts reasoning that a prompt has begun from the answer after it, by the rules of the server (docs/formats.md B4). */
export class ReasoningSplitter {
  readonly #parser = new OutputParser({ stage: 'thinking' });

  /** What a piece of output, with `</think>` in it, adds to either. */
  push(output: string): SplitText {
    return split(this.#parser.push(output));
  }

  /** What was held back, with the last piece. */
  end(output: string): SplitText {
    return split([...this.#parser.push(output), ...this.#parser.end()]);
  }
}
