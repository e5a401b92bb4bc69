# Scale swizzling: a library of its own, the same on every instruction set.
megamoe_kernels(gemm-swizzle SOURCES "${CMAKE_CURRENT_LIST_DIR}/swizzle.cc")
