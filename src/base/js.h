/* js.h - JSON: read strictly with jansson, written by appending to a buf.
 *
 * What was received is never encoded again: numbers keep their text and objects their order only in the raw bytes,
 * so those are stored and passed on, and the tree made here is only looked at. RFC 8259. */
#pragma once

#include "base/err.h"
#include "base/buf.h"

#include <jansson.h>

#define JS_DEPTH_MAX 128

static inline void json_unrefp(json_t **j)
{
    json_decref(*j);
}

/* Reads one document of any type. Refuses duplicate keys, NUL bytes, text after the end and nesting deeper than
 * JS_DEPTH_MAX. -EBADMSG says what and where. The caller owns the tree. */
int js_parse(struct str text, json_t **ret, struct err *e);

/* Like js_parse, for bytes from the wire: ill-formed UTF-8 and lone surrogate escapes become U+FFFD and \u0000
 * inside a string becomes U+FFFD first, since a stream must not die of one bad character; integers of
 * any size are read, rounded. */
int js_parse_wire(struct str text, json_t **ret, struct err *e);

/* The same, and *text becomes the text that was read in the end: itself, or what stands in `clean`. */
int js_parse_clean(struct str *text, struct buf *clean, json_t **ret, struct err *e);

/* The text of a member's value, as it was received, in an object that is known to be valid JSON; {NULL, 0} when missing. */
struct str js_raw(struct str object, const char *key);

/* Members of an object, with what to answer when they are missing or of another type. */
struct str js_str(const json_t *obj, const char *key);           /* {NULL, 0} when missing */
int64_t js_int(const json_t *obj, const char *key, int64_t otherwise);
bool js_bool(const json_t *obj, const char *key, bool otherwise);

/* Appends text as a JSON string with its quotes; ill-formed UTF-8 becomes U+FFFD. */
int js_add(struct buf *b, struct str text);

/* Append `"key":` and a value, with a comma in front unless the text so far ends in '{' or '['. */
int js_key(struct buf *b, const char *key);
int js_add_str(struct buf *b, const char *key, struct str value);
int js_add_text(struct buf *b, const char *key, const char *value);     /* nothing at all for NULL */
int js_add_int(struct buf *b, const char *key, int64_t value);
int js_add_bool(struct buf *b, const char *key, bool value);
int js_add_raw(struct buf *b, const char *key, struct str json);
