// For functions whose loops are worth compiling for several instruction sets. Their files must be compiled without
// contraction of a·b + c to one operation, so that the bits are the same in all.
#pragma once

// The loader picks the version for the machine it is on. Sanitizers run before it can.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TIGHTROPE_FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// With all that it calls.
#define TIGHTROPE_FLAT_FOR_EVERY_CPU \
  __attribute__((flatten, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TIGHTROPE_FOR_EVERY_CPU
#define TIGHTROPE_FLAT_FOR_EVERY_CPU
#endif
