/** Texts of the tokens that mark turns, reasoning and tool calls (docs/formats.md B1). */
export const CHAT_TOKENS = {
  bos: '<｜begin▁of▁sentence｜>',
  eos: '<｜end▁of▁sentence｜>',
  user: '<｜User｜>',
  assistant: '<｜Assistant｜>',
  think: '<think>',
  endThink: '</think>',
  dsml: '｜DSML｜',
  latestReminder: '<｜latest_reminder｜>',
} as const;

/** Tokens of DeepSeek's own small tasks, by the name that a message's `task` gives. */
export const TASK_TOKENS: ReadonlyMap<string, string> = new Map([
  ['action', '<｜action｜>'],
  ['query', '<｜query｜>'],
  ['authority', '<｜authority｜>'],
  ['domain', '<｜domain｜>'],
  ['title', '<｜title｜>'],
  ['read_url', '<｜read_url｜>'],
]);

/**
 * Special tokens that an {@link OutputParser} must see in the text: who decodes for it leaves out the other special tokens, not these.
 */
export const OUTPUT_MARKERS: readonly string[] = [CHAT_TOKENS.think, CHAT_TOKENS.endThink, CHAT_TOKENS.dsml];

/** The block around tool calls. */
export const CALLS_BLOCK = 'tool_calls';

/** Finds every marker in wording that the checkpoint brings; a group, so that splitting keeps them. */
export const ANY_MARKER = new RegExp(
  `(${[...Object.values(CHAT_TOKENS), ...TASK_TOKENS.values()].map((t) => t.replace(/[|/]/g, '\\$&')).join('|')})`,
);
