/* shell.c - what commands take over from a shell: the user's environment, and the state of the command before.
 *
 * A persistent shell is no process: each command begins in the directory and with the variables in which the one before ended.
 * Those stand in a file beside its output, written by the shell itself as it ends. So there is nothing to lose when rein is killed,
 * and a fork or a resumed session goes on from the state that its log names. */
#include "env/local_impl.h"

#include "rt/offload.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHELL_MS   5000                 /* for the user's shell to say what its environment is */
#define ENV_LIMIT  ((size_t)1 << 20)

extern char **environ;

/* $1: file to begin with, $2: file to leave behind, $3: command. Variables that the shell sets and nobody may are not taken over;
 * they stand in one line each. */
const char shell_wrapper[] =
    "if [ -r \"$1\" ]; then . \"$1\"; cd \"$REIN_PWD\" || echo \"(back in $(pwd -P))\" >&2; unset REIN_PWD; fi\n"
    "rein_to=$2\n"
    "trap 'rein_status=$?; trap - EXIT; REIN_PWD=$PWD; { printf \"# %s\\n\" \"$(pwd -P)\"; set; export -p; } | "
    "sed -E \"/^(export |declare -x )?(PPID|UID|EUID|SHELLOPTS|BASHOPTS|_|rein_to|rein_status)=/d; "
    "/^(BASH_[A-Z]*|DIRSTACK|FUNCNAME|GROUPS|PIPESTATUS)=[(]/d\" >\"$rein_to\" 2>/dev/null; exit $rein_status' EXIT\n"
    "eval \"$3\"";

const char shell_plain[] =
    "cd \"$4\" || exit 1\n"
    "rein_from=$1 rein_to=$2\n"
    "trap 'rein_status=$?; trap - EXIT; { printf \"# %s\\n\" \"$(pwd -P)\"; [ ! -r \"$rein_from\" ] || sed 1d \"$rein_from\"; "
    "REIN_PWD=$PWD; set | sed -n \"/^REIN_PWD=/p\"; } >\"$rein_to\" 2>/dev/null; exit $rein_status' EXIT\n"
    "eval \"$3\"";

char *shell_path(struct local *l, const char *key)
{
    return xasprintf("%s/%s.shell", l->spool, key);
}

/* The user's shell is asked on a thread of the pool. */
struct ask {
    struct job job;
    struct buf out;
    bool ok;
};

static void read_until(struct ask *a, int fd, int64_t ms)
{
    struct pollfd p = { fd, POLLIN, 0 };

    while (ms > 0 && poll(&p, 1, 50) >= 0) {
        ssize_t n;

        ms -= 50;
        if (!p.revents)
            continue;
        n = read(fd, buf_room(&a->out, 4096), 4096);
        if (n <= 0) {
            a->ok = n == 0;
            return;
        }
        a->out.n += (size_t)n;
        if (a->out.n > ENV_LIMIT)
            return;
    }
}

static void ask_run(struct job *job)
{
    struct ask *a = container_of(job, struct ask, job);
    const char *shell = getenv("SHELL");
    int out[2];
    pid_t pid;

    if (!shell || shell[0] != '/' || pipe2(out, O_CLOEXEC) < 0)
        return;
    a->out.max = ENV_LIMIT + 8192;
    pid = vfork();
    if (pid == 0) {
        int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

        setsid();
        dup2(nothing, 0);
        dup2(nothing, 1);
        dup2(nothing, 2);
        dup2(out[1], 3);
        execl(shell, shell, "-l", "-i", "-c", "env -0 >&3", NULL);
        _exit(127);
    }
    close(out[1]);
    if (pid > 0) {
        read_until(a, out[0], SHELL_MS);
        kill(-pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    close(out[0]);
}

static void ask_free(struct job *job)
{
    struct ask *a = container_of(job, struct ask, job);

    buf_done(&a->out);
    free(a);
}

/* The variables that a shell has written, each ended by a zero byte. They are kept for the life of the process. */
static char **parse(struct buf *text)
{
    char *all = xmalloc(text->n + 1), **env = NULL;
    size_t n = 0, cap = 0;

    memcpy(all, text->p, text->n + 1);
    for (size_t at = 0; at < text->n; at += strlen(all + at) + 1) {
        const char *name = all + at;

        if (!strchr(name, '=') || strncmp(name, "SHLVL=", 6) == 0 || strncmp(name, "_=", 2) == 0 || strncmp(name, "PWD=", 4) == 0 ||
            strncmp(name, "OLDPWD=", 7) == 0)
            continue;
        GROW(env, n, cap);
        env[n++] = all + at;
    }
    GROW(env, n, cap);
    env[n] = NULL;
    return env;
}

CO char **user_environment(void)
{
    static char **known;
    struct ask *a;

    if (known)
        return known;
    /* A shell that rein was started from has done its part. */
    if (getenv("SHLVL") || !getenv("SHELL"))
        return known = environ;
    a = xcalloc(1, sizeof(*a));
    a->job.run = ask_run;
    a->job.free = ask_free;
    if (offload(&a->job, "the user's shell", SHELL_MS * 2) < 0)
        return environ;
    known = a->ok && a->out.n ? parse(&a->out) : environ;
    job_free(&a->job);
    return known;
}
