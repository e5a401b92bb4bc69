export { explainIsa } from './explain-isa';
export { loadAddon, platformPackage } from './load-addon';
export type { AddonBase, AddonInfo, AddonResult, LoadAddonOptions } from './load-addon';
