/** A piece of a template: text, or the name of a field. */
export type TemplatePart = { readonly text: string } | { readonly field: string };

/**
 * Splits a template of Python's `str.format` into text and named fields; a doubled brace is one brace.
 * @returns undefined where it is no template of plain named fields
 */
export function parseTemplate(template: string): TemplatePart[] | undefined {
  const parts: TemplatePart[] = [];
  let text = '';
  for (let i = 0; i < template.length; i++) {
    const c = template[i]!;
    if (c !== '{' && c !== '}') {
      text += c;
      continue;
    }
    if (template[i + 1] === c) {
      text += c;
      i++;
      continue;
    }
    const name = c === '{' ? /^[A-Za-z_][A-Za-z0-9_]*(?=\})/.exec(template.slice(i + 1, i + 65))?.[0] : undefined;
    if (name === undefined) return undefined;
    if (text !== '') parts.push({ text });
    parts.push({ field: name });
    text = '';
    i += name.length + 1;
  }
  if (text !== '') parts.push({ text });
  return parts;
}

/** The names of a template's fields. */
export function fieldsOf(parts: readonly TemplatePart[]): Set<string> {
  return new Set(parts.flatMap((part) => ('field' in part ? [part.field] : [])));
}
