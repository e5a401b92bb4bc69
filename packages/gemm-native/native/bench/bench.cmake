# Benchmarks of the kernels alone: configure native/test with -DMEGAMOE_BENCH=ON.
option(MEGAMOE_BENCH "Build the benchmarks of the kernels" OFF)
if(MEGAMOE_BENCH)
  add_executable(nvfp4_bench ${CMAKE_CURRENT_LIST_DIR}/nvfp4_bench.cc)
  megamoe_compile_options(nvfp4_bench)
  target_link_libraries(nvfp4_bench PRIVATE gemm-kernels gemm-ceilings)
endif()
