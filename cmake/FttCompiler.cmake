# Language level and flags that every target shares.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

get_property(FTT_MULTI_CONFIG GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
if(NOT FTT_MULTI_CONFIG AND NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Debug, Release or RelWithDebInfo" FORCE)
endif()
# Line tables are enough for backtraces and profiles, and compile faster than full debug information.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O3 -g1 -DNDEBUG")

# Results are a contract: a product and a sum fuse only where the source says std::fma.
# nvcc has its own flags, see kernels/cuda.
function(ftt_cxx_options)
  foreach(option IN LISTS ARGN)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:${option}>)
  endforeach()
endfunction()
ftt_cxx_options(-ffp-contract=off -fno-math-errno -Wall -Wextra)
if(FTT_WERROR)
  ftt_cxx_options(-Werror -Wno-error=invalid-pch)
endif()
include_directories("${PROJECT_SOURCE_DIR}")

# ftt_string_warnings_are_no_errors(TARGET): for targets where GCC 12 takes an inlined std::string for an overflow.
function(ftt_string_warnings_are_no_errors target)
  if(FTT_WERROR AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wno-error=array-bounds -Wno-error=stringop-overflow
                           -Wno-error=stringop-overread -Wno-error=restrict)
  endif()
endfunction()

if(FTT_SANITIZER STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(FTT_SANITIZER STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
elseif(FTT_SANITIZER)
  message(FATAL_ERROR "FTT_SANITIZER is '${FTT_SANITIZER}'; use address, thread or leave it empty")
endif()

# Most of a build is parsing the same standard headers: they are parsed once.
option(FTT_PCH "Precompile the standard headers that most files include" ON)
set(FTT_PCH_HEADERS <algorithm> <array> <chrono> <cmath> <cstdint> <cstring> <functional> <map> <memory> <numeric>
    <span> <string> <string_view> <utility> <vector> <fmt/format.h>)

# ftt_precompile(TARGET [HEADER...]): the shared headers, or the given ones beside them in a set of the target's own.
function(ftt_precompile target)
  if(NOT FTT_PCH)
    return()
  endif()
  if(ARGN OR target STREQUAL "ftt_core")
    target_precompile_headers(${target} PRIVATE ${FTT_PCH_HEADERS} ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ftt_core)
  endif()
endfunction()

find_program(FTT_CCACHE ccache)
if(FTT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these settings ccache passes over every file that uses precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1
      "${FTT_CCACHE}")
endif()

# For `ftt-cuda info`: generated/build_info.h in the build folder.
string(TOUPPER "${CMAKE_BUILD_TYPE}" FTT_BUILD_TYPE_UPPER)
set(FTT_BUILD_FLAGS "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${FTT_BUILD_TYPE_UPPER}}")
string(STRIP "${FTT_BUILD_FLAGS} -ffp-contract=off -fno-math-errno" FTT_BUILD_FLAGS)
configure_file("${PROJECT_SOURCE_DIR}/cmake/build_info.h.in"
               "${PROJECT_BINARY_DIR}/generated/build_info.h" @ONLY)
include_directories("${PROJECT_BINARY_DIR}/generated")
