/* What the engine uses of Windows 10's interfaces and the headers of mingw-w64 before version 11 (Debian 12's) lack: the settings that
   keep Windows from moving a thread to slow cores. scripts/windows.sh puts this file before each of the engine's. */
#ifndef GGUFBENCH_MINGW_H
#define GGUFBENCH_MINGW_H

#include <_mingw.h>

#if __MINGW64_VERSION_MAJOR < 11
typedef struct {
    unsigned long Version;
    unsigned long ControlMask;
    unsigned long StateMask;
} THREAD_POWER_THROTTLING_STATE;
#define THREAD_POWER_THROTTLING_CURRENT_VERSION 1
#define THREAD_POWER_THROTTLING_EXECUTION_SPEED 1
#endif

#endif
