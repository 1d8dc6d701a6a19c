#include "box/hold.h"

#include "box/confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket that listens on a port of the box's loopback. The box's namespaces are entered for it: this process has nothing else to
 * do. A descriptor or -errno. */
static int listen_inside(pid_t init, int port)
{
    static const struct { const char *name; int kind; } spaces[] = { { "user", CLONE_NEWUSER }, { "net", CLONE_NEWNET } };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int space[2], fd;

    for (size_t i = 0; i < 2; i++) {
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/ns/%s", init, spaces[i].name);
        space[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (space[i] < 0)
            return -errno;
    }
    for (size_t i = 0; i < 2; i++)
        if (setns(space[i], spaces[i].kind) < 0)
            return -errno;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0)
        return -errno;
    return fd;
}

/* Says how it went, with the socket if there is one. */
static void tell_holder(int to, int error, pid_t init, const char *what, int fd)
{
    char text[300], room[CMSG_SPACE(sizeof(fd))] = {0};
    int n = snprintf(text, sizeof(text), "%d %d %.200s", error, init, what ? what : "");
    struct iovec io = { text, (size_t)n };
    struct msghdr m = { .msg_iov = &io, .msg_iovlen = 1 };

    if (fd >= 0) {
        struct cmsghdr *c;

        m.msg_control = room;
        m.msg_controllen = sizeof(room);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    sendmsg(to, &m, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
}

int box_serve_hold(int to, const struct profile *p, int port)
{
    const char *what = NULL;
    struct box box;
    int error = box_hold(&box, p, &what), fd = -1;
    char word;

    if (!error && port) {
        fd = listen_inside(box.init, port);
        error = fd < 0 ? -fd : 0;
        what = error ? "a socket for its proxy" : NULL;
    }
    tell_holder(to, error, box.init, what, fd);
    while (!error && read(to, &word, 1) > 0)
        ;
    return 0;
}
