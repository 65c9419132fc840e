# Every library we stand on, from Debian 12. Targets name what they use; nothing is global.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(hwy REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS headers)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# Debian's Gloo exports no installed target; its header and library are in the default paths.
find_path(GLOO_INCLUDE gloo/context.h REQUIRED)
find_library(GLOO_LIBRARY gloo PATHS /usr/lib REQUIRED)
add_library(gloo_library INTERFACE)
target_link_libraries(gloo_library INTERFACE ${GLOO_LIBRARY})
target_include_directories(gloo_library SYSTEM INTERFACE ${GLOO_INCLUDE})

# Debian's dnnl package file asks for OpenCL's development files, which the CPU engine does not need.
find_path(DNNL_INCLUDE dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(dnnl_library INTERFACE)
target_link_libraries(dnnl_library INTERFACE ${DNNL_LIBRARY})
target_include_directories(dnnl_library SYSTEM INTERFACE ${DNNL_INCLUDE})

# libcrypto: SHA-256 and the comparison of keys.
find_package(OpenSSL REQUIRED)

# Header-only.
find_path(NLOHMANN_JSON_INCLUDE nlohmann/json.hpp REQUIRED)

if(SWITCHYARD_BUILD_SERVER)
  set(Protobuf_USE_STATIC_LIBS ON)  # for why, see proto/CMakeLists.txt
  find_package(Protobuf REQUIRED)
  find_package(gRPC REQUIRED)
  find_package(prometheus-cpp REQUIRED)
  pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
endif()
if(SWITCHYARD_BUILD_SERVER OR SWITCHYARD_BUILD_BENCH)
  find_path(CLI11_INCLUDE CLI/CLI.hpp REQUIRED)
endif()
if(SWITCHYARD_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(SWITCHYARD_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
