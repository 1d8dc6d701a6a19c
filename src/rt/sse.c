#include "rt/sse.h"

static int end_of_line(struct sse *s, sse_fn *fn, void *arg)
{
    struct str line = buf_str(&s->line), name, value;
    const char *colon;
    int r = 0;

    if (line.n == 0) {
        if (s->has_data)
            r = fn(arg, buf_str(&s->event), buf_str(&s->data));
        buf_clear(&s->data);
        buf_clear(&s->event);
        s->has_data = false;
        return r;
    }
    if (line.p[0] == ':') {
        s->comments++;
        return 0;
    }
    colon = memchr(line.p, ':', line.n);
    name = colon ? (struct str){ line.p, (size_t)(colon - line.p) } : line;
    value = colon ? str_from(line, name.n + 1) : (struct str){ "", 0 };
    if (value.n && value.p[0] == ' ')
        value = str_from(value, 1);

    if (str_is(name, "data")) {
        if (s->has_data)
            buf_addc(&s->data, '\n');
        s->has_data = true;
        r = buf_add_str(&s->data, value);
    } else if (str_is(name, "event")) {
        buf_clear(&s->event);
        r = buf_add_str(&s->event, value);
    }
    return r;
}

int sse_feed(struct sse *s, struct str in, sse_fn *fn, void *arg)
{
    size_t i = 0;
    int r;

    if (!s->data.max) {
        s->data.max = s->line.max = s->max ? s->max : SSE_MAX_DEFAULT;
        s->event.max = 4096;
    }
    while (i < in.n) {
        size_t end = i;

        if (s->after_cr) {
            s->after_cr = false;
            if (in.p[i] == '\n') {
                i++;
                continue;
            }
        }
        while (end < in.n && in.p[end] != '\n' && in.p[end] != '\r')
            end++;
        r = buf_add(&s->line, in.p + i, end - i);
        if (r < 0)
            return r;
        if (end == in.n)
            return 0;
        s->after_cr = in.p[end] == '\r';
        i = end + 1;
        if (!s->started) {
            s->started = true;
            if (s->line.n >= 3 && memcmp(s->line.p, "\xef\xbb\xbf", 3) == 0)
                buf_skip(&s->line, 3);
        }
        r = end_of_line(s, fn, arg);
        buf_clear(&s->line);
        if (r < 0)
            return r;
    }
    return 0;
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
    buf_done(&s->event);
}
