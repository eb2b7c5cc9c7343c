# Libraries from the distribution. scripts/setup.sh installs them.

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(SQLite3 REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)

# oneDNN: 2.6 in Debian 12, 3.x in Ubuntu 24.04 and later; both export DNNL::dnnl.
find_package(dnnl REQUIRED)

# toml++ as ftt::toml, header only wherever it comes from. Some releases ship no CMake package.
find_path(FTT_TOML_INCLUDE toml++/toml.h REQUIRED)
add_library(ftt_toml INTERFACE)
add_library(ftt::toml ALIAS ftt_toml)
target_include_directories(ftt_toml SYSTEM INTERFACE "${FTT_TOML_INCLUDE}")

if(FTT_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(FTT_BUILD_BENCHMARKS)
  find_package(benchmark QUIET)
  if(NOT benchmark_FOUND)
    message(STATUS "Google Benchmark not found: benchmarks/ is left out")
    set(FTT_BUILD_BENCHMARKS OFF)
  endif()
endif()
