/** Most residual streams that the hyper-connection kernels take; DeepSeek-V4 has 4. */
export const MAX_HC = 16;

/** Most threads that can be asked for; the pool starts no more. */
export const MAX_THREADS = 256;
