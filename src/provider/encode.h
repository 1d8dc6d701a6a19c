/* encode.h - the Chat Completions message format, which more than one provider writes. */
#pragma once

#include "core/provider.h"

int encode_chat_head(const struct model *m, const struct harness *h, const char *system, struct buf *out);
int encode_chat_message(const struct msg *m, struct buf *out);

#define ENCODE_CHAT_TAIL "]}"
