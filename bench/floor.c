/* floor.c - the least that could play the same session: what rein is measured against.
 *
 *   floor 0 URL TOOL [COMMITS-AT-START]      a raw socket, prepared bytes, plain spawn, nothing durable
 *   floor 1 URL TOOL [COMMITS-AT-START]      libcurl opened at run time, two durable commits a turn (append and fdatasync)
 *
 * TOOL: read FILE, or sh COMMAND. Nothing is parsed: an answer with "tool_calls" in it is a call, any other ends. The body grows
 * in place by what a Chat Completions client would add for the call and its result. */
#include <arpa/inet.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT_SIZE 700         /* bytes of an event or two, beside a result */

extern char **environ;

static char *body, *in;
static size_t nbody, cap, nin;

static void add(const char *p, size_t n)
{
    if (cap - nbody < n + 4096) {
        cap = cap * 2 + n + (1 << 20);
        body = realloc(body, cap);
    }
    memcpy(body + nbody, p, n);
    nbody += n;
}

static void adds(const char *s)
{
    add(s, strlen(s));
}

static void add_escaped(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n')
            adds("\\n");
        else if (p[i] == '"' || p[i] == '\\')
            add((char[]){ '\\', p[i] }, 2);
        else
            add(p + i, 1);
    }
}

/* The socket's way. */

static int sock = -1;
static struct sockaddr_in peer;
static char path[128];

static bool exchange_raw(void)
{
    char head[256], *end = NULL;
    size_t length = 0, need = 0;
    int n = snprintf(head, sizeof(head), "POST %s/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n", path, nbody + 2);

    if (sock < 0) {
        int one = 1;

        sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(sock, (struct sockaddr *)&peer, sizeof(peer)) < 0)
            return false;
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    if (write(sock, head, (size_t)n) != n)
        return false;
    memcpy(body + nbody, "]}", 2);
    for (size_t at = 0; at < nbody + 2;) {
        ssize_t w = write(sock, body + at, nbody + 2 - at);

        if (w <= 0)
            return false;
        at += (size_t)w;
    }
    for (nin = 0; !end || nin < need;) {
        ssize_t r = read(sock, in + nin, (1 << 16) - nin);

        if (r <= 0)
            return false;
        nin += (size_t)r;
        in[nin] = 0;
        if (!end && (end = strstr(in, "\r\n\r\n"))) {
            length = strtoul(strcasestr(in, "content-length:") + 15, NULL, 10);
            need = (size_t)(end - in) + 4 + length;
        }
    }
    return true;
}

/* libcurl's way. */

static struct {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*perform)(CURL *);
    struct curl_slist *(*append)(struct curl_slist *, const char *);
} lib;
static CURL *easy;
static size_t sent;

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    (void)arg;
    memcpy(in + nin, p, size * n);
    nin += size * n;
    in[nin] = 0;
    return size * n;
}

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
    size_t take = nbody + 2 - sent < size * n ? nbody + 2 - sent : size * n;

    (void)arg;
    memcpy(to, body + sent, take);
    sent += take;
    return take;
}

static bool exchange_curl(const char *url)
{
    if (!easy) {
        void *dl = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL);
        char full[256];

        *(void **)&lib.global_init = dlsym(dl, "curl_global_init");
        *(void **)&lib.easy_init = dlsym(dl, "curl_easy_init");
        *(void **)&lib.setopt = dlsym(dl, "curl_easy_setopt");
        *(void **)&lib.perform = dlsym(dl, "curl_easy_perform");
        *(void **)&lib.append = dlsym(dl, "curl_slist_append");
        lib.global_init(CURL_GLOBAL_DEFAULT);
        easy = lib.easy_init();
        snprintf(full, sizeof(full), "%s/chat/completions", url);
        lib.setopt(easy, CURLOPT_URL, full);
        lib.setopt(easy, CURLOPT_POST, 1L);
        lib.setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        lib.setopt(easy, CURLOPT_READFUNCTION, on_send);
        lib.setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
        lib.setopt(easy, CURLOPT_HTTPHEADER, lib.append(lib.append(NULL, "Content-Type: application/json"), "Expect:"));
    }
    sent = nin = 0;
    memcpy(body + nbody, "]}", 2);
    lib.setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(nbody + 2));
    return lib.perform(easy) == CURLE_OK;
}

static void commit(int log, size_t result)
{
    static const char event[(1 << 16) + COMMIT_SIZE];

    if (write(log, event, result + COMMIT_SIZE) < 0 || fdatasync(log) < 0)
        exit(1);
}

static size_t run_tool(const char *tool, const char *what, char *out, size_t max)
{
    size_t n = 0;
    ssize_t r;

    if (strcmp(tool, "read") == 0) {
        int fd = open(what, O_RDONLY | O_CLOEXEC);

        while ((r = read(fd, out + n, max - n)) > 0)
            n += (size_t)r;
        close(fd);
    } else {
        const char *argv[] = { "/bin/sh", "-c", what, NULL };
        posix_spawn_file_actions_t fa;
        int fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
            exit(1);
        posix_spawn_file_actions_init(&fa);
        posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
        posix_spawn(&pid, "/bin/sh", &fa, NULL, (char *const *)argv, environ);
        posix_spawn_file_actions_destroy(&fa);
        close(fds[1]);
        while ((r = read(fds[0], out + n, max - n)) > 0)
            n += (size_t)r;
        close(fds[0]);
        waitpid(pid, NULL, 0);
    }
    return n;
}

int main(int argc, char **argv)
{
    static char out[1 << 16];
    bool curl = argv[1][0] == '1';
    int log = -1, port = 0, commits = argc > 5 ? atoi(argv[5]) : 0;

    in = malloc(1 << 17);
    if (sscanf(argv[2], "http://127.0.0.1:%d%127s", &port, path) != 2)
        return 2;
    peer = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    adds("{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"system\",\"content\":\"");
    for (int i = 0; i < 3000; i++)
        adds("x");
    adds("\"},{\"role\":\"user\",\"content\":\"go\"}");
    if (curl) {
        log = open("floor.log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        for (int i = 0; i < commits; i++)
            commit(log, 0);
    }
    for (;;) {
        size_t n;

        if (!(curl ? exchange_curl(argv[2]) : exchange_raw()))
            return 5;
        if (!strstr(in, "tool_calls"))
            break;
        if (curl)
            commit(log, 0);             /* answer and intent */
        n = run_tool(argv[3], argv[4], out, sizeof(out));
        adds(",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":"
             "{\"name\":\"read\",\"arguments\":\"{\\\"path\\\":\\\"x\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"call_1\","
             "\"content\":\"");
        add_escaped(out, n);
        adds("\"}");
        if (curl)
            commit(log, n);             /* result and request */
    }
    if (curl)
        commit(log, 0);
    return 0;
}
