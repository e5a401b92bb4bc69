import { expect } from 'vitest';

const VOID = new Set(['meta', 'br', 'hr', 'img', 'link', 'input', 'wbr']);

/** Throws unless every tag is closed in order and every attribute quoted. */
export function expectWellFormed(text: string): void {
  const open: string[] = [];
  const body = text.replace(/<!doctype html>/, '').replace(/<style>[^<]*<\/style>/g, '');
  for (const [tag, slash, name, attributes, selfClosing] of body.matchAll(
    /<(\/?)([a-zA-Z][\w-]*)((?:[^>"]|"[^"]*")*?)(\/?)>/g,
  )) {
    expect(attributes, tag).toMatch(/^(\s+[\w:-]+="[^"<]*")*\s*$/);
    if (slash) expect(open.pop(), tag).toBe(name);
    else if (!selfClosing && !VOID.has(name!)) open.push(name!);
  }
  expect(open).toEqual([]);
  expect(body.replace(/<\/?[a-zA-Z](?:[^>"]|"[^"]*")*>/g, '')).not.toMatch(/[<>]/);
  expect(body).not.toMatch(/&(?!(amp|lt|gt|quot|#39);)/);
  expect(body).not.toMatch(/undefined|\[object/);
  for (const [number] of body.matchAll(/ (x|y|cx|cy|d|width|height|x1|y1)="[^"]*"/g))
    expect(number).not.toContain('NaN');
}

/** Throws unless a page is whole, needs no network and no script, and has colours for light and dark and a width for phones. */
export function expectOfflinePage(page: string): void {
  expectWellFormed(page);
  expect(page).toMatch(/^<!doctype html>\n<html lang="en">/);
  expect(page).not.toMatch(/https?:|\/\/[\w.]+\//); // inline SVG needs no namespace
  expect(page).not.toMatch(/<(script|link|iframe|img|object|embed)\b|url\(|@import|\son\w+=/i);
  expect(page).toContain("default-src 'none'");
  expect(page).toContain('color-scheme:light dark');
  expect(page).toContain('@media (prefers-color-scheme:dark)');
  expect(page).toContain('name="viewport" content="width=device-width, initial-scale=1"');
  for (const heading of page.matchAll(/<h2>(.*?)<\/h2>/g)) expect(heading[1]).not.toBe('');
  // Every colour that is used is defined for both schemes.
  const [light, dark] = [/:root\{color-scheme[^}]*\}/, /dark\)\{:root\{([^}]*)\}/].map((r) => r.exec(page)?.[0] ?? '');
  for (const [, name] of page.matchAll(/var\((--[\w-]+)\)/g)) {
    expect(light, name).toContain(`${name}:`);
    expect(dark, name).toContain(`${name}:`);
  }
}
