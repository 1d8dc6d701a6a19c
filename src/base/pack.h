/* pack.h - bytes made small as they come, in one zstd frame (RFC 8878). Streams of a model's words shrink to about a tenth. */
#pragma once

#include "base/buf.h"

struct pack {
    void *stream;               /* NULL until the first byte, and after the end */
    struct buf out;
    size_t in;                  /* bytes taken so far */
};

/* Zeroed is ready. */
void pack_add(struct pack *p, struct str bytes);

/* Ends the frame; `out` then holds it all. */
void pack_end(struct pack *p);
void pack_done(struct pack *p);
