/* base64.h - bytes as text. RFC 4648, section 4. */
#pragma once

#include "base/buf.h"

int base64_add(struct buf *out, struct str bytes);
