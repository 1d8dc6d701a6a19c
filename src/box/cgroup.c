#include "box/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "rein-box-"

/* Where this process's own group is in the file system. */
static bool own_group(char *ret, size_t size)
{
    char line[PATH_MAX + 256], own[PATH_MAX] = "", top[PATH_MAX], root[PATH_MAX];
    bool found = false;
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f && !*own && fgets(line, sizeof(line), f))
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(own, sizeof(own), "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f)
        fclose(f);
    f = *own ? fopen("/proc/self/mountinfo", "re") : NULL;
    while (f && !found && fgets(line, sizeof(line), f)) {
        size_t n;

        if (!strstr(line, " - cgroup2 ") || sscanf(line, "%*s %*s %*s %4095s %4095s", root, top) != 2)
            continue;
        n = strcmp(root, "/") == 0 ? 0 : strlen(root);
        found = strncmp(own, root, n) == 0 && (own[n] == '/' || own[n] == 0 || n == 0) &&
                (size_t)snprintf(ret, size, "%s%s", top, own + n) < size;
    }
    if (f)
        fclose(f);
    return found;
}

static bool put(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return good;
}

static bool put_number(int dir, const char *name, uint64_t n)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    return n == 0 || put(dir, name, text);
}

/* Whether groups in it are counted, and may be made by this user. */
static bool gives_on(int dir)
{
    char text[256] = "";
    int fd = openat(dir, "cgroup.subtree_control", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    return (strstr(text, "memory") || strstr(text, "pids")) && faccessat(dir, ".", W_OK, AT_EACCESS) == 0 &&
           faccessat(dir, "cgroup.procs", W_OK, AT_EACCESS) == 0;
}

static int find_parent(void)
{
    char path[PATH_MAX];
    int dir, up;

    if (!own_group(path, sizeof(path)))
        return -1;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || gives_on(dir))
        return dir;
    up = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(dir);
    if (up >= 0 && gives_on(up))
        return up;
    if (up >= 0)
        close(up);
    return -1;
}

/* Groups whose supervisor was killed. One that has processes stays: it cannot be removed. */
static void remove_left(int parent)
{
    int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *de;

    while (d && (de = readdir(d)))
        if (strncmp(de->d_name, PREFIX, strlen(PREFIX)) == 0 && kill(atoi(de->d_name + strlen(PREFIX)), 0) < 0 && errno == ESRCH)
            unlinkat(parent, de->d_name, AT_REMOVEDIR);
    if (d)
        closedir(d);
}

void cgroup_enter(struct cgroup *c, const struct profile *p, pid_t pid)
{
    int group = -1;
    bool good;

    *c = (struct cgroup){ -1, -1, "" };
    if (p->limit[LIMIT_MEMORY] || p->limit[LIMIT_PROCESSES])
        c->parent = find_parent();
    if (c->parent < 0)
        return;
    remove_left(c->parent);
    snprintf(c->name, sizeof(c->name), PREFIX "%d", getpid());
    if (mkdirat(c->parent, c->name, 0755) == 0 || errno == EEXIST)
        group = openat(c->parent, c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = group >= 0;
    /* Of the two controllers one may be missing; a limit that is there has to be taken. */
    for (int i = 0; i < 2 && good; i++) {
        const char *file = i ? "pids.max" : "memory.max";

        good = faccessat(group, file, F_OK, 0) < 0 || put_number(group, file, p->limit[i ? LIMIT_PROCESSES : LIMIT_MEMORY]);
    }
    if (good && p->limit[LIMIT_MEMORY])
        put(group, "memory.swap.max", "0");
    good = good && put_number(group, "cgroup.procs", (uint64_t)pid);
    if (good)
        c->events = openat(group, "memory.events", O_RDONLY | O_CLOEXEC);
    if (group >= 0)
        close(group);
    if (!good)
        cgroup_remove(c);
}

bool cgroup_ran_out(const struct cgroup *c)
{
    char text[512] = "";
    ssize_t n = c->events < 0 ? 0 : pread(c->events, text, sizeof(text) - 1, 0);
    const char *at;

    text[n > 0 ? n : 0] = 0;
    at = strstr(text, "\noom_kill ");
    return at && atoi(at + strlen("\noom_kill ")) > 0;
}

void cgroup_remove(struct cgroup *c)
{
    if (c->parent < 0)
        return;
    if (c->events >= 0)
        close(c->events);
    for (int i = 0; i < 100 && unlinkat(c->parent, c->name, AT_REMOVEDIR) < 0 && errno == EBUSY; i++)
        usleep(1000);                   /* who was killed is still being taken down */
    close(c->parent);
    c->parent = c->events = -1;
}
