/** Valid calls of cuda. Where no GPU is, a backend cannot be made, and that is what it says. */
export const calls = {
  createCudaBackend: (r) => ({
    args: [{ device: 0, gpuMath: r.pick(['exact', 'fast']), logitsScan: null }],
    mayThrow: (error) => error.code === 'ERR_UNSUPPORTED' || error.code === 'ERR_DEVICE',
    mayRefuse: true,
    says: ['createCudaBackend'],
    anyObject: true,
  }),
  cudaAddonInfo: () => ({ args: [] }),
  cudaReport: () => ({ args: [] }),
  DeviceError: () => ({ args: ['words', 'memory'], mayThrow: () => true, mayRefuse: true, anyObject: true }),
};
