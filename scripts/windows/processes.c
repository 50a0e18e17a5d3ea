/* Processes as Windows sees them, for scripts/windows/checks.py.

     processes count NAME          prints how many processes have this file name
     processes workers NAME        prints how many of them were started by one of this name
     processes end NAME CODE       ends those workers with an exit code, as a crash does (0xC0000005), and prints how many */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

#define MOST 4096

static PROCESSENTRY32 all[MOST];

static int list(const char *name) {
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    PROCESSENTRY32 entry = {.dwSize = sizeof entry};
    int n = 0;
    for (BOOL more = Process32First(snapshot, &entry); more && n < MOST; more = Process32Next(snapshot, &entry))
        if (_stricmp(entry.szExeFile, name) == 0) all[n++] = entry;
    CloseHandle(snapshot);
    return n;
}

static int is_worker(int which, int n) {
    for (int i = 0; i < n; i++)
        if (all[i].th32ProcessID == all[which].th32ParentProcessID) return 1;
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int n = list(argv[2]), found = 0;
    int all_count = strcmp(argv[1], "count") == 0, end = strcmp(argv[1], "end") == 0;
    for (int i = 0; i < n; i++) {
        if (!all_count && !is_worker(i, n)) continue;
        if (end) {
            HANDLE process = OpenProcess(PROCESS_TERMINATE, FALSE, all[i].th32ProcessID);
            if (!process || !TerminateProcess(process, (UINT)strtoul(argv[3], NULL, 0))) continue;
            CloseHandle(process);
        }
        found++;
    }
    printf("%d\n", found);
    return 0;
}
