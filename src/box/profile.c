#include "box/profile.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROFILE_MAX (4 << 20)

static const char *const verbs[] = { "uid", "ro", "rw", "keep", "pin", "hide", "dir", "layer", "plan", "tmpfs", "dev", "proc",
                                     "net", "then", "cd", "limit" };
static const char *const limits[LIMITS] = { "file", "files", "memory", "processes", "disk", "copies" };

static bool known(const char *verb)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
        if (strcmp(verbs[i], verb) == 0)
            return true;
    return false;
}

static bool note(struct profile *p, const struct record *r)
{
    size_t i = 0;

    if (strcmp(r->verb, "uid") == 0)
        p->own_users = true;
    else if (strcmp(r->verb, "net") == 0)
        p->host_net = true;
    else if (strcmp(r->verb, "cd") == 0)
        p->cd = r->a;
    if (strcmp(r->verb, "limit") != 0)
        return true;
    while (i < LIMITS && strcmp(limits[i], r->a) != 0)
        i++;
    if (i < LIMITS)
        p->limit[i] = strtoull(r->b, NULL, 10);
    return i < LIMITS;
}

bool profile_read(int fd, struct profile *ret, const char **ret_why)
{
    struct profile p = {0};
    struct stat st;
    char *at;

    *ret_why = "the profile cannot be read";
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > PROFILE_MAX || !(p.text = malloc((size_t)st.st_size + 1)) ||
        pread(fd, p.text, (size_t)st.st_size, 0) != st.st_size)
        return false;
    *ret_why = "the profile is broken";
    if (p.text[st.st_size - 1] != 0)
        return false;
    p.v = calloc((size_t)st.st_size / 3 + 1, sizeof(*p.v));
    for (at = p.text; p.v && at < p.text + st.st_size; p.n++) {
        const char *part[3];

        for (int i = 0; i < 3; i++) {
            if (at >= p.text + st.st_size)
                return false;
            part[i] = at;
            at += strlen(at) + 1;
        }
        p.v[p.n] = (struct record){ part[0], part[1], part[2] };
        if (!known(part[0]) || !note(&p, &p.v[p.n]))
            return false;
    }
    *ret = p;
    return p.v != NULL;
}
