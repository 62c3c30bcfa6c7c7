/* Preloaded, sets the wall clock of a process off by the seconds that the file $TEST_CLOCK holds. Clocks that only run
   are left alone, and so are those who ask the kernel without this call. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (failed || clock != CLOCK_REALTIME)
        return failed;
    char seconds[24] = {0};
    int file = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
    if (file >= 0 && read(file, seconds, sizeof seconds - 1) > 0)
        now->tv_sec += atol(seconds);
    if (file >= 0)
        close(file);
    return 0;
}
