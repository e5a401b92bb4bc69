import { checkOneOf, KindError, UnsupportedError, ValueError } from '@megamoe/core';
import type { Contract, Effort, Encoding } from './encoding';
import { field, hasField, kindOf, optionalFlag, optionalText } from './fields';

/** Names of efforts and the tier of each, DeepSeek's own table (docs/formats.md B3); none switches thinking off. */
const TIERS: ReadonlyMap<string, Effort | 'none'> = new Map([
  ['none', 'none'],
  ['minimal', 'low'],
  ['low', 'low'],
  ['medium', 'high'],
  ['high', 'high'],
  ['xhigh', 'high'],
  ['max', 'max'],
  ['ultra', 'max'],
]);

/** What a request means by its switches. */
export interface Thinking {
  readonly thinking: boolean;
  /** The tier in force; null when the model does not think. */
  readonly effort: Effort | null;
  /** What the tier puts before the conversation. */
  readonly effortText: string;
}

const FN = 'encodeConversation';

/** The first switch that says yes or no, by precedence. */
function explicitThinking(request: unknown): boolean | undefined {
  const kwargs = field(request, 'chat_template_kwargs');
  const thinking = field(request, 'thinking');
  if (typeof thinking === 'boolean') return thinking;
  if (thinking !== undefined && thinking !== null) {
    const type = field(thinking, 'type');
    if (typeof type !== 'string') {
      throw new KindError(`${FN}: "thinking" must be true, false or an object with a type, got ${kindOf(thinking)}`);
    }
    checkOneOf(FN, 'thinking.type', type, ['enabled', 'disabled', 'adaptive', 'auto']);
    return type !== 'disabled';
  }
  const think = field(request, 'think');
  if (typeof think === 'string') return tierOf('think', think) !== 'none';
  return (
    optionalFlag(FN, 'think', think) ??
    optionalFlag(FN, 'enable_thinking', field(request, 'enable_thinking')) ??
    optionalFlag(FN, 'reasoning.enabled', field(field(request, 'reasoning'), 'enabled')) ??
    optionalFlag(FN, 'chat_template_kwargs.thinking', field(kwargs, 'thinking')) ??
    optionalFlag(FN, 'chat_template_kwargs.enable_thinking', field(kwargs, 'enable_thinking'))
  );
}

function tierOf(where: string, name: string): Effort | 'none' {
  const tier = TIERS.get(name);
  if (tier === undefined) {
    throw new ValueError(`${FN}: "${where}" must be one of ${[...TIERS.keys()].join(', ')}, got ${name}`);
  }
  return tier;
}

/** The first effort that is given, by precedence. */
function askedEffort(request: unknown): Effort | 'none' | undefined {
  const places: [string, unknown][] = [
    ['reasoning_effort', field(request, 'reasoning_effort')],
    ['output_config.effort', field(field(request, 'output_config'), 'effort')],
    ['reasoning.effort', field(field(request, 'reasoning'), 'effort')],
    ['chat_template_kwargs.reasoning_effort', field(field(request, 'chat_template_kwargs'), 'reasoning_effort')],
    ['think', typeof field(request, 'think') === 'string' ? field(request, 'think') : undefined],
  ];
  for (const [where, value] of places) {
    const name = optionalText(FN, where, value);
    if (name !== undefined) return tierOf(where, name);
  }
  return undefined;
}

/** The encoder's own terms, which know less: what DeepSeek's file asserts is asserted here, in chat mode too. */
function encoderEffort(contract: Contract | undefined, value: unknown): Effort | null {
  if (value === undefined || value === null) return null;
  const known: readonly Effort[] = contract === 'preview' ? ['high', 'max'] : ['low', 'high', 'max'];
  if ((known as readonly unknown[]).includes(value)) return value as Effort;
  throw new ValueError(
    `${FN}: "effort" must be one of ${known.join(', ')} or null for the ${contract ?? 'official'} encoder, got ${typeof value === 'string' ? value : kindOf(value)}`,
  );
}

/**
 * Whether the model thinks, and how hard. An explicit switch wins over an effort; effort none switches thinking off, any other on; by
 * default it thinks, with effort high (low where there is no wording for more).
 * @param contract in force; undefined without an encoder file
 */
export function resolveThinking(request: unknown, encoding: Encoding | undefined, byDefault: boolean): Thinking {
  const contract = encoding?.contract;
  const mode = field(request, 'thinking_mode');
  if (mode !== undefined) {
    checkOneOf(FN, 'thinking_mode', mode, ['chat', 'thinking']);
    const given = hasField(request, 'effort') ? field(request, 'effort') : field(request, 'reasoning_effort');
    const effort = encoderEffort(contract, given);
    return mode === 'chat' ? off : on(encoding, effort ?? 'low', effort !== null);
  }
  const own = hasField(request, 'effort');
  const asked = own ? encoderEffort(contract, field(request, 'effort')) : askedEffort(request);
  const thinking = explicitThinking(request) ?? (own || asked === undefined ? byDefault : asked !== 'none');
  if (!thinking) return off;
  if (own) return on(encoding, (asked as Effort | null) ?? 'low', asked !== null);
  if (asked === undefined || asked === 'none' || asked === null) return on(encoding, encoding ? 'high' : 'low', false);
  return on(encoding, asked, true);
}

const off: Thinking = { thinking: false, effort: null, effortText: '' };

function on(encoding: Encoding | undefined, effort: Effort, asked: boolean): Thinking {
  if (!encoding && asked && effort !== 'low') {
    throw new UnsupportedError(
      `${FN}: effort ${effort} needs the wording of the checkpoint's encoding/encoding_dsv4.py, which this checkpoint has not; give an encoder file, or effort low`,
    );
  }
  return { thinking: true, effort, effortText: encoding?.effortText[effort] ?? '' };
}
