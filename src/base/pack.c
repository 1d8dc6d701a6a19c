#include "base/pack.h"

#include <zstd.h>

#define LEVEL      1            /* half a gigabyte a second */
#define WINDOW_LOG 17           /* bytes that are remembered: 128 KB, so that a stream costs no more memory than that */
#define CHUNK      ((size_t)64 << 10)

/* Making the tables costs more than a short answer: one set is kept for the next. */
static ZSTD_CCtx *spare;

static void feed(struct pack *p, struct str bytes, ZSTD_EndDirective how)
{
    ZSTD_inBuffer in = { bytes.p, bytes.n, 0 };
    size_t left = 1;

    while (left && (in.pos < in.size || how == ZSTD_e_end)) {
        char *to = buf_room(&p->out, CHUNK);
        ZSTD_outBuffer out = { to, CHUNK, 0 };

        if (!to)
            return;
        left = ZSTD_compressStream2(p->stream, &out, &in, how);
        assert(!ZSTD_isError(left));
        p->out.n += out.pos;
        if (how == ZSTD_e_continue)
            left = 1;
    }
}

void pack_add(struct pack *p, struct str bytes)
{
    if (!p->stream) {
        p->stream = spare ? TAKE(spare) : ZSTD_createCCtx();
        if (!p->stream)
            abort();
        ZSTD_CCtx_reset(p->stream, ZSTD_reset_session_and_parameters);
        ZSTD_CCtx_setParameter(p->stream, ZSTD_c_compressionLevel, LEVEL);
        ZSTD_CCtx_setParameter(p->stream, ZSTD_c_windowLog, WINDOW_LOG);
    }
    p->in += bytes.n;
    feed(p, bytes, ZSTD_e_continue);
}

static void put_back(struct pack *p)
{
    if (spare)
        ZSTD_freeCCtx(p->stream);
    else
        spare = p->stream;
    p->stream = NULL;
}

void pack_end(struct pack *p)
{
    if (!p->stream)
        return;
    feed(p, (struct str){ "", 0 }, ZSTD_e_end);
    put_back(p);
}

void pack_done(struct pack *p)
{
    put_back(p);
    buf_done(&p->out);
    *p = (struct pack){0};
}
