/**
 * `node scripts/release/unpublished.mjs [--registry URL]`: prints `unpublished=NAME@VERSION ...`, the packages whose version the registry
 * lacks; nothing after the sign when there is nothing to release. The form is that of a step's output in the release workflow.
 */
import { parseArgs } from 'node:util';
import { isPublished } from './publish.mjs';
import { publicPackages } from './workspace.mjs';

const { values } = parseArgs({ options: { registry: { type: 'string' } } });
const missing = publicPackages()
  .map(({ manifest }) => manifest)
  .filter(({ name, version }) => !isPublished(name, version, values))
  .map(({ name, version }) => `${name}@${version}`);
process.stdout.write(`unpublished=${missing.join(' ')}\n`);
