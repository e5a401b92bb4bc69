# The kernels, for the addon and for the C++ tests. One folder per instruction set; only its own files get its flags.
megamoe_kernels(gemm-kernels SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/dispatch.cc
  ${CMAKE_CURRENT_LIST_DIR}/weight.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/table.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/linear.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/grouped.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/stage.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/rows.cc
  ${CMAKE_CURRENT_LIST_DIR}/generic/hyper_connections.cc)
