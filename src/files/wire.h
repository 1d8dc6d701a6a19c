/* wire.h - what rein asks the process that works on a workspace's files (rein-files.c), and what that answers.
 *
 * They talk over stream sockets, on each one question after the other. A message is its length (8 bytes, lowest first) and the
 * fields below in their order: numbers of 8 bytes, texts as their length and bytes. Neither side believes the other: a length is
 * held against a maximum, and a message that is not read to its end exactly is none. */
#pragma once

#include "base/buf.h"
#include "base/hash.h"

enum files_what {
    FILES_READ,             /* rel offset max -> st text */
    FILES_LOOK,             /* rel -> st hash */
    FILES_WRITE,            /* rel temp data expects hash alike mode uid gid layer (keeps what was there; all: goes) */
    FILES_REMOVE,           /* rel hash layer all */
    FILES_TIDY,             /* rel temp ("": none) layer (is dropped, if its step was not done) */
    FILES_LIST,             /* rel -> entries in text, more */
    FILES_SEARCH,           /* rel data (the pattern) globs literal ignore_case all find context max -> text and counts */
    FILES_GUARD,            /* data (the list from before, or nothing), all (layers may come), temp (a layer of that name is made;
                               why it was not: said, which then is no error) -> the list in text (guard.h) */
    FILES_CHECK,            /* data (the list) -> in text what is new and may not stay, paths that end in zero bytes */
    FILES_PURGE,            /* rel: all that lies there is removed */
    FILES_LAYER,            /* temp: a layer of that name is made (layer.h), and then */
    FILES_CHANGES,          /* temp, all (it goes if it changes nothing) -> in text what it changes, or, with expects, its state */
    FILES_KEEP,             /* temp, expects (it was taken back before), all (what is protected, too): that is put in place */
    FILES_UNDO,             /* temp: and taken back */
    FILES_DROP,             /* temp ("": none): the layer is removed, and what holds layers if it was the last */
    FILES_LAYERS,           /* -> in text "STATE TIME NAME" of each, ended by a zero byte: in that state since (ns from 1970 on) */
    FILES_GIT,              /* -> in text the path of git's folder, where that lies outside of the workspace */
    FILES_WHATS,
};

#define FILES_ASK(NUMBER, TEXT) \
    NUMBER(what) NUMBER(offset) NUMBER(max) NUMBER(expects) NUMBER(alike) NUMBER(mode) NUMBER(uid) NUMBER(gid) NUMBER(literal) \
    NUMBER(ignore_case) NUMBER(all) NUMBER(find) NUMBER(context) TEXT(rel) TEXT(temp) TEXT(hash) TEXT(globs) TEXT(data) TEXT(layer)

#define FILES_ANSWER(NUMBER, TEXT) \
    NUMBER(result) NUMBER(exists) NUMBER(size) NUMBER(mode) NUMBER(uid) NUMBER(gid) NUMBER(links) NUMBER(more) NUMBER(files) \
    NUMBER(matches) NUMBER(shown) NUMBER(searched) NUMBER(binary) NUMBER(large) NUMBER(given_up) TEXT(said) TEXT(hash) TEXT(text)

#define WIRE_NUMBER(name) int64_t name;
#define WIRE_TEXT(name) struct str name;

/* The texts are borrowed: of the asker, or of the message that was read. */
struct files_ask { FILES_ASK(WIRE_NUMBER, WIRE_TEXT) };

/* `result` is 0 or a negative errno, which `said` puts in a sentence. */
struct files_answer { FILES_ANSWER(WIRE_NUMBER, WIRE_TEXT) };

#define WIRE_HEAD       8
#define WIRE_ASK_MAX    ((size_t)20 << 20)      /* bytes: a file that is written, and some */
#define WIRE_ANSWER_MAX ((size_t)144 << 20)

/* A whole message, ready to be sent. */
void wire_ask(const struct files_ask *q, struct buf *out);
void wire_answer(const struct files_answer *a, struct buf *out);

/* The length of what follows its head, or 0 when that is more than max, or nothing. */
size_t wire_length(const char head[WIRE_HEAD], size_t max);

/* What stands in a message behind its head. False: it is none. */
bool wire_read_ask(struct str message, struct files_ask *ret);
bool wire_read_answer(struct str message, struct files_answer *ret);

/* Names a folder, as long as it is there: "DEVICE:INODE". Returns ret; "" when it cannot be told. */
#define WIRE_ID 48
char *wire_id(int fd, char ret[WIRE_ID]);

/* The next of texts that each end in a zero byte, or NULL. */
static inline const char *wire_next(struct str *texts)
{
    const char *at = texts->p, *end = texts->n ? memchr(at, 0, texts->n) : NULL;

    if (!end)
        return NULL;
    *texts = str_from(*texts, (size_t)(end - at) + 1);
    return at;
}

static inline struct str wire_hash(const struct hash *h)
{
    return (struct str){ (const char *)h->b, HASH_SIZE };
}

static inline bool wire_to_hash(struct str s, struct hash *ret)
{
    if (s.n == HASH_SIZE)
        memcpy(ret->b, s.p, HASH_SIZE);
    return s.n == HASH_SIZE;
}
