#include "box/across.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define IF_NUMBER_IS(n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (n), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)

void across_watch(int to)
{
    /* The box's own filter lets no other architecture's calls in. */
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_rename
        IF_NUMBER_IS(SYS_rename),
#endif
        IF_NUMBER_IS(SYS_renameat),
        IF_NUMBER_IS(SYS_renameat2),
#ifdef SYS_link
        IF_NUMBER_IS(SYS_link),
#endif
        IF_NUMBER_IS(SYS_linkat),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof(rules) / sizeof(*rules), rules };
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = {0};
    char word = 'a';
    struct iovec io = { &word, 1 };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    if (fd < 0)
        return;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    sendmsg(to, &m, MSG_NOSIGNAL);
    close(fd);
}

int across_take(int from)
{
    union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
    char word;
    struct iovec io = { &word, 1 };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room) };
    struct cmsghdr *c = recvmsg(from, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == 1 ? CMSG_FIRSTHDR(&m) : NULL;
    int fd = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd;
}

/* A text of another process, which may change it at any time. */
static bool read_text(pid_t pid, uint64_t at, char ret[PATH_MAX])
{
    size_t n = 0;

    while (n < PATH_MAX) {
        size_t part = 4096 - (at + n) % 4096;
        struct iovec here = { ret + n, part < PATH_MAX - n ? part : PATH_MAX - n };
        struct iovec there = { (void *)(uintptr_t)(at + n), here.iov_len };
        ssize_t got = process_vm_readv(pid, &here, 1, &there, 1, 0);

        if (got <= 0)
            return false;
        if (memchr(here.iov_base, 0, (size_t)got))
            return true;
        n += (size_t)got;
    }
    return false;
}

static bool has_folder(int nr)
{
#ifdef SYS_rename
    if (nr == SYS_rename)
        return false;
#endif
#ifdef SYS_link
    if (nr == SYS_link)
        return false;
#endif
    return nr != 0;
}

static bool is_rename(int nr)
{
#ifdef SYS_rename
    if (nr == SYS_rename)
        return true;
#endif
    return nr == SYS_renameat || nr == SYS_renameat2;
}

/* What the process would rename or link. O_PATH or -1. */
static int open_source(const struct seccomp_notif *q)
{
    char name[PATH_MAX], path[PATH_MAX + 64];
    bool at = has_folder(q->data.nr);
    int dir = at ? (int)q->data.args[0] : AT_FDCWD;

    if (!read_text((pid_t)q->pid, q->data.args[at ? 1 : 0], name))
        return -1;
    if (name[0] == '/')
        snprintf(path, sizeof(path), "%s", name);
    else if (dir == AT_FDCWD)
        snprintf(path, sizeof(path), "/proc/%u/cwd/%s", q->pid, name);
    else
        snprintf(path, sizeof(path), "/proc/%u/fd/%d/%s", q->pid, dir, name);
    return open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

/* Whether it is of that type, and was there before. */
static bool lies_below(const struct across *a, int fd, mode_t type)
{
    char link[64], path[PATH_MAX];
    size_t n = strlen(a->root);
    ssize_t got;
    struct stat st;

    if (fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != type)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    got = readlink(link, path, sizeof(path) - 1);
    if (got <= (ssize_t)n)
        return false;
    path[got] = 0;
    return memcmp(path, a->root, n) == 0 && path[n] == '/' && fstatat(a->lower, path + n + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (st.st_mode & S_IFMT) == type;
}

bool across_hear(struct across *a)
{
    struct seccomp_notif q = {0};
    struct seccomp_notif_resp answer = {0};
    bool below;
    int fd;

    if (ioctl(a->listener, SECCOMP_IOCTL_NOTIF_RECV, &q) < 0) {
        if (errno != ENOENT && errno != EINTR && errno != EAGAIN)
            a->listener = -1;
        return false;                   /* it died meanwhile */
    }
    fd = open_source(&q);
    below = fd >= 0 && lies_below(a, fd, is_rename(q.data.nr) ? S_IFDIR : S_IFREG);
    if (fd >= 0)
        close(fd);
    answer = (struct seccomp_notif_resp){ .id = q.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
    ioctl(a->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    return below;
}
