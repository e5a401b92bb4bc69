# cmake -DNM=... -DOBJECTS=a.o,b.o -P isa_symbols.cmake
#
# Fails when an object compiled with instruction-set flags defines a symbol that the linker may merge with others of the same name: an
# inline function of a shared header (the thread pool, std::vector). The copy with wide instructions might be the one that is kept, and
# a processor without them would stop at it. See native/kernels/parallel.h.
string(REPLACE "," ";" objects "${OBJECTS}")
set(checked 0)
foreach(object IN LISTS objects)
  if(NOT object MATCHES "/(avx2|avx512|neon-dotprod)(/[^/]*|[.]cc[.]o(bj)?)$")
    continue()
  endif()
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${NM} cannot read ${object}")
  endif()
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" merged "${symbols}")
  if(merged)
    message(FATAL_ERROR "${object} has symbols that may be merged with those of other files: ${merged}")
  endif()
  math(EXPR checked "${checked} + 1")
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no object of avx2, avx512 or neon-dotprod was checked")
endif()
message("${checked} objects keep their instructions to themselves")
