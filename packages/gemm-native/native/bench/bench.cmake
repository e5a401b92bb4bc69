# Benchmarks of the kernels alone: configure native/test with -DMEGAMOE_BENCH=ON.
option(MEGAMOE_BENCH "Build the benchmarks of the kernels" OFF)
if(MEGAMOE_BENCH)
  foreach(name nvfp4 dense)
    add_executable(${name}_bench ${CMAKE_CURRENT_LIST_DIR}/${name}_bench.cc)
    megamoe_compile_options(${name}_bench)
    target_link_libraries(${name}_bench PRIVATE gemm-kernels gemm-ceilings)
  endforeach()
endif()
