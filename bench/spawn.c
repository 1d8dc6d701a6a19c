/* spawn.c - times programs from start to end, in turn so that the machine's moods hit all alike: spawn N FILE, where each line of
 * FILE is a command of words. Descriptors 8 and 9 of each are a file and a socket over which a supervisor is told to start. Prints the median of each in microseconds, a line each. */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX 8
#define WORDS_MAX    32

extern char **environ;

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static char lines[COMMANDS_MAX][1024], *words[COMMANDS_MAX][WORDS_MAX];
    int n = argc > 2 ? atoi(argv[1]) : 0, commands = 0;
    FILE *f = argc > 2 ? fopen(argv[2], "r") : NULL;
    posix_spawn_file_actions_t fa;
    int64_t *took;
    int fds[2], file = open("/tmp", O_TMPFILE | O_RDWR, 0600);

    if (!f || n < 1)
        return 2;
    while (commands < COMMANDS_MAX && fgets(lines[commands], sizeof(lines[0]), f)) {
        int w = 0;

        for (char *word = strtok(lines[commands], " \n"); word && w < WORDS_MAX - 1; word = strtok(NULL, " \n"))
            words[commands][w++] = word;
        commands++;
    }
    took = calloc((size_t)(n * commands), sizeof(*took));
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    if (file < 0 || dup2(file, 8) < 0)
        return 1;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < commands; c++) {
            int64_t began;
            int status;
            pid_t pid;

            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 || dup2(fds[0], 9) < 0 || write(fds[1], "g", 1) != 1)
                return 1;
            began = now_ns();
            if (posix_spawn(&pid, words[c][0], &fa, NULL, words[c], environ) != 0)
                return 1;
            waitpid(pid, &status, 0);
            took[c * n + i] = now_ns() - began;
            close(fds[0]);
            close(fds[1]);
        }
    for (int c = 0; c < commands; c++) {
        qsort(took + c * n, (size_t)n, sizeof(*took), by_value);
        printf("%.1f\n", (double)took[c * n + n / 2] / 1000);
    }
    return 0;
}
