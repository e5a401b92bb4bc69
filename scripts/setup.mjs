/** `node scripts/setup.mjs`: installs and builds what is missing or stale, packages and addons; runs nothing. */
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

ensureInstalled();
ensureBuilt();
