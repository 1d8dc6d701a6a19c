/* encode.h - the Chat Completions message format, which more than one provider writes. */
#pragma once

#include "core/provider.h"

int encode_chat_head(const struct model *m, const struct harness *h, const char *system, const char *session,
                     struct buf *out);
int encode_chat_message(const struct model *m, const struct msg *msg, struct buf *out);

#define ENCODE_CHAT_TAIL "]}"

/* The members that say how hard to think: the service's own, or those of the API; nothing when nothing is asked for. */
void encode_effort(const struct model *m, const char *const api[EFFORTS], struct buf *out);

/* A call's id as every API takes it: letters, digits, _ and -, at most 40; another one becomes a name made of its hash. */
#define ENCODE_ID_MAX 48
const char *encode_id(struct str id, char ret[ENCODE_ID_MAX]);

/* A tool's name as every API takes it, whatever a model made of it: other characters become _, and it ends after 64. */
#define ENCODE_NAME_MAX 65
const char *encode_name(struct str name, char ret[ENCODE_NAME_MAX]);

/* Tokens that one answer may have: the model's limit, or the harness's where that is lower; 0: nobody says. */
int64_t encode_limit(const struct model *m, const struct harness *h);

/* The parameters of a tool as services with strict calls want them: no other members, all required, and those that were not may be
 * null instead. */
void encode_strict(const struct harness_tool *t, struct buf *out);

/* An address below a base that may end in a slash. The caller frees. */
char *encode_url(const char *base, const char *below);

/* Parts: an answer as a list of pieces in the order in which they came, for APIs where the order counts and some pieces go back
 * untouched. It is kept as the answer's `extra`, {"parts":[...]}, where a piece is {"raw": text of JSON}, {"say": bytes of the
 * answer's text}, or {"call": number from 1}; the last two may have members of the API's own. */
struct part {
    struct str raw;                     /* with no call and no text: goes back as it is */
    struct str say;
    const struct msg_call *call;
    const json_t *own;                  /* the piece itself, for members of the API's own; or NULL */
};

/* Appends one piece in the API's form, with no comma; nothing if there is no room for it. */
typedef void part_fn(const struct part *p, struct buf *out);

/* All pieces of an answer, with commas between them. An answer that came from elsewhere is its text and then its calls. */
void encode_parts(const struct msg *m, part_fn *fn, struct buf *out);

/* The same list while an answer is read. */
struct parts {
    struct buf list;
    bool needed;                        /* it says more than text and calls alone would */
    size_t said;                        /* bytes of the text that are in it */
    bool called;
};

void parts_raw(struct parts *p, struct str json);
void parts_say(struct parts *p, struct answer *a, const char *own);         /* what was said since; own: members, or NULL */
void parts_call(struct parts *p, struct answer *a, size_t number, const char *own);
void parts_end(struct parts *p, struct answer *a);                          /* makes it the answer's extra, if needed */
void parts_done(struct parts *p);
