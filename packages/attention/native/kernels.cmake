# The kernels without N-API, for the addon and for the C++ tests. Each instruction set has its own folder, file and flags, and its
# table in dispatch.cc; everything else is compiled for any machine.
if(NOT TARGET attention-kernels)
  set(here "${CMAKE_CURRENT_LIST_DIR}")
  set(sources
    "${here}/kernels/generic/kernels.cc"
    "${here}/dispatch.cc"
    "${here}/ops.cc")
  set(x86 OFF)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(x86 ON)
    list(APPEND sources "${here}/kernels/avx2/kernels.cc" "${here}/kernels/avx512/kernels.cc")
    if(MSVC)
      set(avx2_flags "/arch:AVX2")
      set(avx512_flags "/arch:AVX512")
    else()
      set(avx2_flags "-mavx2 -mfma -mpopcnt")
      set(avx512_flags "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mpopcnt -mprefer-vector-width=512")
      if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        # GCC 12 warns about the undefined vectors in its own headers.
        string(APPEND avx512_flags " -Wno-maybe-uninitialized")
      endif()
    endif()
    set_source_files_properties("${here}/kernels/avx2/kernels.cc" PROPERTIES COMPILE_FLAGS "${avx2_flags}")
    set_source_files_properties("${here}/kernels/avx512/kernels.cc" PROPERTIES COMPILE_FLAGS "${avx512_flags}")
  endif()
  megamoe_kernels(attention-kernels SOURCES ${sources})
  if(x86)
    target_compile_definitions(attention-kernels PRIVATE MEGAMOE_ATTENTION_X86)
  endif()
endif()
