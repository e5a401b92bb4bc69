# Shared by the native packages:
#
#   megamoe_addon(NAME SOURCES a.cc b.cc ...)   Node addon build/Release/NAME.node (built through cmake-js)
#   megamoe_kernels(NAME SOURCES ...)           static library of kernels, free of N-API, for addon and tests alike
#   megamoe_test(NAME SOURCES ... LIBRARIES ...)  executable that ctest runs; exit code 0 is a pass; target megamoe_tests builds all
#
# Include it from CMakeLists.txt by
#   include("${MEGAMOE_NATIVE_KIT}/cmake/MegamoeAddon.cmake")
# megamoe-build-addon passes MEGAMOE_NATIVE_KIT, MEGAMOE_NODE_ADDON_API and MEGAMOE_NODE_API_HEADERS.

get_filename_component(MEGAMOE_NATIVE_KIT_DIR "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_package(Threads REQUIRED)
option(MEGAMOE_SANITIZE "Build the C++ tests with address and undefined-behaviour sanitizers" OFF)

# Bits are promised: no contraction of a * b + c into one rounding, no reordering, no flush to zero.
function(megamoe_compile_options target)
  target_include_directories(${target} PUBLIC "${MEGAMOE_NATIVE_KIT_DIR}/include")
  target_link_libraries(${target} PUBLIC Threads::Threads ${CMAKE_DL_LIBS})
  if(MSVC)
    target_compile_options(${target} PRIVATE /fp:precise /W3 /EHsc)
  else()
    target_compile_options(${target} PRIVATE -O3 -ffp-contract=off -fno-fast-math -fno-math-errno -Wall -Wextra)
    if(MEGAMOE_SANITIZE)
      target_compile_options(${target} PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
      target_link_options(${target} PUBLIC -fsanitize=address,undefined)
    endif()
  endif()
endfunction()

function(megamoe_kernels target)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_library(${target} STATIC ${ARG_SOURCES})
  megamoe_compile_options(${target})
endfunction()

# A directory given by megamoe-build-addon, or the one below the package's node_modules.
function(megamoe_find_headers out given fallback probe)
  set(dir "${given}")
  if(NOT dir)
    set(dir "${CMAKE_CURRENT_SOURCE_DIR}/${fallback}")
  endif()
  if(NOT EXISTS "${dir}/${probe}")
    message(FATAL_ERROR "${probe} not found in ${dir}: install the package's dependencies first")
  endif()
  set(${out} "${dir}" PARENT_SCOPE)
endfunction()

function(megamoe_addon target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  megamoe_find_headers(addon_api "${MEGAMOE_NODE_ADDON_API}" "node_modules/node-addon-api" "napi.h")
  megamoe_find_headers(api_headers "${MEGAMOE_NODE_API_HEADERS}" "node_modules/node-api-headers/include" "node_api.h")
  set(parts "")
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    set(parts "${MEGAMOE_NATIVE_KIT_DIR}/cmake/glibc_compat.cc")
    set_source_files_properties("${parts}" PROPERTIES COMPILE_OPTIONS -fno-builtin) # it defines exp: not the compiler's own
    list(APPEND parts "${MEGAMOE_NATIVE_KIT_DIR}/cmake/export_thread_pool.cc" "${MEGAMOE_NATIVE_KIT_DIR}/cmake/out_of_memory.cc")
  endif()
  add_library(${target} MODULE ${ARG_SOURCES} ${parts} ${CMAKE_JS_SRC})
  megamoe_compile_options(${target})
  # The bindings in one piece: most of what each takes to compile is napi.h.
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".node" UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
  if(parts OR CMAKE_JS_SRC)
    set_source_files_properties(${parts} ${CMAKE_JS_SRC} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  target_include_directories(${target} SYSTEM PRIVATE "${addon_api}" "${api_headers}")
  target_compile_definitions(${target} PRIVATE
    NAPI_VERSION=8
    NODE_ADDON_API_CPP_EXCEPTIONS
    NODE_ADDON_API_CPP_EXCEPTIONS_ALL
    NODE_ADDON_API_DISABLE_DEPRECATED
    NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS) # in a worker that is being terminated nothing can be thrown: return, do not abort
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES} ${CMAKE_JS_LIB})
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    # nodelete: pool threads sleep in this code, so unloading must not unmap it. The C++ runtime comes along, so that a prebuilt
    # addon does not depend on the machine's; what of it nobody calls is left out.
    target_link_options(${target} PRIVATE -Wl,-z,nodelete -Wl,--exclude-libs,ALL -Wl,--gc-sections -static-libstdc++ -static-libgcc)
  elseif(APPLE)
    target_link_options(${target} PRIVATE -undefined dynamic_lookup)
  elseif(MSVC AND CMAKE_JS_NODELIB_DEF AND CMAKE_JS_NODELIB_TARGET)
    execute_process(COMMAND ${CMAKE_AR} /def:${CMAKE_JS_NODELIB_DEF} /out:${CMAKE_JS_NODELIB_TARGET} ${CMAKE_STATIC_LINKER_FLAGS})
  endif()
endfunction()

function(megamoe_test target)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  megamoe_compile_options(${target})
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES})
  add_test(NAME ${target} COMMAND ${target})
  if(NOT TARGET megamoe_tests)
    add_custom_target(megamoe_tests)
  endif()
  add_dependencies(megamoe_tests ${target})
endfunction()
