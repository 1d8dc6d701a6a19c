#include "core/event.h"

#include "base/js.h"

#include <endian.h>

struct event *event_new(enum kind kind, uint64_t seq, int64_t time, uint64_t cause, uint32_t labels, struct buf *body)
{
    struct event *ev = xcalloc(1, sizeof(*ev));

    ev->kind = kind;
    ev->seq = seq;
    ev->time = time;
    ev->cause = cause;
    ev->labels = labels;
    ev->body.n = body->n;
    ev->body.p = buf_take(body);
    return ev;
}

void event_free(struct event *ev)
{
    if (!ev)
        return;
    free((char *)ev->body.p);
    free(ev);
}

struct hash event_hash(const struct event *ev, const struct hash *previous)
{
    struct {
        uint16_t format, kind;
        uint32_t labels;
        uint64_t seq;
        int64_t time;
        uint64_t cause, length;
    } head = {
        htole16(EVENT_FORMAT), htole16((uint16_t)ev->kind), htole32(ev->labels), htole64(ev->seq),
        (int64_t)htole64((uint64_t)ev->time), htole64(ev->cause), htole64(ev->body.n),
    };
    struct hashing h;
    struct hash inner;

    static_assert(sizeof(head) == 40, "the head has no holes");
    hashing_init(&h);
    hashing_add(&h, ev->salt, sizeof(ev->salt));
    hashing_add(&h, ev->body.p, ev->body.n);
    inner = hashing_end(&h);
    hashing_init(&h);
    hashing_add(&h, previous->b, HASH_SIZE);
    hashing_add(&h, &head, sizeof(head));
    hashing_add(&h, inner.b, HASH_SIZE);
    return hashing_end(&h);
}

bool kind_known(int number)
{
    switch (number) {
#define X(n, NAME, text) case n:
    EVENT_KINDS(X)
#undef X
        return true;
    }
    return false;
}

const char *kind_name(enum kind kind)
{
    switch (kind) {
#define X(n, NAME, text) case EV_##NAME: return text;
    EVENT_KINDS(X)
#undef X
    }
    return "?";
}

void event_json(struct buf *out, const char *session, const struct event *ev)
{
    char hex[HASH_HEX];

    buf_addc(out, '{');
    js_add_text(out, "session", session);
    js_add_int(out, "seq", (int64_t)ev->seq);
    js_add_int(out, "time", ev->time);
    js_add_text(out, "kind", kind_name(ev->kind));
    js_add_int(out, "cause", (int64_t)ev->cause);
    js_add_int(out, "labels", ev->labels);
    js_add_text(out, "hash", hash_hex(&ev->hash, hex));
    if (ev->erased)
        js_add_bool(out, "erased", true);
    else
        js_add_raw(out, "body", ev->body);
    buf_addc(out, '}');
}
