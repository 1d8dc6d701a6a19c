/* charset.h - text files in other encodings than UTF-8: what they are in, their text as UTF-8, and the way back.
 *
 * The encoding is told by a byte order mark, by being valid UTF-8, by the zero bytes of UTF-16, and else guessed by uchardet, which
 * is opened on first use; short texts in which that library sees nothing are judged by how their high bytes are paired. A guess can
 * be wrong, and whoever knows better names the encoding. The conversion is iconv's. Encodings with a state (ISO-2022) are not told:
 * they are ASCII with escapes, and are left so. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define CHARSET_NAME_MAX 24

struct charset {
    char name[CHARSET_NAME_MAX];        /* as iconv knows it: "UTF-8", "UTF-16LE", "GBK", "WINDOWS-1252" */
    unsigned mark;                      /* bytes of the byte order mark at the beginning of the file */
    unsigned unit;                      /* bytes of a code unit: 1, 2 or 4 */
};

/* What a file beginning with these bytes is in. False: it is not text. `whole`: they are all of it. */
bool charset_guess(struct str bytes, bool whole, struct charset *ret);

/* The encoding that a person or a model calls by a name; its mark is looked for in the bytes. -EINVAL when it is not known, or is
 * one with a state. */
int charset_named(struct str name, struct str bytes, struct charset *ret, struct err *e);

/* Whether uchardet is there to ask. Without it, text that is not Unicode is judged by its pairs of bytes alone. */
bool charset_can_guess(void);

static inline bool charset_is_utf8(const struct charset *c)
{
    return strcmp(c->name, "UTF-8") == 0;
}

/* A text with the way back from it to the bytes. For UTF-8 it is the bytes behind the mark, ill-formed ones too; else what cannot
 * be decoded stands as U+FFFD, one for each code unit. */
struct decoded {
    struct charset charset;
    struct str bytes;                   /* borrowed */
    struct str text;
    size_t broken;                      /* code units that could not be decoded */

    struct buf utf8;
    struct anchor {
        size_t byte, at;                /* the same place in both */
    } *anchors;
    size_t nanchors, cap;
    struct anchor last;                 /* where decoded_byte was asked for last: places are asked for in order */
};

/* The whole of a file. -E2BIG, or -ENOSYS when iconv does not know the encoding. */
int decoded_init(struct decoded *d, const struct charset *charset, struct str bytes, struct err *e);
void decoded_done(struct decoded *d);

/* The offset in the bytes of a character's offset in the text. */
size_t decoded_byte(struct decoded *d, size_t at);

/* Appends UTF-8 in the encoding. -EILSEQ names the first character that it does not have. */
int charset_encode(const struct charset *charset, struct str utf8, struct buf *out, struct err *e);

/* Appends the text of a piece of a file, from the first whole unit in it on; the offset of what is left for the next piece, an
 * unfinished character, is returned. Not for UTF-8. */
size_t charset_decode_piece(const struct charset *charset, struct str bytes, bool last, struct buf *out);
