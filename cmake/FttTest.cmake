# ftt_add_test(NAME SOURCES a_test.cc ... LIBS ftt_x ... [LABELS cpu|slow ...] [TIMEOUT seconds])
#
# One GoogleTest executable whose cases CTest knows one by one. Without sources it is an error, so that a
# folder cannot lose its tests unnoticed. A test that cannot run here says so with GTEST_SKIP.
# FTT_SOURCE_DIR is defined for tests that read files of the source tree.

include(GoogleTest)

function(ftt_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LIBS;LABELS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ftt_add_test(${name}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "ftt_add_test(${name}): SOURCES is empty")
  endif()
  if(NOT arg_LABELS)
    set(arg_LABELS cpu)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest GTest::gtest_main)
  # The code under test is optimised; the tests themselves compile faster with less.
  target_compile_options(${name} PRIVATE -O1)
  if(FTT_PCH)
    if(NOT TARGET ftt_test_pch)
      add_executable(ftt_test_pch "${PROJECT_SOURCE_DIR}/tests/pch.cc")
      target_link_libraries(ftt_test_pch PRIVATE GTest::gtest fmt::fmt Threads::Threads OpenMP::OpenMP_CXX)
      target_compile_options(ftt_test_pch PRIVATE -O1)
      target_precompile_headers(ftt_test_pch PRIVATE ${FTT_PCH_HEADERS} <gtest/gtest.h>)
    endif()
    target_precompile_headers(${name} REUSE_FROM ftt_test_pch)
  endif()
  target_compile_definitions(${name} PRIVATE FTT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # Labels reach gtest_discover_tests as one list argument.
  gtest_discover_tests(${name}
    TEST_PREFIX "${name}."
    DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
endfunction()
