# Convolution kernels of the CPU backend. Included by kernels/CMakeLists.txt, which links OpenMP::OpenMP_CXX and oneDNN:
# oneDNN plans for the number of OpenMP threads it sees, and conv_dnnl_state.cc holds that at one.
set(FTT_CPU_CONV_SOURCES
  cpu/pair_conv.cc
  cpu/conv_dnnl.cc
  cpu/conv_dnnl_state.cc
  cpu/conv_primitives.cc
  cpu/dense_gradient.cc
  cpu/depthwise.cc
  cpu/depthwise_base.cc
  cpu/direct_conv.cc
  cpu/primitive_time.cc
)

# The depthwise kernels are compiled once per instruction set; depthwise.cc chooses at run time. GCC's AVX-512 headers
# trip -Wmaybe-uninitialized by their own undefined vectors (GCC bug 105593).
set(FTT_DEPTHWISE_OPTIONS $<$<NOT:$<CONFIG:Debug>>:-O3> -Wno-maybe-uninitialized)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(FTT_DEPTHWISE_OPTIONS $<$<NOT:$<CONFIG:Debug>>:-O3>)
endif()
set_source_files_properties(cpu/depthwise_base.cc PROPERTIES COMPILE_OPTIONS "${FTT_DEPTHWISE_OPTIONS}")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND FTT_CPU_CONV_SOURCES cpu/pair_avx2.cc cpu/dense_gradient_avx2.cc cpu/depthwise_avx2.cc cpu/depthwise_avx512.cc cpu/depthwise_avx512_vnni.cc)
  set_source_files_properties(cpu/pair_avx2.cc cpu/dense_gradient_avx2.cc cpu/depthwise_avx2.cc PROPERTIES
    COMPILE_OPTIONS "${FTT_DEPTHWISE_OPTIONS};-mavx2;-mfma")
  set_source_files_properties(cpu/depthwise_avx512.cc PROPERTIES
    COMPILE_OPTIONS "${FTT_DEPTHWISE_OPTIONS};-march=x86-64-v4")
  set_source_files_properties(cpu/depthwise_avx512_vnni.cc PROPERTIES
    COMPILE_OPTIONS "${FTT_DEPTHWISE_OPTIONS};-march=x86-64-v4;-mavx512vnni;-mavx512vbmi2")
endif()

# Direct convolutions on AMX tiles, for compilers that know them; whether the CPU does is asked at run time.
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag("-mamx-int8 -mamx-tile" FTT_HAS_AMX_FLAGS)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND CMAKE_SYSTEM_NAME STREQUAL "Linux" AND FTT_HAS_AMX_FLAGS)
  list(APPEND FTT_CPU_CONV_SOURCES cpu/direct_amx.cc)
  set_source_files_properties(cpu/direct_amx.cc PROPERTIES
    COMPILE_OPTIONS "${FTT_DEPTHWISE_OPTIONS};-march=x86-64-v4;-mamx-tile;-mamx-int8")
  set_source_files_properties(cpu/direct_conv.cc PROPERTIES COMPILE_DEFINITIONS FTT_AMX)
endif()
