/* cmd_gc.c - removes what nothing needs any more, and says how large the store is.
 *
 *   sessions     only with --older: those in which nothing happened for so many days, their outputs with them
 *   outputs      spool files of sessions that are gone, and of the others after OUTPUT_DAYS
 *   the rest     blobs without an event, sessions that never began, answers to debug that nobody fetched
 *
 * What a rein is at work on is left alone. */
#include "base/clock.h"
#include "base/path.h"
#include "cmd/agent.h"
#include "env/layer.h"
#include "env/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUTPUT_DAYS 30
#define NS_PER_DAY  (86400 * NS_PER_S)

struct tally {
    bool dry;
    int64_t sessions, files, bytes;
    int64_t layers;                     /* that can no longer be taken back */
};

/* Sessions. */

/* What a session's commands replaced lies in its workspace: it goes with the session. */
static CO void forget_layers(struct agent *a, const struct session_row *row, struct tally *t)
{
    cleanup(layers_done) struct layers all = {0};
    struct env *env;
    struct err e;
    size_t n = strlen(row->id);

    if (!row->cwd || access(row->cwd, F_OK) < 0 || env_local(row->cwd, a->home, &env, &e) < 0)
        return;
    if (layer_list(env, &all, &e) < 0)
        all.n = 0;
    for (size_t i = 0; i < all.n; i++) {
        const struct layer_row *layer = &all.v[i];

        if (strncmp(layer->name, row->id, n) == 0 && layer->name[n] == '-' && (t->dry || layer_drop(env, layer->name, &e) == 0))
            t->layers++;
    }
    env_free(env);
}

static CO int forget(struct agent *a, const struct session_row *row, struct tally *t)
{
    struct event *last;
    struct err e = {0};
    int64_t age;
    int r = store_last(a->store, row->key, &last, &e);

    if (r < 0)
        return 0;                       /* one that cannot be read is kept: salvage may */
    age = clock_wall() - last->time;
    event_free(last);
    if (age < a->in->opt.older * NS_PER_DAY)
        return 0;
    r = t->dry ? 0 : store_forget(a->store, row->key, &e);
    if (r == -EBUSY || r == -EMLINK) {
        if (!a->in->opt.quiet)
            fprintf(stderr, "rein: session %s is kept: %s\n", row->id, e.msg);
        return 0;
    }
    if (r < 0)
        return fail(STATUS_FAILED, "session %s: %s", row->id, e.msg);
    t->sessions++;
    forget_layers(a, row, t);
    return 0;
}

static CO int forget_old(struct agent *a, struct tally *t)
{
    struct session_row *rows = NULL;
    struct err e = {0};
    size_t n = 0;
    int r = store_list(a->store, SIZE_MAX / 4, &rows, &n, &e);

    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    for (size_t i = 0; i < n && r == 0; i++)    /* the newest first, so forks go before what they were forked from */
        r = forget(a, &rows[i], t);
    store_rows_free(rows, n);
    return r;
}

/* Files. */

/* The session that a spool file belongs to: its name begins with the id. */
static CO bool has_session(struct agent *a, const char *name)
{
    cleanup(freep) char *id = xstrndup(name, strcspn(name, "-"));
    struct session_row row;
    bool found = store_find(a->store, id, &row, NULL) == 0;

    if (found)
        session_row_done(&row);
    return found;
}

/* A supervisor holds a lock on its file for as long as it lives. */
static bool in_use(int dir, const char *name)
{
    cleanup(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0;
}

static CO bool is_needed(struct agent *a, int dir, const char *name, const struct stat *st)
{
    size_t n = strlen(name), socket = n > 5 && strcmp(name + n - 5, ".sock") == 0 ? 5 : 0;
    cleanup(freep) char *output = xstrndup(name, n - socket);

    if (in_use(dir, output))
        return true;
    if (socket)
        return false;                   /* a job's, which has ended */
    return clock_wall() - st->st_mtime * NS_PER_S < OUTPUT_DAYS * NS_PER_DAY && has_session(a, name);
}

static void remove_file(int dir, const char *name, const struct stat *st, struct tally *t)
{
    if (!t->dry && unlinkat(dir, name, 0) < 0)
        return;
    t->files++;
    t->bytes += st->st_blocks * 512;
}

/* Goes through a folder; returns the bytes that stay. */
static CO int64_t sweep(struct agent *a, const char *path, bool spool, struct tally *t)
{
    DIR *d = opendir(path);
    struct dirent *de;
    int64_t left = 0;

    while (d && (de = readdir(d))) {
        struct stat st;

        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || S_ISDIR(st.st_mode))
            continue;
        if (spool ? !is_needed(a, dirfd(d), de->d_name, &st)
                  : strncmp(de->d_name, "fibers.", 7) == 0 && clock_wall() - st.st_mtime * NS_PER_S > NS_PER_DAY)
            remove_file(dirfd(d), de->d_name, &st, t);
        else
            left += st.st_blocks * 512;
    }
    if (d)
        closedir(d);
    return left;
}

/* What sessions' commands keep at home and in /tmp: gone with the session, or with the `rein box` that it was made for. */
static CO void sweep_boxes(struct agent *a, struct tally *t)
{
    cleanup(freep) char *path = xasprintf("%s/box", a->home);
    DIR *d = opendir(path);
    struct dirent *de;

    while (d && (de = readdir(d))) {
        cleanup(freep) char *folder = xasprintf("%s/%s", path, de->d_name);
        int pid = 0;
        bool needed = sscanf(de->d_name, "hand-%d", &pid) == 1 ? kill(pid, 0) == 0 || errno == EPERM : has_session(a, de->d_name);

        if (de->d_name[0] == '.' || needed)
            continue;
        if (!t->dry)
            path_remove(AT_FDCWD, folder);
        t->files++;
    }
    if (d)
        closedir(d);
}

static void print_tally(const struct agent *a, const struct tally *t, const struct store_sizes *z, int64_t outputs)
{
    if (a->in->opt.json) {
        printf("{\"dry_run\":%s,\"sessions_removed\":%lld,\"layers_removed\":%lld,\"files_removed\":%lld,\"bytes_of_files\":%lld,"
               "\"sessions\":%lld,\"events\":%lld,\"database\":%lld,\"log\":%lld,\"outputs\":%lld}\n", t->dry ? "true" : "false",
               (long long)t->sessions, (long long)t->layers, (long long)t->files, (long long)t->bytes, (long long)z->sessions,
               (long long)z->events, (long long)z->database, (long long)z->log, (long long)outputs);
        return;
    }
    printf("%s %lld sessions and %lld files of %.1f MB\n", t->dry ? "would remove" : "removed", (long long)t->sessions,
           (long long)t->files, (double)t->bytes / 1e6);
    if (t->layers)
        printf("what %lld commands changed %s be taken back any more\n", (long long)t->layers, t->dry ? "could not" : "cannot");
    printf("%s: %lld sessions, %lld events; database %.1f MB, its log file %.1f MB, outputs of commands %.1f MB\n", a->home,
           (long long)z->sessions, (long long)z->events, (double)z->database / 1e6, (double)z->log / 1e6, (double)outputs / 1e6);
}

static CO int gc_main(struct agent *a)
{
    cleanup(freep) char *spool = xasprintf("%s/spool", a->home);
    struct tally t = { .dry = a->in->opt.dry_run };
    struct store_sizes z;
    struct err e = {0};
    int64_t outputs;
    int r;

    if (a->in->nargs)
        return fail(STATUS_USAGE, "gc takes no argument; --older DAYS also removes old sessions");
    r = agent_store(a, STORE_WRITE, &e);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    r = a->in->opt.older ? forget_old(a, &t) : 0;
    if (r != 0)
        return r;
    outputs = sweep(a, spool, true, &t);
    sweep(a, a->home, false, &t);
    sweep_boxes(a, &t);
    r = t.dry ? 0 : store_tidy(a->store, &e);
    if (r == 0)
        r = store_measure(a->store, &z, &e);
    if (r < 0)
        return fail(STATUS_FAILED, "%s", e.msg);
    print_tally(a, &t, &z, outputs);
    return STATUS_DONE;
}

int cmd_gc(struct invocation *in)
{
    return agent_main(in, gc_main);
}
