# tightrope_library(NAME SRCS... DEPS...), tightrope_executable(same), tightrope_test(same): exact sources and exact
# dependencies per target. Own code is compiled with warnings as errors; headers of others are SYSTEM.
add_library(tightrope_options INTERFACE)
target_include_directories(tightrope_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(tightrope_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(tightrope_options INTERFACE -Wthread-safety)
endif()

if(TIGHTROPE_SANITIZE)
  add_compile_options(-fsanitize=${TIGHTROPE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TIGHTROPE_SANITIZE})
endif()

function(tightrope_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE $<BUILD_INTERFACE:tightrope_options>)
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
endfunction()

function(tightrope_executable name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tightrope_options)
endfunction()

# A GoogleTest binary; CTest sees each test. LABELS: cuda, slow. Data that ../shared holds is found by the tests themselves.
function(tightrope_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} tightrope_options GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TIGHTROPE_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TIGHTROPE_BINARY_DIR="${CMAKE_BINARY_DIR}")
  include(GoogleTest)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()
