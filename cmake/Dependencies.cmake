# Every library that Tightrope uses, found once. Debian 12 pins the versions; LibTorch may also come from CMAKE_PREFIX_PATH.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)  # SHA-256
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(gRPC REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(Boost REQUIRED)  # headers: Boost.Math
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
find_path(RANDOM123_INCLUDE_DIR Random123/philox.h REQUIRED)

# LibTorch. Its package file adds flags for its own build; only the target is used. Debian's sets no NUMA or CUDA.
find_package(Torch REQUIRED)
