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

/* One entry from `at` on, of the index that begins at `base`: what follows it, or NULL. What counts of it is added. */
static const uint8_t *entry(const uint8_t *at, const uint8_t *end, uint32_t version, struct hashing *h)
{
    const uint8_t *begin = at, *name, *stop;
    size_t more, n;

    if (end - at < 62 + 2)
        return NULL;
    more = (at[60] << 8 | at[61]) & EXTENDED ? 2 : 0;
    name = at + 62 + more;
    while (version == 4 && name < end && (*name & 0x80))        /* how many bytes of the name before it goes on with */
        name++;
    name += version == 4;
    stop = name < end ? memchr(name, 0, (size_t)(end - name)) : NULL;
    if (!stop)
        return NULL;
    hashing_add(h, at + STAT_SIZE, 4);  /* mode; uid, gid and size are of this disk */
    hashing_add(h, at + 40, 20 + 2 + more);
    hashing_add(h, at + 62 + more, (size_t)(stop - at) - 62 - more + 1);
    n = (size_t)(stop - begin);
    return version == 4 ? stop + 1 : begin + ((n + 8) & ~(size_t)7);
}

static bool digest(const uint8_t *p, size_t size, struct hash *ret)
{
    const uint8_t *at = p + 12, *end = p + size - TRAILER;
    uint32_t version, count;
    struct hashing h;

    if (size < 12 + TRAILER || memcmp(p, "DIRC", 4) != 0)
        return false;
    version = number(p + 4);
    count = number(p + 8);
    if (version < 2 || version > 4)
        return false;
    hashing_init(&h);
    hashing_add(&h, p, 12);
    for (uint32_t i = 0; i < count; i++) {
        at = entry(at, end, version, &h);
        if (!at || at > end)
            return false;
    }
    for (size_t n; end - at >= 8; at += 8 + n) {        /* extensions: caches, and one that counts */
        n = number(at + 4);
        if (memcmp(at, "link", 4) == 0 || n > (size_t)(end - at) - 8)
            return false;
    }
    *ret = hashing_end(&h);
    return at == end;
}

bool git_index_digest(int fd, struct hash *ret)
{
    struct stat st;
    uint8_t *p;
    bool good;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 12 + TRAILER || (size_t)st.st_size > INDEX_MAX)
        return false;
    p = xmalloc((size_t)st.st_size);
    good = pread(fd, p, (size_t)st.st_size, 0) == st.st_size && digest(p, (size_t)st.st_size, ret);
    free(p);
    return good;
}

bool git_index_digest_at(int dir, const char *name, struct hash *ret)
{
    cleanup(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd >= 0 && git_index_digest(fd, ret);
}
