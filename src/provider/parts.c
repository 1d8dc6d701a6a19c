/* parts.c - answers as lists of pieces; see encode.h. */
#include "provider/encode.h"

void parts_raw(struct parts *p, struct str json)
{
    cleanup(json_unrefp) json_t *j = NULL;

    if (js_parse_wire(json, &j, NULL) < 0)
        return;                         /* put together from pieces that were broken: it would break the next request */
    p->needed = true;
    buf_addf(&p->list, "%s{", p->list.n ? "," : "");
    js_add_str(&p->list, "raw", json);
    buf_addc(&p->list, '}');
}

static void add_own(struct parts *p, const char *own)
{
    if (own)
        buf_addf(&p->list, ",%s", own);
    p->needed = p->needed || own;
    buf_addc(&p->list, '}');
}

void parts_say(struct parts *p, struct answer *a, const char *own)
{
    size_t n = a->text.n - p->said;

    if (!n && !own)
        return;
    p->needed = p->needed || p->called || p->said;      /* in another order, or in more pieces */
    p->said = a->text.n;
    buf_addf(&p->list, "%s{\"say\":%zu", p->list.n ? "," : "", n);
    add_own(p, own);
}

void parts_call(struct parts *p, struct answer *a, size_t number, const char *own)
{
    parts_say(p, a, NULL);
    p->called = true;
    buf_addf(&p->list, "%s{\"call\":%zu", p->list.n ? "," : "", number);
    add_own(p, own);
}

void parts_end(struct parts *p, struct answer *a)
{
    parts_say(p, a, NULL);
    if (p->needed)
        buf_addf(&a->extra, "{\"parts\":[%s]}", p->list.p);
}

void parts_done(struct parts *p)
{
    buf_done(&p->list);
}

static void add(part_fn *fn, const struct part *p, struct buf *out)
{
    size_t before = out->n;

    if (before && out->p[before - 1] != '[')
        buf_addc(out, ',');
    if (out->n == before) {
        fn(p, out);
        return;
    }
    fn(p, out);
    if (out->n == before + 1)
        out->p[--out->n] = 0;           /* nothing came of it */
}

void encode_parts(const struct msg *m, part_fn *fn, struct buf *out)
{
    cleanup(buf_done) struct buf list = {0};
    cleanup(json_unrefp) json_t *extra = NULL;
    cleanup(freep) bool *done = xcalloc(m->ncalls + 1, sizeof(*done));
    struct str left = m->text;
    const json_t *each;
    size_t i;

    if (m->extra.n)
        js_parse(m->extra, &extra, NULL);
    json_array_foreach(json_object_get(extra, "parts"), i, each) {
        struct part p = { .raw = js_str(each, "raw"), .own = each };
        int64_t call = js_int(each, "call", 0), say = js_int(each, "say", -1);

        if (say >= 0) {
            p.say = str_head(left, (size_t)say);
            left = str_from(left, p.say.n);
        } else if (call > 0 && (uint64_t)call <= m->ncalls && !done[call]) {
            p.call = &m->calls[call - 1];
            done[call] = true;
        } else if (!p.raw.n) {
            continue;
        }
        add(fn, &p, &list);
    }
    if (left.n)
        add(fn, &(struct part){ .say = left }, &list);
    for (i = 0; i < m->ncalls; i++)
        if (!done[i + 1])
            add(fn, &(struct part){ .call = &m->calls[i] }, &list);
    buf_add_str(out, buf_str(&list));
}
