# The kernels without N-API, for the addon and for the C++ tests. A translation unit for another instruction set adds its file and
# flags here and its table in dispatch.cc; nothing else changes.
if(NOT TARGET attention-kernels)
  set(here "${CMAKE_CURRENT_LIST_DIR}")
  megamoe_kernels(attention-kernels SOURCES
    "${here}/kernels/generic.cc"
    "${here}/dispatch.cc"
    "${here}/ops.cc")
endif()
