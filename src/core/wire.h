/* wire.h - the record of an answer word for word: the bytes of its body as they came, in `wire` events before its answer or fault.
 *
 *     {request, status, part, parts, encoding: "zstd", data: base64}
 *
 * With the request's hash, which stands in its event, that is all that a session needs to be played again without a network. */
#pragma once

#include "core/session.h"

/* Puts what was received for a request: as many events as its size needs; or, with a secret in it, that it is withheld. */
void wire_put(struct session *s, uint64_t request, struct answer *a, long status, bool secret);
