export { explainIsa } from './explain-isa';
export { loadAddon, platformPackage } from './load-addon';
export type { AddonBase, AddonInfo, AddonResult, LoadAddonOptions } from './load-addon';
export { chooseKernels, KERNEL_ISAS, MAX_THREADS } from './kernel-options';
export type { ChosenKernels, KernelAddon, KernelBackend, KernelIsa, KernelOptions } from './kernel-options';
