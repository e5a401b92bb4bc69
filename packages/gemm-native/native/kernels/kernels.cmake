# The kernels, for the addon and for the C++ tests. One folder per instruction set, each with its own flags; whatever decides what may
# run (dispatch.cc, the tables) is compiled without them.
set(MEGAMOE_GEMM_KERNELS ${CMAKE_CURRENT_LIST_DIR})

# Sources of the instruction set `isa` from its folder, compiled with `flags`; adds them to the caller's MEGAMOE_GEMM_SOURCES.
function(megamoe_isa_sources isa flags)
  set(files ${ARGN})
  list(TRANSFORM files PREPEND ${MEGAMOE_GEMM_KERNELS}/${isa}/)
  if(files AND flags)
    set_source_files_properties(${files} PROPERTIES COMPILE_OPTIONS "${flags}")
  endif()
  set(MEGAMOE_GEMM_SOURCES ${MEGAMOE_GEMM_SOURCES} ${MEGAMOE_GEMM_KERNELS}/${isa}/table.cc ${files} PARENT_SCOPE)
endfunction()

set(MEGAMOE_GEMM_SOURCES
  ${MEGAMOE_GEMM_KERNELS}/dispatch.cc
  ${MEGAMOE_GEMM_KERNELS}/huge_pages.cc
  ${MEGAMOE_GEMM_KERNELS}/hyper_token.cc
  ${MEGAMOE_GEMM_KERNELS}/parallel.cc
  ${MEGAMOE_GEMM_KERNELS}/rounded.cc
  ${MEGAMOE_GEMM_KERNELS}/weight.cc
  ${MEGAMOE_GEMM_KERNELS}/nvfp4/grouped.cc
  ${MEGAMOE_GEMM_KERNELS}/nvfp4/linear.cc
  ${MEGAMOE_GEMM_KERNELS}/nvfp4/loss.cc
  ${MEGAMOE_GEMM_KERNELS}/nvfp4/stage.cc)
megamoe_isa_sources(generic "" linear.cc grouped.cc w4a4.cc w4a16.cc bf16.cc stage.cc rows.cc hyper_connections.cc scan.cc)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(MEGAMOE_GEMM_X86 1)
  if(MSVC)
    set(MEGAMOE_AVX2_FLAGS /arch:AVX2)
    set(MEGAMOE_AVX512_FLAGS /arch:AVX512)
  else()
    set(MEGAMOE_AVX2_FLAGS -mavx2 -mfma -mf16c)
    set(MEGAMOE_AVX512_FLAGS ${MEGAMOE_AVX2_FLAGS}
      -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi -mavx512bf16)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12 warns of its own intrinsics (_mm512_undefined_ps), GCC bug 105593.
      list(APPEND MEGAMOE_AVX512_FLAGS -Wno-uninitialized -Wno-maybe-uninitialized)
    endif()
  endif()
  megamoe_isa_sources(avx2 "${MEGAMOE_AVX2_FLAGS}" w4a4.cc w4a16.cc bf16.cc stage.cc linear.cc rows.cc hyper_connections.cc scan.cc)
  megamoe_isa_sources(avx512 "${MEGAMOE_AVX512_FLAGS}" linear.cc rows.cc hyper_connections.cc scan.cc w4a4.cc w4a4_table.cc w4a16.cc bf16.cc stage.cc)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$" AND NOT MSVC)
  set(MEGAMOE_GEMM_ARM64 1)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 moves loads so far ahead that sums leave their registers; the processor orders instructions itself.
    set(MEGAMOE_NEON_FLAGS -fno-schedule-insns)
  endif()
  megamoe_isa_sources(neon "${MEGAMOE_NEON_FLAGS}" linear.cc rows.cc hyper_connections.cc scan.cc products.cc bf16.cc stage.cc)
  megamoe_isa_sources(neon-dotprod "${MEGAMOE_NEON_FLAGS};-march=armv8.2-a+dotprod" products.cc)
endif()

megamoe_kernels(gemm-kernels SOURCES ${MEGAMOE_GEMM_SOURCES})
foreach(architecture X86 ARM64)
  if(MEGAMOE_GEMM_${architecture})
    target_compile_definitions(gemm-kernels PRIVATE MEGAMOE_GEMM_${architecture}=1)
  endif()
endforeach()
