import { checkInteger, checkObject } from '@megamoe/core';
import type { DraftLayers } from './draft';
import { checkedMap, takeModule, type ModuleInfo } from './module-info';

/** Modules that are alike but for their layer and expert. */
export interface FormatRow {
  /** Canonical name with `*` for the layer and the expert. */
  readonly module: string;
  /** As {@link ModuleInfo.format}, with the writer's convention where there are several. */
  readonly format: string;
  readonly n: number;
  readonly k: number;
  count: number;
  /** Bytes of weights and scales. */
  bytes: number;
}

/** Bytes of a module: its part of the weight, and its part of the scales beside it. */
export function moduleBytes(module: ModuleInfo): number {
  const { n, k, weight, fused, companions } = takeModule('moduleBytes', module);
  // A fused tensor [E, rows, ...] holds many modules of the same width.
  const share = fused ? n / (fused.rows * fused.experts) : 1;
  let bytes = weight.bytes * share;
  for (const info of companions.values()) bytes += info.bytes * share;
  return k === 0 ? 0 : bytes;
}

/** What a module's format is called in tables. */
export function formatName(module: ModuleInfo): string {
  const { format, convention } = takeModule('formatName', module);
  return convention === undefined ? format : `${format} (${convention})`;
}

/** Which modules are stored how, largest first: the table of `inspect`. */
export function formatTable(modules: ReadonlyMap<string, ModuleInfo>): FormatRow[] {
  const rows = new Map<string, FormatRow>();
  for (const given of checkedMap('formatTable', 'modules', modules).values()) {
    const info = takeModule('formatTable', given);
    const module = info.name.replace(/^layers\.\d+/, 'layers.*').replace(/experts\.\d+/, 'experts.*');
    const format = formatName(info);
    const key = `${module} ${format} ${info.n} ${info.k}`;
    let row = rows.get(key);
    if (!row) rows.set(key, (row = { module, format, n: info.n, k: info.k, count: 0, bytes: 0 }));
    row.count++;
    row.bytes += moduleBytes(info);
  }
  return [...rows.values()].sort((a, b) => b.bytes - a.bytes);
}

/**
 * The same in one line, as a load reports it: `routed experts 288 nvfp4 (modelopt); shared experts 18 fp8; ...; draft layer (mtp) skipped`.
 * @param draft layers beside the model's own, which a load leaves out
 */
export function formatSummary(modules: ReadonlyMap<string, ModuleInfo>, draft?: Pick<DraftLayers, 'layers'>): string {
  const parts = new Map<string, Map<string, number>>();
  for (const given of checkedMap('formatSummary', 'modules', modules).values()) {
    const info = takeModule('formatSummary', given);
    const part = /\.ffn\.experts\./.test(info.name)
      ? 'routed experts'
      : /\.shared_experts\./.test(info.name)
        ? 'shared experts'
        : /\.attn\./.test(info.name)
          ? 'attention'
          : 'others';
    const counts = parts.get(part) ?? new Map<string, number>();
    parts.set(part, counts);
    const format = formatName(info);
    counts.set(format, (counts.get(format) ?? 0) + 1);
  }
  const texts = ['routed experts', 'shared experts', 'attention', 'others'].flatMap((part) => {
    const counts = parts.get(part);
    return counts ? [`${part} ${[...counts].map(([format, count]) => `${count} ${format}`).join(', ')}`] : [];
  });
  if (draft !== undefined) checkObject('formatSummary', 'draft', draft);
  const drafts = draft?.layers ?? 0;
  checkInteger('formatSummary', 'draft.layers', drafts, 0);
  if (drafts > 0) texts.push(`${drafts === 1 ? 'draft layer' : `${drafts} draft layers`} (mtp) skipped`);
  return texts.join('; ');
}
