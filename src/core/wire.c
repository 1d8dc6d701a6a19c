#include "core/wire.h"

#include "base/base64.h"

#define PART_MAX (EVENT_BODY_MAX / 2)   /* compressed bytes of one event; base64 makes four of three */

static void put_part(struct session *s, uint64_t request, long status, struct str data, size_t part, size_t parts)
{
    struct buf body = {0};

    buf_addc(&body, '{');
    js_add_int(&body, "request", (int64_t)request);
    js_add_int(&body, "status", status ? status : 200);
    js_add_int(&body, "part", (int64_t)part);
    js_add_int(&body, "parts", (int64_t)parts);
    js_add_text(&body, "encoding", "zstd");
    js_key(&body, "data");
    buf_addc(&body, '"');
    base64_add(&body, data);
    buf_adds(&body, "\"}");
    session_put(s, EV_WIRE, request, FROM_MODEL, &body);
}

void wire_put(struct session *s, uint64_t request, struct answer *a, long status, bool secret)
{
    size_t parts;

    if (secret || a->secret) {
        struct buf body = {0};

        buf_addc(&body, '{');
        js_add_int(&body, "request", (int64_t)request);
        js_add_int(&body, "status", status ? status : 200);
        js_add_text(&body, "withheld", "a secret was in it");
        buf_addc(&body, '}');
        session_put(s, EV_WIRE, request, FROM_MODEL, &body);
        return;
    }

    pack_end(&a->wire);
    parts = (a->wire.out.n + PART_MAX - 1) / PART_MAX;
    for (size_t i = 0; i < parts; i++)
        put_part(s, request, status, str_head(str_from(buf_str(&a->wire.out), i * PART_MAX), PART_MAX), i + 1, parts);
}
