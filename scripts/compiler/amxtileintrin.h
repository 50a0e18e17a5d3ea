// Intel's AMX for GCC before 14, in place of its own header of this name, which it includes. .cargo/config.toml puts this folder before GCC's.
//
// That header tells the optimiser that ldtilecfg reads 8 bytes of memory. It reads 64. The optimiser removes the writes to the others, and
// the first load of a tile ends the program with SIGILL: llama.cpp's kernels for AMX, built by Debian 12's GCC 12.2, do so on every processor
// that has AMX. Of a tile's load the header says of no memory at all that it is read, so that earlier writes may be moved behind it.
// This is GCC's bug 114098, which version 14 does not have.
#include_next <amxtileintrin.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14 && !defined(GGUFBENCH_AMX)
#define GGUFBENCH_AMX

static inline __attribute__((always_inline)) void ggufbench_tile_loadconfig(const void *config)
{
    __asm__ volatile("ldtilecfg\t%X0" ::"m"(*(const char(*)[64])config));
}
#define _tile_loadconfig ggufbench_tile_loadconfig

#undef _tile_loadd_internal
#define _tile_loadd_internal(tile, base, stride)                                                                                      \
    __asm__ volatile("{tileloadd\t(%0,%1,1), %%tmm" #tile "|tileloadd\t%%tmm" #tile ", [%0+%1*1]}" ::"r"((const void *)(base)),      \
                     "r"((long)(stride))                                                                                             \
                     : "memory")

#undef _tile_stream_loadd_internal
#define _tile_stream_loadd_internal(tile, base, stride)                                                                               \
    __asm__ volatile("{tileloaddt1\t(%0,%1,1), %%tmm" #tile "|tileloaddt1\t%%tmm" #tile ", [%0+%1*1]}" ::"r"((const void *)(base)),  \
                     "r"((long)(stride))                                                                                             \
                     : "memory")
#endif
