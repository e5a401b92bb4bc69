export { readJson, tryReadJson, writeJson, JsonNumber } from './json';
export type { JsonObject, JsonValue, ReadJsonOptions, WriteJsonOptions } from './json';
export { CHAT_TOKENS, OUTPUT_MARKERS, TASK_TOKENS } from './markers';
export { ENCODING_FILE, MAX_ENCODING_BYTES, parseEncoding, readEncoding } from './encoding';
export type { Contract, Effort, Encoding, EncodingOptions } from './encoding';
export type { TemplatePart } from './python-format';
export { encodeConversation } from './encode';
export type { EncodedConversation, EncodeOptions, Stage } from './encode';
export type {
  ConversationRequest,
  Message,
  PromptTokenizer,
  Role,
  TextPart,
  Tool,
  ToolCall,
  ToolChoice,
} from './types';
export { OutputParser } from './output/parser';
export type { OutputParserOptions } from './output/parser';
export type { OutputEvent, OutputFinish, ParsedCall, ParsedOutput } from './output/events';
export { AnswerMemory } from './memory';
export type { AnswerMemoryOptions, RecalledAnswer, RememberedAnswer, VisibleAnswer } from './memory';
