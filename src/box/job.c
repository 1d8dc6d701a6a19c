#include "box/job.h"

#include "box/report.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX (64 << 10)

void job_pump(struct job *j)
{
    ssize_t n = j->in >= 0 && j->waiting ? write(j->in, j->input, j->waiting) : 0;

    if (n > 0) {
        memmove(j->input, j->input + n, j->waiting - (size_t)n);
        j->waiting -= (size_t)n;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        j->close_in = true, j->waiting = 0;
    if (j->in >= 0 && j->close_in && j->waiting == 0) {
        if (j->tty && write(j->in, "\4", 1) != 1)       /* the end of input at a terminal */
            return;
        close(j->in);
        j->in = -1;
    }
}

/* Takes text, or the end, for the standard input, and notes the key under which it came. */
static bool take_input(struct job *j, int spool, char *message, size_t n, bool end)
{
    char *nl = memchr(message, '\n', n), key[REPORT_SIZE - REPORT_LAST] = "";
    size_t text = nl ? n - (size_t)(nl - message) - 1 : 0;

    if (!nl || (size_t)(nl - message) >= sizeof(key) || j->in < 0 || j->close_in || text > INPUT_MAX - j->waiting)
        return false;
    memcpy(key, message, (size_t)(nl - message));
    if (pwrite(spool, key, sizeof(key), REPORT_LAST) != (ssize_t)sizeof(key))
        return false;
    memcpy(j->input + j->waiting, nl + 1, text);
    j->waiting += text;
    j->close_in = end;
    job_pump(j);
    return true;
}

/* Deals with all that has come over one connection. 1: the job is to end; -1: the connection has. */
static int serve(struct job *j, int i, int spool)
{
    static char message[MESSAGE_MAX];
    ssize_t n;

    while ((n = recv(j->conn[i].fd, message, sizeof(message), MSG_DONTWAIT)) > 0) {
        char answer = 'o';

        if (message[0] == 'w')
            j->conn[i].watches = true;
        else if (message[0] == 'i' || message[0] == 'f')
            answer = take_input(j, spool, message + 1, (size_t)n - 1, message[0] == 'f') ? 'o' : 'x';
        else if (message[0] != 'p' && message[0] != 'k')
            answer = 'x';
        send(j->conn[i].fd, &answer, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (message[0] == 'k')
            return 1;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

bool job_talk(struct job *j, int spool)
{
    for (int i = 0; i < j->n;) {
        int r = serve(j, i, spool);

        if (r > 0)
            return true;
        if (r == 0) {
            i++;
            continue;
        }
        close(j->conn[i].fd);
        memmove(&j->conn[i], &j->conn[i + 1], (size_t)(j->n - i - 1) * sizeof(j->conn[0]));
        j->n--;
    }
    while (j->n < CONNECTIONS) {
        int fd = accept4(j->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            break;
        j->conn[j->n].fd = fd;
        j->conn[j->n++].watches = false;
    }
    return false;
}
