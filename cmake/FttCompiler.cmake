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
add_compile_options(-ffp-contract=off -fno-math-errno)
add_compile_options(-Wall -Wextra)
if(FTT_WERROR)
  add_compile_options(-Werror)
endif()
include_directories("${PROJECT_SOURCE_DIR}")

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

find_program(FTT_CCACHE ccache)
if(FTT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${FTT_CCACHE}")
endif()
