/** Valid calls of native-kit. What looks for addons finds none: their names are nobody's. */
export const calls = {
  chooseKernels: (r, m) => ({
    args: [
      { backend: r.pick(['js', 'auto']), threads: 2 },
      () => ({ info: { name: 'none', loaded: false, reason: 'is not there' } }),
    ],
    f: (options, find) => m.chooseKernels('f', options, find),
    says: [''],
    anyObject: true,
  }),
  explainIsa: () => ({ args: [{ name: 'none', loaded: true, reason: 'r', isa: 'avx2', cpuFeatures: ['avx2'] }] }),
  loadAddon: () => ({ args: [{ packageUrl: import.meta.url, packageName: 'no-such-package', name: 'none' }] }),
  platformPackage: () => ({ args: ['@megamoe/x', 'linux', 'x64'] }),
};
