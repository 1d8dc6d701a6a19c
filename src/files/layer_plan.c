/* layer_plan.c - a layer's plan and its state, on disk. */
#include "files/layer_impl.h"

#include <nettle/hmac.h>
#include <stdio.h>
#include <unistd.h>

/* The plan on disk: how many bytes it replaces, its seal, then a step a record, each ended by a zero byte, and "end".
 *
 * The seal is made with a key of this rein's (env/worker.c), over the layer's name and all else. A repository may bring a folder
 * that looks like a layer; nothing is moved for the sake of one that has not come about here. */
static void make_seal(const struct layer *l, struct str bytes, struct str steps, char ret[HASH_HEX])
{
    struct hmac_sha256_ctx h;
    struct hash seal;

    hmac_sha256_set_key(&h, HASH_SIZE, l->o->w->key.b);
    hmac_sha256_update(&h, strlen(l->name) + 1, (const uint8_t *)l->name);
    hmac_sha256_update(&h, strlen(l->shown) + 1, (const uint8_t *)l->shown);
    hmac_sha256_update(&h, bytes.n, (const uint8_t *)bytes.p);
    hmac_sha256_update(&h, steps.n, (const uint8_t *)steps.p);
    hmac_sha256_digest(&h, HASH_SIZE, seal.b);
    hash_hex(&seal, ret);
}

/* Reads a plan: what follows its seal, which has to be right. */
static int read_sealed(const struct layer *l, struct buf *text, struct str *ret_steps)
{
    int r = read_whole(l->dir, "plan", PLAN_MAX, text);
    struct str rest = buf_str(text);
    const char *bytes, *seal;
    char want[HASH_HEX];

    if (r < 0)
        return r;
    bytes = wire_next(&rest);
    seal = bytes ? wire_next(&rest) : NULL;
    if (!seal)
        return -EBADMSG;
    make_seal(l, (struct str){ bytes, strlen(bytes) + 1 }, rest, want);
    *ret_steps = rest;
    return strcmp(seal, want) == 0 ? 0 : -EBADMSG;
}

bool layer_is_ours(const struct layer *l)
{
    cleanup(buf_done) struct buf text = {0};
    struct str steps;

    return read_sealed(l, &text, &steps) == 0;
}

static int put_file(int dir, const char *name, struct str text, bool sync)
{
    cleanup(freep) char *temp = xasprintf("%s.new", name);
    cleanup(closep) int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0 && errno != EINTR)
            return -errno;
        text = str_from(text, (size_t)MAX(n, (ssize_t)0));
    }
    if (!sync)
        return renameat(dir, temp, dir, name) < 0 ? -errno : 0;
    return fsync(fd) < 0 || renameat(dir, temp, dir, name) < 0 || fsync(dir) < 0 ? -errno : 0;
}

#define KNOWN_OUT "%llu %llu %lld %lld %o %u %u "
#define KNOWN_ARGS(k) (unsigned long long)(k).dev, (unsigned long long)(k).ino, (long long)(k).size, (long long)(k).mtime, \
                      (k).mode, (k).uid, (k).gid

int layer_put_plan(struct layer *l, bool sync)
{
    cleanup(buf_done) struct buf out = BUF_MAX(PLAN_MAX), all = BUF_MAX(PLAN_MAX);
    char size[24], seal[HASH_HEX];
    int64_t bytes = 0;

    for (size_t i = 0; i < l->plan.n; i++)
        bytes += l->plan.v[i].kind == 'm' ? 0 : l->plan.v[i].old.size;
    for (size_t i = 0; i < l->plan.n; i++) {
        const struct step *s = &l->plan.v[i];

        buf_addf(&out, "%c " KNOWN_OUT KNOWN_OUT, s->kind, KNOWN_ARGS(s->old), KNOWN_ARGS(s->new));
        buf_add(&out, s->path, strlen(s->path) + 1);
    }
    buf_adds(&out, "end");
    snprintf(size, sizeof(size), "%lld", (long long)bytes);
    make_seal(l, (struct str){ size, strlen(size) + 1 }, buf_str(&out), seal);
    buf_add(&all, size, strlen(size) + 1);
    buf_add(&all, seal, sizeof(seal));
    buf_add_str(&all, buf_str(&out));
    return buf_err(&out) < 0 || buf_err(&all) < 0 ? -E2BIG : put_file(l->dir, "plan", buf_str(&all), sync);
}

static bool read_known(const char **at, struct known *ret)
{
    unsigned long long dev, ino;
    long long size, mtime;
    int n = 0;

    if (sscanf(*at, " %llu %llu %lld %lld %o %u %u%n", &dev, &ino, &size, &mtime, &ret->mode, &ret->uid, &ret->gid, &n) != 7)
        return false;
    ret->dev = dev;
    ret->ino = ino;
    ret->size = size;
    ret->mtime = mtime;
    *at += n;
    return true;
}

int64_t layer_bytes(const struct layer *l)
{
    cleanup(closep) int fd = openat(l->dir, "plan", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char text[24] = "";
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    return (n > 0 ? MAX(strtoll(text, NULL, 10), 0LL) : 0) + (l->git ? layer_bytes(l->git) : 0);
}

int layer_get_plan(struct layer *l)
{
    cleanup(buf_done) struct buf text = {0};
    struct str rest;
    int r = read_sealed(l, &text, &rest);
    const char *each;

    while (r == 0 && (each = wire_next(&rest))) {
        struct step s = { .kind = *each };
        const char *at = *each ? each + 1 : each;

        if (!read_known(&at, &s.old) || !read_known(&at, &s.new) || *at != ' ')
            return -EBADMSG;
        s.path = xstrdup(at + 1);
        GROW(l->plan.v, l->plan.n, l->plan.cap);
        l->plan.v[l->plan.n++] = s;
    }
    return r < 0 ? r : str_is(rest, "end") ? 0 : -EBADMSG;
}

int layer_put_state(struct layer *l, const char *state, bool sync)
{
    return put_file(l->dir, STATE, str_of(state), sync);
}

int layer_state(struct layer *l, char ret[16])
{
    cleanup(buf_done) struct buf text = {0};
    int r = read_whole(l->dir, STATE, 64, &text);

    snprintf(ret, 16, "%.*s", (int)MIN(text.n, (size_t)15), text.n ? text.p : "");
    return r == -ENOENT ? 0 : r;
}
