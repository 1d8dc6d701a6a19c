#include "files/wire.h"

#include <stdio.h>
#include <sys/stat.h>

static void put(char *to, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        to[i] = (char)(n >> (8 * i));
}

static uint64_t get(const char *from)
{
    uint64_t n = 0;

    for (int i = 7; i >= 0; i--)
        n = n << 8 | (unsigned char)from[i];
    return n;
}

static void put_number(struct buf *out, int64_t n)
{
    char bytes[8];

    put(bytes, (uint64_t)n);
    buf_add(out, bytes, sizeof(bytes));
}

static void put_text(struct buf *out, struct str s)
{
    put_number(out, (int64_t)s.n);
    buf_add_str(out, s);
}

static bool get_number(struct str *from, int64_t *ret)
{
    if (from->n < 8)
        return false;
    *ret = (int64_t)get(from->p);
    *from = str_from(*from, 8);
    return true;
}

static bool get_text(struct str *from, struct str *ret)
{
    int64_t n;

    if (!get_number(from, &n) || n < 0 || (uint64_t)n > from->n)
        return false;
    *ret = str_head(*from, (size_t)n);
    *from = str_from(*from, (size_t)n);
    return true;
}

static void begin(struct buf *out, size_t max)
{
    buf_clear(out);
    out->max = max + WIRE_HEAD;
    put_number(out, 0);
}

#define PUT_NUMBER(name) put_number(out, m->name);
#define PUT_TEXT(name) put_text(out, m->name);
#define GET_NUMBER(name) && get_number(&message, &ret->name)
#define GET_TEXT(name) && get_text(&message, &ret->name)

void wire_ask(const struct files_ask *m, struct buf *out)
{
    begin(out, WIRE_ASK_MAX);
    FILES_ASK(PUT_NUMBER, PUT_TEXT)
    if (buf_err(out) == 0)
        put(out->p, out->n - WIRE_HEAD);
}

void wire_answer(const struct files_answer *m, struct buf *out)
{
    begin(out, WIRE_ANSWER_MAX);
    FILES_ANSWER(PUT_NUMBER, PUT_TEXT)
    if (buf_err(out) == 0)
        put(out->p, out->n - WIRE_HEAD);
}

size_t wire_length(const char head[WIRE_HEAD], size_t max)
{
    uint64_t n = get(head);

    return n <= max ? (size_t)n : 0;
}

bool wire_read_ask(struct str message, struct files_ask *ret)
{
    return true FILES_ASK(GET_NUMBER, GET_TEXT) && message.n == 0 && ret->what >= 0 && ret->what < FILES_WHATS;
}

bool wire_read_answer(struct str message, struct files_answer *ret)
{
    return true FILES_ANSWER(GET_NUMBER, GET_TEXT) && message.n == 0 && ret->result <= 0;
}

char *wire_id(int fd, char ret[WIRE_ID])
{
    struct stat st;

    *ret = 0;
    if (fstat(fd, &st) == 0)
        snprintf(ret, WIRE_ID, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return ret;
}
