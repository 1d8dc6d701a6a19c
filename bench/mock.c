/* mock.c - plays a model on loopback for a client that it starts itself, and measures the client from outside.
 *
 *   mock TURNS TOOL-CALL-JSON-FILE -- CLIENT ARGS...       {url} in an argument becomes the base URL
 *
 * Every answer calls one tool, until TURNS are played; the last one says "done". The overhead of a turn is the time between the
 * last byte of an answer being written and the head of the next request being read, so what the mock does itself is not in it.
 * Printed as JSON: the start to the first request, overheads at some turns, CPU, private memory, and how many requests began with
 * the bytes of the one before, less the two that close it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 5                /* turns around a place whose median is taken */

extern char **environ;

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "mock: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long rss_anon_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

struct request {
    char *data;                 /* head and body */
    size_t n, cap, head;
    size_t length;
    int64_t head_at;
};

/* Reads one request from the connection, accepting a new one when the old is closed. False when the client has ended. */
static bool read_request(int listener, int *fd, struct request *rq)
{
    rq->n = rq->head = 0;
    for (;;) {
        struct pollfd p = { *fd >= 0 ? *fd : listener, POLLIN, 0 };
        ssize_t n;

        if (rq->head && rq->n - rq->head >= rq->length)
            return true;
        if (poll(&p, 1, 20000) <= 0)
            return false;
        if (*fd < 0) {
            int one = 1;

            *fd = accept(listener, NULL, NULL);
            setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            continue;
        }
        if (rq->cap - rq->n < (1 << 18)) {
            rq->cap = rq->cap * 2 + (1 << 19);
            rq->data = realloc(rq->data, rq->cap);
        }
        n = read(*fd, rq->data + rq->n, rq->cap - rq->n - 1);
        if (n <= 0) {
            close(*fd);
            *fd = -1;
            if (rq->n)
                return false;
            continue;
        }
        rq->n += (size_t)n;
        rq->data[rq->n] = 0;
        if (!rq->head) {
            char *end = strstr(rq->data, "\r\n\r\n"), *length = strcasestr(rq->data, "\r\ncontent-length:");

            if (end && length) {
                rq->head_at = now_us();
                rq->head = (size_t)(end - rq->data) + 4;
                rq->length = strtoul(length + 17, NULL, 10);
            }
        }
    }
}

static void write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);

        if (w <= 0)
            die("writing an answer");
        p += w;
        n -= (size_t)w;
    }
}

static void answer(int fd, int turn, const char *name, const char *args, bool last)
{
    char body[8192], head[256];
    int n, h;

    if (last)
        n = snprintf(body, sizeof(body),
                     "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"done\"},\"finish_reason\":null}]}\n\n"
                     "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    else
        n = snprintf(body, sizeof(body),
                     "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_%d\",\"type\":\"function\","
                     "\"function\":{\"name\":\"%s\",\"arguments\":\"\"}}]}}]}\n\n"
                     "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"%s\"}}]}}]}\n\n"
                     "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n", turn, name, args);
    n += snprintf(body + n, sizeof(body) - (size_t)n,
                  "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":10}}\n\ndata: [DONE]\n\n");
    h = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n", n);
    memmove(body + h, body, (size_t)n);
    memcpy(body, head, (size_t)h);
    write_all(fd, body, (size_t)(h + n));
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int64_t median(const int64_t *v, int n)
{
    int64_t copy[2 * WINDOW + 1];

    memcpy(copy, v, (size_t)n * sizeof(*v));
    qsort(copy, (size_t)n, sizeof(*copy), by_value);
    return copy[n / 2];
}

int main(int argc, char **argv)
{
    static const int places[] = { 5, 50, 200, 1000 };
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t alen = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1, turns, status, same = 0, requests = 0;
    char name[64], args[1024], url[64];
    struct request rq = {0};
    char *last_body = NULL;
    size_t last_length = 0;
    int64_t *gap, began, first = 0, wrote = 0, finished;
    long rss_first = 0, rss_50 = 0, rss_end = 0;
    posix_spawn_file_actions_t fa;
    struct rusage used;
    pid_t pid;
    FILE *f;

    if (argc < 5 || strcmp(argv[3], "--") != 0) {
        fprintf(stderr, "usage: mock TURNS CALL-FILE -- CLIENT ARGS\n");
        return 2;
    }
    turns = atoi(argv[1]);
    f = fopen(argv[2], "r");
    if (!f || fscanf(f, "%63s %1023[^\n]", name, args) != 2)
        die("the call file");
    fclose(f);
    gap = calloc((size_t)turns + 2, sizeof(*gap));
    if (bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 8) < 0)
        die("listening");
    getsockname(listener, (struct sockaddr *)&a, &alen);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/v1", ntohs(a.sin_port));
    for (int i = 4; i < argc; i++)
        if (strcmp(argv[i], "{url}") == 0)
            argv[i] = url;

    began = now_us();
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, argv[4], &fa, NULL, argv + 4, environ) != 0)
        die(argv[4]);
    while (read_request(listener, &fd, &rq)) {
        requests++;
        if (requests == 1) {
            first = rq.head_at - began;
            rss_first = rss_anon_kb(pid);
        } else {
            gap[requests - 1] = rq.head_at - wrote;
            same += rq.length >= last_length && memcmp(rq.data + rq.head, last_body, last_length - 2) == 0;
        }
        if (requests == 51)
            rss_50 = rss_anon_kb(pid);
        last_length = rq.length;
        last_body = realloc(last_body, last_length + 1);
        memcpy(last_body, rq.data + rq.head, last_length);
        if (requests > turns)
            rss_end = rss_anon_kb(pid);
        answer(fd, requests, name, args, requests > turns);
        wrote = now_us();
        if (requests > turns)
            break;
    }
    wait4(pid, &status, 0, &used);
    finished = now_us();
    printf("{\"turns\": %d, \"status\": %d, \"first_us\": %lld, \"exit_us\": %lld, \"whole_us\": %lld, \"cpu_us\": %lld, "
           "\"rss_first_kb\": %ld, \"rss_50_kb\": %ld, \"rss_end_kb\": %ld, \"prefix\": %d, \"pairs\": %d, \"body\": %zu",
           requests - 1, WIFEXITED(status) ? WEXITSTATUS(status) : -1, (long long)first, (long long)(finished - wrote),
           (long long)(finished - began),
           (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 + used.ru_utime.tv_usec + used.ru_stime.tv_usec,
           rss_first, rss_50, rss_end, same, requests - 1, last_length);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (places[i] <= requests - 1) {
            int from = places[i] - WINDOW < 1 ? 1 : places[i] - WINDOW, to = places[i] + WINDOW > requests - 1 ? requests - 1
                     : places[i] + WINDOW;

            printf(", \"gap_%d_us\": %lld", places[i], (long long)median(gap + from, to - from + 1));
        }
    printf("}\n");
    return 0;
}
