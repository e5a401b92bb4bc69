# Library cuda-kernels: kernels and the device, free of Node. The CUDA runtime comes along, so that what links this runs (and says what
# is missing) on a machine without the toolkit or a driver.
set(here "${CMAKE_CURRENT_LIST_DIR}")
add_library(cuda-kernels STATIC
  ${here}/attend.cu ${here}/compress.cu ${here}/hyper.cu ${here}/index_select.cu ${here}/jobs.cu ${here}/linear.cu ${here}/rope.cu
  ${here}/route.cu ${here}/rows.cu ${here}/stage.cu ${here}/packed.cu ${here}/w4a4_plain.cu ${here}/w4a4_tiles.cu ${here}/../device/device.cc
  ${here}/../device/limits.cu ${here}/../device/probe.cu ${here}/../device/read_file.cc)
option(MEGAMOE_PLANT "Mistakes that the environment can switch on (plant.h): for tests, never for what is shipped" OFF)
if(MEGAMOE_PLANT)
  target_sources(cuda-kernels PRIVATE ${here}/plant.cc)
  target_compile_definitions(cuda-kernels PUBLIC MEGAMOE_PLANT)
endif()
option(MEGAMOE_LINE_INFO "Lines of the sources in the kernels, for profilers and sanitizers: more than doubles the addon" OFF)
target_compile_features(cuda-kernels PUBLIC cxx_std_17 cuda_std_17)
target_include_directories(cuda-kernels PRIVATE "${MEGAMOE_NATIVE_KIT_DIR}/include")
set_target_properties(cuda-kernels PROPERTIES CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
find_package(CUDAToolkit REQUIRED)
target_link_libraries(cuda-kernels PUBLIC CUDA::cudart_static Threads::Threads ${CMAKE_DL_LIBS})
# Bits are promised: a * b + c rounds twice unless it is written as fmaf.
target_compile_options(cuda-kernels PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-O3 -fmad=false --expt-relaxed-constexpr -Xfatbin=-compress-all -Xcompiler=-Wall,-Wextra>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${MEGAMOE_LINE_INFO}>>:-lineinfo>
  $<$<COMPILE_LANGUAGE:CXX>:-O3 -Wall -Wextra>)
