# Cross-compiles for 64-bit Arm Linux and runs tests under an emulator:
#
#   cmake -DCMAKE_TOOLCHAIN_FILE=.../linux-arm64.cmake ...
#
# Needs a cross compiler (Debian: g++-aarch64-linux-gnu) and, to run tests, qemu-aarch64 (Debian: qemu-user). QEMU_CPU in the environment
# chooses the processor that is emulated, such as cortex-a57 (without dot products) or max.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
find_program(MEGAMOE_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(MEGAMOE_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR "${MEGAMOE_QEMU};-L;/usr/aarch64-linux-gnu")
endif()
