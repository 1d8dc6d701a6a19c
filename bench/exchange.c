/* exchange.c - the least that it takes to put N files in place so that they can be taken back: `exchange N` makes two folders of N
 * files in the current directory, exchanges each pair and waits for the disk. Prints the seconds of the latter. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fill(const char *name, int n)
{
    int dir = mkdir(name, 0700) == 0 ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    for (int i = 0; i < n && dir >= 0; i++) {
        char file[16];
        int fd;

        snprintf(file, sizeof(file), "f%d", i);
        fd = openat(dir, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0 || write(fd, name, strlen(name)) < 0)
            return -1;
        close(fd);
    }
    return dir;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 0, a = fill("exchange-a", n), b = fill("exchange-b", n);
    double began;

    if (n < 1 || a < 0 || b < 0 || syncfs(a) < 0) {
        fprintf(stderr, "exchange: %s\n", strerror(errno));
        return 1;
    }
    began = now();
    for (int i = 0; i < n; i++) {
        char file[16];

        snprintf(file, sizeof(file), "f%d", i);
        if (renameat2(a, file, b, file, RENAME_EXCHANGE) < 0)
            return 1;
    }
    if (syncfs(a) < 0)
        return 1;
    printf("%f\n", now() - began);
    return 0;
}
