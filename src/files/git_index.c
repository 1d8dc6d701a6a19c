#include "files/git_index.h"

#include "base/buf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define INDEX_MAX   ((size_t)256 << 20)
#define TRAILER     20                  /* a checksum */
#define STAT_SIZE   24                  /* ctime, mtime, dev, ino; mode is next */
#define EXTENDED    0x4000              /* of the flags: there are more */

static uint32_t number(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* An entry, as it lies in the file. */
struct entry {
    const uint8_t *at, *name, *stop;    /* stop: the zero byte behind the name */
    size_t more;                        /* bytes of further flags */
    size_t cut;                         /* version 4: so many bytes of the name before it do not count */
};

/* The entry from `at` on: what follows it, or NULL. */
static const uint8_t *read_entry(const uint8_t *at, const uint8_t *end, uint32_t version, struct entry *ret)
{
    struct entry e = { .at = at };

    if (end - at < 62 + 2)
        return NULL;
    e.more = (at[60] << 8 | at[61]) & EXTENDED ? 2 : 0;
    e.name = at + 62 + e.more;
    if (version == 4) {
        e.cut = *e.name & 0x7f;
        while (e.name < end && (*e.name & 0x80)) {
            e.name++;
            e.cut = (e.cut + 1) << 7 | (e.name < end ? *e.name & 0x7f : 0);
        }
        e.name++;
    }
    e.stop = e.name < end ? memchr(e.name, 0, (size_t)(end - e.name)) : NULL;
    if (!e.stop)
        return NULL;
    *ret = e;
    return version == 4 ? e.stop + 1 : at + (((size_t)(e.stop - at) + 8) & ~(size_t)7);
}

/* Calls fn for each entry. False: it is no index that can be read. */
static bool each_entry(const uint8_t *p, size_t size, bool (*fn)(void *arg, const struct entry *e), void *arg)
{
    const uint8_t *at = p + 12, *end = p + size - TRAILER;
    uint32_t version, count;

    if (size < 12 + TRAILER || memcmp(p, "DIRC", 4) != 0)
        return false;
    version = number(p + 4);
    count = number(p + 8);
    if (version < 2 || version > 4)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        struct entry e;

        at = read_entry(at, end, version, &e);
        if (!at || at > end || !fn(arg, &e))
            return false;
    }
    for (size_t n; end - at >= 8; at += 8 + n) {        /* extensions: caches, and one that counts */
        n = number(at + 4);
        if (memcmp(at, "link", 4) == 0 || n > (size_t)(end - at) - 8)
            return false;
    }
    return at == end;
}

/* All but what is of this disk: times, numbers, owner and size. */
static bool add_entry(void *arg, const struct entry *e)
{
    struct hashing *h = arg;

    hashing_add(h, e->at + STAT_SIZE, 4);
    hashing_add(h, e->at + 40, (size_t)(e->stop - e->at) - 40 + 1);
    return true;
}

static bool add_name(void *arg, const struct entry *e)
{
    struct git_names *names = arg;
    const char *before = names->n ? names->v[names->n - 1] : "";
    size_t n = strlen(before), keep = e->cut || e->name != e->at + 62 + e->more ? (e->cut <= n ? n - e->cut : SIZE_MAX) : 0;

    if (keep == SIZE_MAX)
        return false;
    GROW(names->v, names->n, names->cap);
    names->v[names->n] = xasprintf("%.*s%.*s", (int)keep, before, (int)(e->stop - e->name), (const char *)e->name);
    names->n++;
    return true;
}

static uint8_t *read_index(int fd, size_t *ret_size)
{
    struct stat st;
    uint8_t *p;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 12 + TRAILER || (size_t)st.st_size > INDEX_MAX)
        return NULL;
    p = xmalloc((size_t)st.st_size);
    if (pread(fd, p, (size_t)st.st_size, 0) != st.st_size) {
        free(p);
        return NULL;
    }
    *ret_size = (size_t)st.st_size;
    return p;
}

bool git_index_digest(int fd, struct hash *ret)
{
    size_t size;
    cleanup(freep) uint8_t *p = read_index(fd, &size);
    struct hashing h;

    hashing_init(&h);
    if (!p || !each_entry(p, size, add_entry, &h))
        return false;
    hashing_add(&h, p, 12);
    *ret = hashing_end(&h);
    return true;
}

bool git_index_digest_at(int dir, const char *name, struct hash *ret)
{
    cleanup(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd >= 0 && git_index_digest(fd, ret);
}

bool git_index_names(int fd, struct git_names *ret)
{
    size_t size;
    cleanup(freep) uint8_t *p = read_index(fd, &size);

    *ret = (struct git_names){0};
    if (p && each_entry(p, size, add_name, ret))
        return true;
    git_names_done(ret);
    return false;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, *(char *const *)b);
}

bool git_names_have(const struct git_names *names, const char *path)
{
    return names->n && bsearch(path, names->v, names->n, sizeof(*names->v), compare);
}

void git_names_done(struct git_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->v[i]);
    free(names->v);
    *names = (struct git_names){0};
}
